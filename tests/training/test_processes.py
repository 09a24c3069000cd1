"""Runs of two real processes: the numbers of one process, nothing lost by kills, one end for all."""

import json
import os
import signal
import subprocess

import jax
import numpy as np
import pytest
from child_runs import finish, lines, losses, start, wait_for
from small_steps import host_batch, run
from train_clips import OPTIONS, clips, train_small

PROGRAM = "train_clips.py"
STEPS = 30


@pytest.mark.slow
def test_two_processes_of_two_devices_equal_one_of_one(tmp_path):
    """Ten steps in float64, whose sums may go in any order: in float32 ReLUs flip by it."""
    status, printed = finish(start("small_steps.py", tmp_path, processes=2, devices=2))
    assert status == 0, printed
    result, other = (json.loads((tmp_path / f"{index}.json").read_text()) for index in (0, 1))
    assert result == other
    assert (result["processes"], result["devices"]) == (2, 4)
    with jax.enable_x64(True):
        state, history = run(1, [host_batch(seed) for seed in range(10)], np.float64)
    for metrics, other in zip(history, result["steps"], strict=True):
        for name in ("loss", "gradient_norm", "embedding_std"):
            np.testing.assert_allclose(metrics[name], other[name], rtol=1e-7, err_msg=name)
    norms = [np.linalg.norm(leaf) for leaf in jax.tree.leaves(state.params)]
    np.testing.assert_allclose(result["norms"], norms, rtol=1e-7, atol=1e-10)


@pytest.mark.long
def test_any_number_of_processes_goes_on_with_the_same_records(tmp_path):
    """Two processes are killed, two go on until one is sent SIGTERM, and this one, of eight devices, ends the run."""
    process = start(PROGRAM, tmp_path, STEPS, processes=2, devices=2)
    wait_for(process, lambda: len(lines(tmp_path)) >= 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert (tmp_path / "checkpoints" / "2" / "manifest.json").exists()
    seen = losses(tmp_path)

    changes = ["num_workers=1", "checkpoint_every=1000"]
    process = start(PROGRAM, tmp_path, STEPS, *changes, processes=2, devices=2)
    wait_for(process, lambda: len(lines(tmp_path)) > len(seen))
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(max(map(int, children)), signal.SIGTERM)
    status, printed = finish(process)
    assert status == 143, printed
    assert "starting after step" in printed
    saved = max(int(folder.name) for folder in (tmp_path / "checkpoints").glob("[0-9]*"))
    assert losses(tmp_path)[-1][0] == saved < STEPS
    # Steps that were taken before the kill too came out the same, bit for bit.
    assert losses(tmp_path)[: len(seen)] == seen

    train_small(OPTIONS | {"steps": STEPS}, tmp_path, clips())
    alone = tmp_path / "alone"
    alone.mkdir()
    train_small(OPTIONS | {"steps": STEPS}, alone, clips())
    ours, theirs = ({step: loss for step, loss, _ in losses(each)} for each in (tmp_path, alone))
    assert list(ours) == list(theirs) == list(range(1, STEPS + 1))
    # Float32 sums in another order, in every step; another frame would be off by far more.
    np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-3)


@pytest.mark.slow
def test_what_ends_one_process_ends_all(tmp_path):
    """Process 0 evaluates and fails; the other waits for it and ends too."""
    process = start(PROGRAM, tmp_path, 2, "eval_every=1", 'eval_data="nowhere"', processes=2)
    status, printed = finish(process)
    assert status == 1, printed
    assert "process 0 has ended (evaluate 1)" in printed
