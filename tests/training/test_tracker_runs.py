"""Runs of the tracking head through the loop: stopped, damaged, astray, with unreadable data, and in two processes."""

import dataclasses
import json
import os
import re
import shutil
import signal
import threading
import time

import jax
import numpy as np
import pytest
from child_runs import finish, lines, start
from train_pairs import OPTIONS, backbone, sequences

from vfs_jax.errors import InputError
from vfs_jax.models.weights.checkpoints import load_variables
from vfs_jax.training.tracker_head import HeadOptions, train_head

STEPS = OPTIONS["epochs"]  # an epoch is one step
FIELDS = ("loss", "learning_rate", "gradient_norm", "peak_error", "epoch")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return sequences(tmp_path_factory.mktemp("sequences"))


@pytest.fixture(autouse=True)
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an int
        yield


def train(workdir, data, *, evaluate=None, **changes):
    workdir.mkdir(exist_ok=True)
    return train_head(HeadOptions(**OPTIONS | changes), workdir, data, backbone(), evaluate=evaluate)


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    with jax.numpy_dtype_promotion("standard"):
        train(workdir, data)
    return workdir


def assert_same_run(workdir, undisturbed):
    ours, theirs = (load_variables(each, STEPS) for each in (workdir, undisturbed))
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=str(path))
    assert [[line[name] for name in ("step", *FIELDS)] for line in lines(workdir)] == [
        [line[name] for name in ("step", *FIELDS)] for line in lines(undisturbed)
    ]


def test_the_log_says_what_it_did_and_what_every_run_says(undisturbed):
    assert [line["step"] for line in lines(undisturbed)] == list(range(1, STEPS + 1))
    for step, line in enumerate(lines(undisturbed)):
        assert line["epoch"] == step
        assert line["learning_rate"] == pytest.approx(1e-3 * 0.01 ** (step / STEPS))
        assert line["skipped"] == line["unreadable"] == 0
        assert 0 <= line["device_idle"] <= 1
        assert line["pairs_per_second"] == pytest.approx(8 * line["steps_per_second"])
        assert line["flops_per_second"] > 0
    start, end = backbone(), load_variables(undisturbed)
    jax.tree.map(np.testing.assert_array_equal, end["params"]["backbone"], start["params"])


def test_sigterm_saves_and_a_second_start_ends_the_same(data, undisturbed, tmp_path):
    def stop():
        while len(lines(tmp_path)) < 1:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)

    evaluated = []

    def evaluate(variables, step):
        evaluated.append((step, sorted(variables["params"])))
        return {"kernels": 1.0}

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(SystemExit, match="143"):
        train(tmp_path, data, checkpoint_every=1000)
    thread.join()
    (saved,) = (int(folder.name) for folder in (tmp_path / "checkpoints").glob("[0-9]*"))
    assert 1 <= saved < STEPS
    train(tmp_path, data, evaluate=evaluate, eval_every=STEPS, eval_data="here")
    assert_same_run(tmp_path, undisturbed)
    assert evaluated == [(STEPS, ["backbone", "head"])]
    assert json.loads((tmp_path / "evaluation.jsonl").read_text()) == {"step": STEPS, "kernels": 1.0}


def test_a_damaged_checkpoint_is_put_aside(data, undisturbed, tmp_path, caplog):
    workdir = tmp_path / "run"
    shutil.copytree(undisturbed, workdir)
    newest = workdir / "checkpoints" / str(STEPS)
    largest = max((file for file in newest.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    train(workdir, data)
    assert re.search(f"checkpoints/{STEPS} is skipped: .* is damaged", caplog.text)
    assert (workdir / "checkpoints" / f"unreadable-{STEPS}").is_dir()
    assert_same_run(workdir, undisturbed)


def test_a_run_that_goes_astray_skips_counts_and_ends_with_the_sequences_on_disk(data, tmp_path):
    """The first update throws the head out of all bounds."""
    with pytest.raises(InputError, match=r"3 steps in a row up to 4 .*nonfinite-0"):
        train(tmp_path, data, learning_rate=1e30, final_learning_rate=1e30, max_bad_steps=3, checkpoint_every=100)
    assert [line["skipped"] for line in lines(tmp_path)] == [0, 1, 2]
    batches = json.loads((tmp_path / "nonfinite-0.json").read_text())
    assert [batch["step"] for batch in batches] == [2, 3, 4]
    assert all(set(batch["ids"]) <= {sequence.name for sequence in data} for batch in batches)
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))  # nothing that is astray is kept


def test_too_many_sequences_that_cannot_be_read_end_the_run(data, tmp_path, caplog):
    broken = tmp_path / "no.png"
    broken.write_text("no image")
    half = [dataclasses.replace(data[0], frames=(broken,) * 3), *data[1:]]
    with pytest.raises(InputError, match=r"1 of 9 records are unreadable"):
        train(tmp_path / "run", half)
    assert "unreadable record replaced by another one: sequence0:" in caplog.text


@pytest.mark.long
def test_two_processes_train_as_one(undisturbed, tmp_path):
    status, printed = finish(start("train_pairs.py", tmp_path, processes=2))
    assert status == 0, printed
    ours, theirs = lines(tmp_path), lines(undisturbed)
    assert [line["step"] for line in ours] == list(range(1, STEPS + 1))
    # Of the first step float32's rounding alone; Adam makes a whole step of any small gradient afterwards.
    assert abs(ours[0]["loss"] - theirs[0]["loss"]) <= 1e-5
    np.testing.assert_allclose([line["loss"] for line in ours], [line["loss"] for line in theirs], rtol=0.1)
