"""The GPU check: what its parts found is kept whatever happens to them, and every part runs at toy size."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import gpu_check
import kept
import pytest

# Parts that find something and then go on, hang, die, or miss a goal.
PARTS = """
import os, time

def software():
    return {"jax": "none"}

def exactness(toy):
    yield {"what": "first", "figure": 1.5, "unit": "ms", "goal": "<= 2", "met": True}

def operators(toy):
    yield {"what": "before it hangs", "figure": 3, "unit": "ms"}
    if os.fork() == 0:
        time.sleep(600)  # what a part starts ends with it
    time.sleep(600)

def step(toy):
    yield {"what": "before it dies", "figure": 4, "unit": "ms"}
    os.abort()

def tracking(toy):
    yield {"what": "slow", "figure": 5, "unit": "ms", "goal": "<= 2", "met": False}
"""


@pytest.fixture
def check(tmp_path):
    """Runs the check with those parts; gives its exit status and the rows that it left."""
    for module in (gpu_check, kept):
        shutil.copy(module.__file__, tmp_path)
    (tmp_path / "gpu_parts.py").write_text(PARTS)

    def run(*flags):
        command = [sys.executable, tmp_path / "gpu_check.py", f"--out={tmp_path / 'out'}", *flags]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        found = json.loads((tmp_path / "out/gpu_check.json").read_text())
        assert found["machine"]["jax"] == "none"
        return ended.returncode, [(row["part"], row["what"]) for row in found["rows"]]

    return run


@pytest.mark.slow
def test_what_was_found_is_kept(check, tmp_path):
    figures = tmp_path / "kept.json"
    status, rows = check("--parts=exactness,operators,step,tracking", "--minutes=0.1", f"--keep={figures}")
    assert status == 1
    assert rows == [
        ("exactness", "first"),
        ("operators", "before it hangs"),
        ("operators", "the part itself"),
        ("step", "before it dies"),
        ("step", "the part itself"),
        ("tracking", "slow"),
    ]
    table = (tmp_path / "out/gpu_check.md").read_text()
    assert "| exactness | first | 1.5 ms | <= 2 | yes |" in table
    assert "| operators | the part itself | stopped at its limit of " in table
    assert "| tracking | slow | 5 ms | <= 2 | NO |" in table
    assert [(entry["name"], entry["figure"]) for entry in json.loads(figures.read_text())] == [
        ("GPU check, operators: before it hangs", 3),
        ("GPU check, step: before it dies", 4),
        ("GPU check, tracking: slow", 5),
    ]
    running = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False).stdout
    assert not running


def test_a_part_alone_keeps_what_others_found(check):
    check("--parts=exactness,tracking")
    assert check("--parts=exactness") == (1, [("tracking", "slow"), ("exactness", "first")])
    assert check("--parts=exactness", "--toy") == (0, [("exactness", "first")])  # of another size: begun anew


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--parts=exactness,loops", "there is no loops; there are exactness, operators, step,"),
        ("--minutes=0", "give minutes above 0"),
    ],
)
def test_wrong_flags(flags, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        gpu_check.main([flags, f"--out={tmp_path}"])
    assert message in capsys.readouterr().err


ALL = ",".join(gpu_check.SHARES)


@pytest.mark.slow
@pytest.mark.parametrize("parts", ["exactness,operators,tracking", pytest.param(ALL, marks=pytest.mark.long)])
def test_parts_run(parts, tmp_path):
    root = Path(__file__).parents[2]
    command = ["bash", root / "launch/gpu_check.sh", "--toy", f"--parts={parts}", f"--out={tmp_path / 'out'}"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHON": sys.executable, "XLA_FLAGS": ""}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads((tmp_path / "out/gpu_check.json").read_text())
    assert {row["part"] for row in report["rows"]} == set(parts.split(","))
    assert report["machine"]["device"] == "cpu"
    for line in (tmp_path / "out/gpu_check.md").read_text().splitlines():
        assert line in ended.stdout or not line.startswith("| ")
