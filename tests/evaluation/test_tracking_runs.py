"""Runs of box tracking over many sequences: what ends them."""

import time
from pathlib import Path

import jax
import numpy as np
import pytest

from vfs_jax.data.box_datasets import BoxSequence
from vfs_jax.errors import InputError
from vfs_jax.evaluation.runs import tracking
from vfs_jax.evaluation.tasks.boxes import Otb
from vfs_jax.evaluation.tracking.siamfc import TrackerSettings


def test_a_sequence_that_fails_ends_all_threads(tmp_path, monkeypatch):
    """The others do not track all that is left first: that may take a day, and is not what the user is told."""
    tracked = []

    class Tracker:
        def __init__(self, variables, **settings):
            pass

        def track(self, files, box):
            if files[0].parent.name == "1":
                raise InputError("1/0001.jpg: cannot be read as an image; copy it again")
            time.sleep(0.02)
            tracked.append(files[0].parent.name)
            return np.zeros((1, 4)), np.zeros(1)

    monkeypatch.setattr(tracking, "SiamFCTracker", Tracker)
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    sequences = [BoxSequence(str(n), (Path(f"{n}/0001.jpg"),), np.ones((1, 4))) for n in range(10)]
    with pytest.raises(InputError, match=r"1/0001\.jpg"):
        tracking.track_sequences(Otb(), {}, sequences, tmp_path, settings=TrackerSettings(), sequences_per_device=2)
    assert len(tracked) < 4
