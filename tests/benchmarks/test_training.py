"""The training benchmark runs at toy size, and both sides of it are the same step; its numbers mean nothing here."""

import functools

import cv2
import numpy as np
import pytest
import training
import training_run
from torch_step import TorchVFS


@pytest.mark.long
def test_the_step_benchmark_runs():
    sizes, turns = {"depth": 18, "clips": 2, "frames": 2, "size": 72}, {"steps": 2, "repeat": 1}
    text = training.step_report(training.time_in_turns(training.step_runs(**sizes), **turns), **sizes, **turns)
    for name in ("PyTorch", "vfs_jax"):
        assert f"| {name} |" in text


@pytest.mark.long
def test_the_run_benchmark_runs(tmp_path, monkeypatch):
    """With a network and clips as small as they go."""
    monkeypatch.setenv("XLA_FLAGS", "")
    few = functools.partial(training_run.make_records, videos=3, frames=16, height=60, width=80)
    monkeypatch.setattr(training_run, "make_records", few)
    sizes = {"depth": 18, "clips": 2, "frames": 2, "size": 72, "steps": 4, "workers": 1, "dtype": "float32"}
    figures = training_run.measure_run(tmp_path, **sizes)
    assert figures["images_per_second"] == pytest.approx(4 * figures["steps_per_second"])
    assert 0 <= figures["device_idle"] <= 1
    assert "| device_idle |" in training_run.run_report(figures, **sizes)


@pytest.mark.slow
def test_the_networks_are_of_the_same_size():
    """Every parameter of ours has its like in PyTorch's."""
    import jax

    from vfs_jax.models import init_variables

    for depth in (18, 50):
        ours = jax.eval_shape(lambda depth=depth: init_variables(0, depth))["params"]
        theirs = TorchVFS(depth)
        assert sorted(np.prod(leaf.shape) for leaf in jax.tree.leaves(ours)) == sorted(
            parameter.numel() for parameter in theirs.parameters()
        )


def test_the_input_benchmark_runs(monkeypatch):
    frame = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    clips = [{"id": str(i), "frames": [frame] * 5} for i in range(3)]
    monkeypatch.setattr(training, "ClipRecords", lambda data: clips)
    text = training.input_report("", batches=2, workers=0, batch_size=2, segments=2, image_size=32)
    assert "8 JPEGs of about 64x48" in text
    assert "| bare loop |" in text
    assert "| clip_batches, records |" in text
