"""The training benchmark runs at toy size, and both sides of it are the same step; its numbers mean nothing here."""

import cv2
import numpy as np
import pytest
import training


@pytest.mark.long
def test_the_step_benchmark_runs():
    text = training.step_report(depth=18, clips=2, frames=2, size=72, repeat=1)
    for name in ("PyTorch", "vfs_jax"):
        assert f"| {name} |" in text


def test_the_networks_are_of_the_same_size():
    """Every parameter of ours has its like in PyTorch's."""
    import jax

    from vfs_jax.models import init_variables

    for depth in (18, 50):
        ours = jax.eval_shape(lambda depth=depth: init_variables(0, depth))["params"]
        theirs = training.TorchVFS(depth)
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
