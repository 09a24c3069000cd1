"""What all commands share: configs are found, bad input ends in one line."""

import sys

import pytest
from absl import flags
from ml_collections import config_flags

from vfs_jax.apps import cli
from vfs_jax.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a made-up command and returns (exit status, its config, stderr)."""

    def call(run, *arguments):
        values = flags.FlagValues()
        config = config_flags.DEFINE_config_file("config", None, "", flag_values=values)
        monkeypatch.setattr(sys, "argv", ["vfs-try", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main(run, values, "Tries things.")
        return exit_.value.code, config.value if values.is_parsed() else None, capsys.readouterr().err

    return call


def test_an_installed_config_is_found_from_anywhere(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, config, _ = call(lambda _: None, "--config=configs/quickstart.py:smoke", "--config.seed=7")
    assert status == 0
    assert (config.steps, config.seed) == (3, 7)
    (tmp_path / "mine.py").write_text(
        "import ml_collections\ndef get_config():\n  return ml_collections.ConfigDict({'a': 1})\n"
    )
    status, config, _ = call(lambda _: None, "--config=mine.py")
    assert (status, config.a) == (0, 1)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config=nowhere.py", "nowhere.py: no such file, and no installed config of that name; there are "),
        ("--config=configs/quickstart.py:huge", "no variant 'huge'"),
        ("--nonsense=1", "nonsense"),
    ],
)
def test_bad_flags_are_one_line(call, argument, message):
    status, _, err = call(lambda _: None, argument)
    assert status in (1, 2)
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_bad_override_is_one_line(call):
    status, _, err = call(lambda _: None, "--config=configs/quickstart.py", "--config.stepps=5")
    assert status == 2
    assert "stepps" in err
    assert len(err.strip().splitlines()) == 1


def test_input_errors_are_one_line_and_defects_keep_their_traceback(call, monkeypatch):
    def refuse(_):
        raise InputError("clip.mp4: is empty;\n  name another")

    status, _, err = call(refuse)
    assert (status, err) == (1, "vfs-try: error: clip.mp4: is empty; name another\n")

    def break_(_):
        raise ValueError("a defect")

    monkeypatch.setattr(sys, "argv", ["vfs-try"])
    with pytest.raises(ValueError, match="a defect"):
        cli.main(break_, flags.FlagValues(), None)


@pytest.mark.parametrize(
    ("raised", "printed"),
    [
        ("steps=0: must be at least 1", "--config.steps=0: must be at least 1"),
        ("color_augmentation.hue=9: too much", "--config.color_augmentation.hue=9: too much"),
        ("config=: is empty", "--config=: is empty"),  # a flag of the command
        ("stepps=0: is no key", "stepps=0: is no key"),
        ("steps: has no value", "steps: has no value"),
        ("runs/a=b/masks: no such folder; set steps=3", "runs/a=b/masks: no such folder; set steps=3"),
    ],
)
def test_an_argument_is_named_by_its_flag(call, tmp_path, raised, printed):
    def refuse(_):
        raise InputError(raised)

    (tmp_path / "mine.py").write_text(
        "import ml_collections\n"
        "def get_config():\n"
        "  return ml_collections.ConfigDict({'steps': 3, 'color_augmentation': {'hue': 0.1}})\n"
    )
    status, _, err = call(refuse, f"--config={tmp_path / 'mine.py'}")
    assert (status, err) == (1, f"vfs-try: error: {printed}\n")
