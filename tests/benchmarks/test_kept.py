"""Figures of benchmarks are kept in one format, drawn, and measured where nothing else computes."""

import json
import os
import subprocess
from pathlib import Path

import kept
import kept_chart
import pytest

import vfs_jax

ROOT = Path(__file__).parents[2]
FIELDS = {"name", "figure", "unit", "date", "commit", "machine", "versions"}


def test_figures_are_added_one_a_line(tmp_path):
    path = tmp_path / "figures.json"
    kept.keep(None, {"a: ours": (1.0, "s")})
    assert not path.exists()
    kept.keep(path, {"a: ours": (1.234567, "s"), "a: theirs": (2.0, "s")})
    kept.keep(path, {"b: ours": (1e-7, "GB")})
    entries = json.loads(path.read_text())
    assert [(each["name"], each["figure"], each["unit"]) for each in entries] == [
        ("a: ours", 1.235, "s"),
        ("a: theirs", 2.0, "s"),
        ("b: ours", 1e-7, "GB"),
    ]
    assert len(path.read_text().splitlines()) == len(entries) + 2
    for entry in entries:
        assert set(entry) == FIELDS
        assert {"python", "jax", "numpy"} <= set(entry["versions"])


def test_a_commit_is_dirty_by_its_own_files_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "ROOT", tmp_path)

    def git(*arguments: str) -> str:
        given = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(given, check=True, capture_output=True, text=True).stdout.strip()

    assert kept.commit() == vfs_jax.__version__
    git("init")
    (tmp_path / "docs").mkdir()
    for name in ("code.py", "docs/benchmarks.json"):
        (tmp_path / name).write_text("[]\n")
    git("add", ".")
    git("commit", "-m", "all")
    (tmp_path / "docs/benchmarks.json").write_text("[1]\n")
    assert kept.commit() == git("rev-parse", "--short", "HEAD")
    (tmp_path / "code.py").write_text("1\n")
    assert kept.commit() == git("rev-parse", "--short", "HEAD") + "-dirty"


def test_a_chart_has_a_panel_a_benchmark_and_the_same_bytes_again(tmp_path):
    path, chart = tmp_path / "figures.json", tmp_path / "chart.svg"
    kept.keep(path, {"speed: ours": (1.0, "s"), "speed: theirs": (2.0, "s"), "size: ours": (3.0, "GB")})
    kept.keep(path, {"speed: ours": (0.5, "s")})
    kept_chart.draw(path, chart)
    drawn = chart.read_text()
    assert [drawn.count(f">{text}, ") for text in ("speed: s", "size: GB", "ours", "theirs")] == [1, 1, 3, 1]
    kept_chart.draw(path, chart)
    assert chart.read_text() == drawn


def test_what_is_kept_says_where_it_is_from():
    path = ROOT / "docs/benchmarks.json"
    if not path.exists():
        pytest.skip("nothing has been measured yet")
    for entry in json.loads(path.read_text()):
        assert set(entry) == FIELDS
        assert entry["figure"] > 0
        assert not entry["commit"].endswith("-dirty"), entry["name"]


def test_a_busy_machine_is_refused(tmp_path):
    """One of so few cores that any load is too much."""
    (tmp_path / "nproc").write_text("#!/bin/sh\necho -100\n")
    (tmp_path / "nproc").chmod(0o755)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        call = ["bash", ROOT / "launch/benchmarks.sh", *arguments]
        return subprocess.run(call, env=environment, capture_output=True, text=True)

    ended = run()
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "this machine is busy" in ended.stderr
    ended = run("--all")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
