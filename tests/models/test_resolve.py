"""Weights named by a string: every kind gives the same numbers, and a file is read once."""

import numpy as np
import pytest
from small import draw_variables

from vfs_jax.errors import InputError
from vfs_jax.models import backbone_of, init_variables
from vfs_jax.models.vfs import nest_backbone
from vfs_jax.models.weights import save_torch, states
from vfs_jax.models.weights.checkpoints import save_variables
from vfs_jax.models.weights.resolve import checksum, resolve, resolve_several, resolve_tracker


@pytest.mark.slow
def test_weights_of_every_kind_are_the_same_numbers(tmp_path):
    variables = init_variables(5, 18)
    save_torch(variables, tmp_path / "whole.pth", layout="vfs")
    save_torch(variables, tmp_path / "plain.pth", layout="torchvision")
    save_variables(variables, tmp_path / "run")
    expected = checksum(backbone_of(variables))
    save_torch(variables, tmp_path / "safe.safetensors", layout="torchvision")
    for name, kind, step in (
        ("random:5", "random", None),
        (tmp_path / "whole.pth", "torch", None),
        (tmp_path / "plain.pth", "torch", None),
        (tmp_path / "safe.safetensors", "safetensors", None),
        (tmp_path / "run", "checkpoint", 0),
    ):
        network, _, about = resolve(str(name))
        told = {"weights": str(name), "kind": kind, "network": "resnet18", "step": step, "sha256": expected}
        assert (network.name, about) == ("resnet18", told)
        # Without a head a tracker's weights are the backbone's.
        _, tracker, about = resolve_tracker(str(name))
        assert set(tracker["params"]) == {"backbone"}
        assert (about["sha256"], about["head"]) == (expected, False)
    assert resolve(str(tmp_path / "plain.pth"), 50)[0].depth == 18  # a file tells its depth
    (tmp_path / "torn.pth").write_bytes((tmp_path / "plain.pth").read_bytes()[:1000])
    with pytest.raises(InputError, match=r"torn\.pth"):
        resolve(str(tmp_path / "torn.pth"))


def test_a_tracker_has_its_head_and_its_file_is_read_once(tmp_path, monkeypatch):
    kernel = np.random.default_rng(0).standard_normal((1, 1, 512, 512)).astype(np.float32)
    branch = {"kernel": kernel, "bias": kernel[0, 0, 0]}
    variables = nest_backbone(draw_variables())
    variables["params"]["head"] = {"exemplar": branch, "search": branch}
    save_torch(variables, tmp_path / "tracker.pth", layout="siamfc")
    read, load = [], states.read_file
    monkeypatch.setattr(states, "read_file", lambda path: read.append(path) or load(path))
    _, tracker, about = resolve_tracker(str(tmp_path / "tracker.pth"))
    assert len(read) == 1
    assert (about["sha256"], about["head"]) == (checksum(variables), True)
    np.testing.assert_array_equal(tracker["params"]["head"]["search"]["kernel"], kernel)
    _, backbone, about = resolve(str(tmp_path / "tracker.pth"))
    assert about["sha256"] == checksum(backbone) == checksum(backbone_of(variables))


def test_several_have_names_that_differ(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save_torch(draw_variables(), tmp_path / folder / "same.pth")
    one, two = resolve_several(f"{tmp_path}/a/same.pth, {tmp_path}/b/same.pth")
    assert (one.name, two.name) == ("same", "same-2")
    assert two.source == f"{tmp_path}/b/same.pth"
    with pytest.raises(InputError, match=r"^weights= , : is empty"):
        resolve_several(" , ")


@pytest.mark.parametrize("name", [pytest.param("dino_vits16", marks=pytest.mark.slow), "crw_resnet18"])
def test_random_weights_of_any_network(name):
    network, _, about = resolve(f"random:3:{name}")
    assert (network.name, about["network"], about["kind"]) == (name, name, "random")
    assert about["sha256"] != resolve(f"random:4:{name}")[2]["sha256"]
    with pytest.raises(InputError, match=f"holds {name}; boxes are tracked by"):
        resolve_tracker(f"random:3:{name}")


def test_a_seed_alone_is_the_resnet_of_the_depth_asked_for():
    network, _, about = resolve("random:2", 18)
    assert (network.depth, about["sha256"]) == (18, resolve("random:2:resnet18")[2]["sha256"])
    for wrong, message in (
        ("random:x", "'x' is no seed; write random:0"),
        ("random:0:resnet19", "there is no network 'resnet19'; choose among resnet18, .*, dino_vits16, "),
    ):
        with pytest.raises(InputError, match=message):
            resolve(wrong)


def test_a_checkpoint_that_is_not_finite_is_refused_by_name(tmp_path):
    variables = nest_backbone(draw_variables())
    variables["batch_stats"]["backbone"]["bn1"]["var"] = np.full(64, np.inf, np.float32)
    save_variables(variables, tmp_path / "run")
    with pytest.raises(InputError, match=r"run/checkpoints/0: 1 not finite: batch_stats\.backbone\.bn1\.var"):
        resolve(str(tmp_path / "run"))
