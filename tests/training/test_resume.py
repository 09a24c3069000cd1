"""A run that is killed at any moment and started again ends bit for bit where an undisturbed one ends."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from vfs_jax.models.weights.checkpoints import load_variables

PROGRAM = Path(__file__).with_name("train_clips.py")
STEPS = 8


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts the program; all share one cache of compiled programs."""
    cache = tmp_path_factory.mktemp("compiled")
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache), "XLA_FLAGS": ""}

    def start(workdir, steps=STEPS, *changes, **options):
        command = [sys.executable, str(PROGRAM), str(workdir), str(steps), *changes]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, env=environment, text=True, **pipes, **options)

    return start


def finish(process):
    printed, _ = process.communicate(timeout=500)
    return process.returncode, printed


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    status, printed = finish(start(workdir))
    assert status == 0, printed
    return workdir


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in lines]


def assert_same_run(workdir, undisturbed, steps=STEPS):
    ours, theirs = (load_variables(each, steps) for each in (workdir, undisturbed))
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=str(path))
    # Equal losses of every step say that every step saw the same records, frames and crops.
    assert losses(workdir) == losses(undisturbed)


def saving(workdir):
    """Whether a save is under way, or was cut off: a folder has its temporary name still, or has no manifest yet."""
    folders = [folder for folder in workdir.glob("checkpoints/*") if folder.is_dir() and "unread" not in folder.name]
    return any("tmp" in folder.name or not (folder / "manifest.json").exists() for folder in folders)


def lines_of(workdir):
    path = workdir / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def kill_when(process, condition):
    while not condition() and process.poll() is None:
        time.sleep(0.001)
    assert process.poll() is None, f"ended by itself: {process.communicate()[0]}"
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_two_kills_leave_no_trace(start, undisturbed, tmp_path):
    process = start(tmp_path)
    kill_when(process, lambda: lines_of(tmp_path) >= 3)
    process = start(tmp_path, STEPS, "num_workers=1", "checkpoint_every=3")
    kill_when(process, lambda: lines_of(tmp_path) >= 4 and saving(tmp_path))
    status, printed = finish(start(tmp_path))
    assert status == 0, printed
    assert "starting after step" in printed
    assert_same_run(tmp_path, undisturbed)


@pytest.mark.slow
def test_sigterm_saves_and_says_so_by_its_status(start, undisturbed, tmp_path):
    process = start(tmp_path, STEPS, "checkpoint_every=1000")
    while lines_of(tmp_path) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    status, printed = finish(process)
    assert status == 143, printed
    saved = int(max((tmp_path / "checkpoints").glob("[0-9]*"), key=lambda folder: int(folder.name)).name)
    assert 3 <= saved < STEPS
    status, printed = finish(start(tmp_path))
    assert f"starting after step {saved}" in printed
    assert_same_run(tmp_path, undisturbed)


@pytest.mark.long
def test_sigterm_while_evaluating_ends_at_once_and_the_evaluation_is_made_up_for(start, tmp_path):
    process = start(tmp_path, 2, "eval_every=1", 'eval_data="forever"', "checkpoint_every=1000")
    while process.stdout.readline().strip() != "evaluating":
        pass
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=20)
    assert process.returncode == 143
    process.communicate()
    status, printed = finish(start(tmp_path, 2, "eval_every=1", 'eval_data="here"'))
    assert status == 0, printed
    assert printed.count("evaluating") == 2
    evaluated = [json.loads(line) for line in (tmp_path / "evaluation.jsonl").read_text().splitlines()]
    assert evaluated == [{"step": 1, "kernels": 3.0}, {"step": 2, "kernels": 3.0}]


@pytest.mark.long
def test_twenty_kills_leave_no_trace(start, tmp_path):
    """At seeded random times, at least five while a save is under way; every start gets a little further."""
    steps, rng, kills, torn = 60, random.Random(0), 0, 0
    undisturbed, workdir = tmp_path / "undisturbed", tmp_path / "killed"
    status, printed = finish(start(undisturbed, steps, "checkpoint_every=1"))
    assert status == 0, printed
    while kills < 20 or torn < 5:
        before = lines_of(workdir)
        process = start(workdir, steps, "checkpoint_every=1", f"num_workers={kills % 2}")
        if kills % 2:
            while process.poll() is None and not (lines_of(workdir) > before and saving(workdir)):
                time.sleep(0.0005)
        else:
            # Some are killed before they get anywhere, most in one of their next steps.
            kill_at = time.monotonic() + rng.uniform(0, 20)
            while process.poll() is None and time.monotonic() < kill_at and lines_of(workdir) <= before:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.5))
        assert process.poll() is None, f"ended by itself, before the {kills + 1}th kill: {process.communicate()[0]}"
        process.kill()
        process.communicate()
        kills += 1
        torn += saving(workdir)
    status, printed = finish(start(workdir, steps))
    assert status == 0, printed
    assert_same_run(workdir, undisturbed, steps)
    print(f"{kills} kills, {torn} of them left a torn save")
