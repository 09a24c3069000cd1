"""Mistyped flags, overrides and configs: one line that names the flag and the nearest there are."""

import sys

import pytest
from absl import flags
from ml_collections import config_flags

from vfs_jax.apps import cli
from vfs_jax.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

CONFIG = """
import ml_collections

def get_config(variant=""):
  if variant:
    raise ValueError(f"no variant {variant!r}; there are smoke")
  return ml_collections.ConfigDict(
    {"radius": 12.0, "topk": 10, "square": False, "data": "", "part": {"jitter_strength": 0.1, "blur": 0.5}}
  )
"""


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """Runs a made-up command and returns the one line with which it refuses to start."""
    (tmp_path / "mine.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)

    def refused(*arguments, run=lambda _: None, status=2):
        values = flags.FlagValues()
        config_flags.DEFINE_config_file("config", None, "", flag_values=values)
        flags.DEFINE_string("workdir", None, "", flag_values=values)
        flags.DEFINE_integer("depth", 18, "", flag_values=values)
        flags.DEFINE_enum("year", None, ["2016", "2017"], "", flag_values=values)
        flags.mark_flag_as_required("config", flag_values=values)
        monkeypatch.setattr(sys, "argv", ["vfs-try", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main(run, values, "Tries things.")
        error = capsys.readouterr().err
        assert exit_.value.code == status, error
        assert error.count("\n") == 1
        return error.removeprefix("vfs-try: error: ").strip()

    return refused


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        pytest.param(
            "--config.radus=6", "--config.radus: no such key of mine.py; did you mean --config.radius?", id="key"
        ),
        pytest.param(
            "--config.part.blr=1",
            "--config.part.blr: no such key of mine.py; did you mean --config.part.blur?",
            id="nested key",
        ),
        pytest.param(
            "--config.jitter=1",
            "--config.jitter: no such key of mine.py; did you mean --config.part.jitter_strength?",
            id="key without its part",
        ),
        pytest.param(
            "--config.radius.x=1",
            "--config.radius.x: no such key of mine.py; did you mean --config.radius?",
            id="key below a value",
        ),
        pytest.param(
            "--noconfig.sqare",
            "--config.sqare: no such key of mine.py; did you mean --config.square?",
            id="negated key",
        ),
        pytest.param(
            "--config.zzz=1",
            "--config.zzz: no such key of mine.py; there are data, part.blur, part.jitter_strength, "
            "radius, square, topk",
            id="key like none",
        ),
        pytest.param("--config.topk=abc", "--config.topk=abc: takes a whole number", id="word for a whole number"),
        pytest.param("--config.topk=2.5", "--config.topk=2.5: takes a whole number", id="share for a whole number"),
        pytest.param("--config.topk=", "--config.topk=: takes a whole number", id="nothing for a whole number"),
        pytest.param("--config.part.blur=1e", "--config.part.blur=1e: takes a number", id="word for a number"),
        pytest.param(
            "--config.square=maybe", "--config.square=maybe: takes true or false", id="word for true or false"
        ),
        pytest.param(
            "--config.part=3",
            "--config.part=3: Failed to parse '3' as a ConfigDict: `3` is not a dict.",
            id="number for a part",
        ),
        pytest.param("--config.topk", "Missing value for flag --config.topk", id="no value"),
        pytest.param("--depth=x:y", "--depth=x:y: takes a whole number", id="word for a flag's number"),
        pytest.param("--wrkdir=x", "--wrkdir: no such flag; did you mean --workdir?", id="flag"),
        pytest.param("--topk=5", "--topk: no such flag; did you mean --config.topk?", id="key without config"),
        pytest.param(
            "--confg.topk=5", "--confg.topk: no such flag; did you mean --config.topk?", id="config misspelled"
        ),
        pytest.param("--year=2018", "--year=2018: value should be one of <2016|2017>", id="none of a choice"),
    ],
)
def test_names_and_values(refused, argument, message):
    assert refused("--config=mine.py", argument) == message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param(
            "davs.py",
            None,
            "davs.py: no such file, and no installed config of that name (did you mean davis.py?); there are davis.py",
            id="config misspelled",
        ),
        pytest.param("", None, "--config=: is no file; name a config", id="no config"),
        pytest.param(
            "bad.py",
            "def get_config(:\n",
            "--config=bad.py: line 1: invalid syntax; a config is a Python file",
            id="no Python",
        ),
        pytest.param(
            "bad.py",
            "\nimport nowhere_at_all\n",
            "--config=bad.py: line 2: ModuleNotFoundError: No module named 'nowhere_at_all'",
            id="import fails",
        ),
        pytest.param(
            "bad.py", "x = 1\n", "--config=bad.py: defines no get_config(); is it a config?", id="no get_config"
        ),
        pytest.param(
            "bad.py",
            "def get_config():\n  return 3\n",
            "--config=bad.py: get_config() gives int, not a ConfigDict",
            id="not a ConfigDict",
        ),
        pytest.param(
            "bad.py",
            "def get_config():\n  return {}['a']\n",
            "--config=bad.py: line 2: KeyError: 'a'",
            id="get_config fails",
        ),
        pytest.param(
            "mine.py:huge", None, "--config=mine.py: no variant 'huge'; there are smoke", id="no such variant"
        ),
    ],
)
def test_configs(refused, tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    assert message in refused(f"--config={name}")


def test_a_binary_file_or_a_folder_is_no_config(refused, tmp_path):
    (tmp_path / "bytes.py").write_bytes(bytes(range(256)))
    assert refused("--config=bytes.py").startswith("--config=bytes.py: ")
    assert refused(f"--config={tmp_path}") == f"--config={tmp_path}: is no file; name a config"


def test_config_is_required_and_may_be_a_word_of_its_own(refused):
    assert refused() == "--config is missing; see --help"
    assert refused("--config", "mine.py", "--config.radus=1").endswith("did you mean --config.radius?")


def test_an_empty_output_is_not_the_current_folder(refused):
    def run(_):
        raise AssertionError("must not start")

    assert refused("--config=mine.py", "--workdir=", run=run, status=1) == "--workdir=: is empty; name a folder"


def test_several_faults_are_told_by_the_first(refused):
    assert "radus" in refused("--config=mine.py", "--config.radus=1", "--config.topkk=2", "--nonsense")


def test_what_a_command_refuses_is_told_before_any_of_it_runs(refused):
    def refuse(_):
        raise InputError("topk=0: must be at least 1")

    assert refused("--config=mine.py", run=refuse, status=1) == "--config.topk=0: must be at least 1"
