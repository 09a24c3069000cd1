"""The quickstart's real footage: frames, hand-drawn first masks of their size, and names in the list once."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from vfs_jax.data.images import read_index_mask
from vfs_jax.data.mask_datasets import open_davis
from vfs_jax.data.text import write_text

SCRIPT = Path(__file__).parents[2] / "launch/quickstart_footage.py"


@pytest.mark.slow
def test_footage_is_added_once(tmp_path, real_data, monkeypatch):
    names = tmp_path / "ImageSets/2017/val.txt"
    names.parent.mkdir(parents=True)
    write_text(names, "")
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(real_data / "kinetics_like"), str(tmp_path)])
    for _ in range(2):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    bikes, carphone = open_davis(tmp_path)
    assert (bikes.name, len(bikes), carphone.name, len(carphone)) == ("bikes", 44, "carphone_pristine", 60)
    for sequence, labels in ((bikes, {0, 1, 2, 3}), (carphone, {0, 1, 2})):
        mask = read_index_mask(sequence.masks[0])
        assert mask.shape == sequence.frame(0).shape[:2]
        assert set(np.unique(mask)) == labels
        assert not sequence.has_ground_truth
