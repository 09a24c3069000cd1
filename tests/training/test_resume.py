"""A run that is killed at any moment and started again ends bit for bit where an undisturbed one ends."""

import json
import os
import random
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from child_runs import finish, lines, losses, start, wait_for
from train_clips import OPTIONS, clips

from vfs_jax.models.weights.checkpoints import load_variables
from vfs_jax.training.options import read_options
from vfs_jax.training.vfs import train_vfs

PROGRAM = "train_clips.py"
STEPS = 12


def assert_same_run(workdir, undisturbed, steps):
    ours, theirs = (load_variables(each, steps) for each in (workdir, undisturbed))
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=str(path))
    assert losses(workdir) == losses(undisturbed)


def saving(workdir):
    """Whether a save is under way, or was cut off: a folder has its temporary name still, or has no manifest yet."""
    folders = [folder for folder in workdir.glob("checkpoints/*") if folder.is_dir() and "unread" not in folder.name]
    return any("tmp" in folder.name or not (folder / "manifest.json").exists() for folder in folders)


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_kills_and_a_sigterm_leave_no_trace(tmp_path):
    undisturbed, workdir = tmp_path / "undisturbed", tmp_path / "killed"
    alongside = start(PROGRAM, undisturbed, STEPS)
    process = start(PROGRAM, workdir, STEPS)
    wait_for(process, lambda: len(lines(workdir)) >= 3)
    kill(process)
    process = start(PROGRAM, workdir, STEPS, "num_workers=1", "checkpoint_every=3")
    wait_for(process, lambda: len(lines(workdir)) >= 4 and saving(workdir))
    kill(process)
    process = start(PROGRAM, workdir, STEPS, "checkpoint_every=1000")
    before = len(lines(workdir))
    wait_for(process, lambda: len(lines(workdir)) > before)
    process.send_signal(signal.SIGTERM)
    status, printed = finish(process)
    assert status == 143, printed
    saved = max(int(folder.name) for folder in (workdir / "checkpoints").glob("[0-9]*") if folder.name.isdecimal())
    assert before < saved < STEPS
    status, printed = finish(start(PROGRAM, workdir, STEPS))
    assert status == 0, printed
    assert f"starting after step {saved}" in printed
    status, printed = finish(alongside)
    assert status == 0, printed
    assert_same_run(workdir, undisturbed, STEPS)


@pytest.mark.slow
def test_sigterm_while_evaluating_ends_at_once_and_the_evaluation_is_made_up_for(tmp_path):
    process = start(PROGRAM, tmp_path, 2, "eval_every=1", 'eval_data="forever"', "checkpoint_every=1000")
    while process.stdout.readline().strip() != "evaluating":
        pass
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    assert process.returncode == 143
    process.communicate()
    status, printed = finish(start(PROGRAM, tmp_path, 2, "eval_every=1", 'eval_data="here"'))
    assert status == 0, printed
    assert printed.count("evaluating") == 2
    evaluated = [json.loads(line) for line in (tmp_path / "evaluation.jsonl").read_text().splitlines()]
    assert evaluated == [{"step": 1, "kernels": 3.0}, {"step": 2, "kernels": 3.0}]


@pytest.mark.slow
def test_vfs_goes_on_bit_for_bit(tmp_path):
    """ResNet-18, here: a run that lost its last checkpoint takes its last step again."""
    options = read_options(OPTIONS | {"image_size": 32, "steps": 2, "checkpoint_every": 1})
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    train_vfs(options, whole, clips())
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "checkpoints/2")
    train_vfs(options, cut, clips())
    assert_same_run(cut, whole, 2)


@pytest.mark.long
def test_twenty_kills_leave_no_trace(tmp_path):
    """At seeded random times, at least five while a save is under way; every start gets a little further."""
    steps, rng, kills, torn = 200, random.Random(0), 0, 0
    undisturbed, workdir = tmp_path / "undisturbed", tmp_path / "killed"
    status, printed = finish(start(PROGRAM, undisturbed, steps, "checkpoint_every=1"))
    assert status == 0, printed
    while kills < 20 or torn < 5:
        before = len(lines(workdir))
        process = start(PROGRAM, workdir, steps, "checkpoint_every=1", f"num_workers={kills % 2}")
        if kills % 2:
            wait_for(process, lambda before=before: len(lines(workdir)) > before and saving(workdir))
        else:
            # Some are killed before they get anywhere, most in one of their next steps.
            kill_at = time.monotonic() + rng.uniform(0, 20)
            while time.monotonic() < kill_at and process.poll() is None and len(lines(workdir)) <= before:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.5))
        assert process.poll() is None, f"ended by itself, before the {kills + 1}th kill: {process.communicate()[0]}"
        kill(process)
        kills += 1
        torn += saving(workdir)
    status, printed = finish(start(PROGRAM, workdir, steps))
    assert status == 0, printed
    assert_same_run(workdir, undisturbed, steps)
    print(f"{kills} kills, {torn} of them left a torn save")
