"""Weights named by a string: every kind gives the same numbers, and a file is read once."""

import numpy as np
import pytest
import torch
from small import draw_variables

from vfs_jax.errors import InputError
from vfs_jax.models import backbone_of, init_variables
from vfs_jax.models.vfs import nest_backbone
from vfs_jax.models.weights import save_torch
from vfs_jax.models.weights.checkpoints import save_variables
from vfs_jax.models.weights.resolve import checksum, resolve, resolve_several, resolve_tracker


def test_weights_of_every_kind_are_the_same_numbers(tmp_path):
    variables = init_variables(5, 18)
    save_torch(variables, tmp_path / "whole.pth", layout="vfs")
    save_torch(variables, tmp_path / "plain.pth", layout="torchvision")
    save_variables(variables, tmp_path / "run")
    expected = checksum(backbone_of(variables))
    for name, kind, step in (
        ("random:5", "random", None),
        (tmp_path / "whole.pth", "torch", None),
        (tmp_path / "plain.pth", "torch", None),
        (tmp_path / "run", "checkpoint", 0),
    ):
        _, about = resolve(str(name), 18)
        assert about == {"weights": str(name), "kind": kind, "step": step, "sha256": expected}
        # Without a head a tracker's weights are the backbone's.
        tracker, about = resolve_tracker(str(name), 18)
        assert set(tracker["params"]) == {"backbone"}
        assert (about["sha256"], about["head"]) == (expected, False)
    with pytest.raises(InputError, match=r"^depth=50: .*plain\.pth holds a ResNet-18; set 18"):
        resolve(str(tmp_path / "plain.pth"), 50)
    (tmp_path / "torn.pth").write_bytes((tmp_path / "plain.pth").read_bytes()[:1000])
    with pytest.raises(InputError, match=r"torn\.pth"):
        resolve(str(tmp_path / "torn.pth"), 18)


def test_a_tracker_has_its_head_and_its_file_is_read_once(tmp_path, monkeypatch):
    kernel = np.random.default_rng(0).standard_normal((1, 1, 512, 512)).astype(np.float32)
    branch = {"kernel": kernel, "bias": kernel[0, 0, 0]}
    variables = nest_backbone(draw_variables())
    variables["params"]["head"] = {"exemplar": branch, "search": branch}
    save_torch(variables, tmp_path / "tracker.pth", layout="siamfc")
    read, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda path, **options: read.append(path) or load(path, **options))
    tracker, about = resolve_tracker(str(tmp_path / "tracker.pth"), 18)
    assert len(read) == 1
    assert (about["sha256"], about["head"]) == (checksum(variables), True)
    np.testing.assert_array_equal(tracker["params"]["head"]["search"]["kernel"], kernel)
    backbone, about = resolve(str(tmp_path / "tracker.pth"), 18)
    assert about["sha256"] == checksum(backbone) == checksum(backbone_of(variables))


def test_several_have_names_that_differ(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save_torch(draw_variables(), tmp_path / folder / "same.pth")
    one, two = resolve_several(f"{tmp_path}/a/same.pth, {tmp_path}/b/same.pth", 18)
    assert (one.name, two.name) == ("same", "same-2")
    assert two.source == f"{tmp_path}/b/same.pth"
    with pytest.raises(InputError, match=r"^weights=: is empty"):
        resolve_several(" , ", 18)
