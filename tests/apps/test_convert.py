"""vfs-convert, as one calls it."""

import functools

import jax
import numpy as np
import optax
import pytest
import torch
from small import draw_variables

from vfs_jax.apps import convert
from vfs_jax.models import ViT, backbone_of, load_torch, save_torch
from vfs_jax.models.weights.resolve import resolve
from vfs_jax.training.checkpoints import Checkpoints
from vfs_jax.training.state import TrainState


@pytest.fixture
def vfs_convert(command):
    return functools.partial(command, convert)


@pytest.fixture(scope="module")
def variables():
    return draw_variables(heads=True)


@pytest.fixture(scope="module")
def vfs_file(variables, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vfs.pth"
    save_torch(variables, path)
    return path


def assert_equal(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.slow
def test_a_vfs_file_becomes_a_torchvision_file(vfs_convert, variables, vfs_file, tmp_path):
    status, out, _ = vfs_convert(vfs_file, tmp_path / "tv.pth", "--layout=torchvision")
    assert status == 0
    assert "ResNet-18, heads: predictor, projector" in out
    assert f"wrote {tmp_path}/tv.pth in layout torchvision" in out
    assert_equal(load_torch(tmp_path / "tv.pth"), backbone_of(variables))
    # and back, as far as it goes: a backbone under the release's names
    assert vfs_convert(tmp_path / "tv.pth", tmp_path / "back.pth")[0] == 0
    assert_equal(load_torch(tmp_path / "back.pth"), backbone_of(variables))


def test_a_tracking_file_keeps_its_head(vfs_convert, variables, tmp_path):
    kernel = np.random.default_rng(0).standard_normal((1, 1, 512, 512)).astype(np.float32)
    branch = {"kernel": kernel, "bias": kernel[0, 0, 0]}
    backbone = backbone_of(variables)
    tracker = {
        "params": {"backbone": backbone["params"], "head": {"exemplar": branch, "search": branch}},
        "batch_stats": {"backbone": backbone["batch_stats"]},
    }
    save_torch(tracker, tmp_path / "tracker.pth", layout="siamfc")
    status, out, _ = vfs_convert(tmp_path / "tracker.pth", tmp_path / "again.pth")
    assert status == 0
    assert "in layout siamfc" in out
    assert_equal(load_torch(tmp_path / "again.pth", part="siamfc"), tracker)


@pytest.mark.slow
def test_a_workdir_becomes_a_vfs_file(vfs_convert, variables, tmp_path):
    optimizer = optax.sgd(0.1)
    state = TrainState(
        step=jax.numpy.int32(7),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(variables["params"]),
        skipped=jax.numpy.int32(0),
    )
    checkpoints = Checkpoints(tmp_path / "run", keep=1)
    checkpoints.save(state)
    checkpoints.close()
    for source in (tmp_path / "run", tmp_path / "run/checkpoints/7"):
        assert vfs_convert(source, tmp_path / "run.pth")[0] == 0
        assert_equal(load_torch(tmp_path / "run.pth", part="vfs"), variables)


@pytest.mark.slow
def test_a_vfs_file_becomes_a_checkpoint_and_comes_back_bit_for_bit(vfs_convert, vfs_file, tmp_path):
    tensors = {}
    rng = np.random.default_rng(0)  # numbers that are no default: statistics and biases too
    for name, tensor in torch.load(vfs_file, weights_only=True)["state_dict"].items():
        noise = torch.from_numpy(rng.uniform(0.5, 1.5, tuple(tensor.shape)).astype(np.float32))
        counter = name == "iteration" or name.endswith("num_batches_tracked")
        tensors[name] = tensor if counter else noise
    torch.save({"state_dict": tensors}, tmp_path / "in.pth")

    status, out, _ = vfs_convert(tmp_path / "in.pth", tmp_path / "weights")
    assert status == 0
    assert "ResNet-18, heads: predictor, projector" in out
    assert f"--config.weights={tmp_path}/weights" in out
    assert vfs_convert(tmp_path / "weights", tmp_path / "out.pth")[0] == 0
    back = torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"]
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == back[name].dtype
        assert torch.equal(tensor, back[name]), name

    status, _, error = vfs_convert(tmp_path / "in.pth", tmp_path / "weights")  # never over another checkpoint
    assert status == 1
    assert "weights: holds checkpoints already; name another folder" in error


@pytest.mark.slow
def test_a_backbone_becomes_a_checkpoint_that_evaluation_takes(vfs_convert, vfs_file, tmp_path):
    """A file of torchvision's: the same numbers, by their checksum, for vfs-eval; no heads are made up."""
    assert vfs_convert(vfs_file, tmp_path / "tv.pth", "--layout=torchvision")[0] == 0
    status, out, _ = vfs_convert(tmp_path / "tv.pth", tmp_path / "weights")
    assert status == 0
    assert "heads: none" in out
    _, ours, told = resolve(str(tmp_path / "weights"))
    _, theirs, told_of_file = resolve(str(tmp_path / "tv.pth"))
    assert_equal(ours, theirs)
    assert (told["kind"], told["step"], told["sha256"]) == ("checkpoint", 0, told_of_file["sha256"])
    assert vfs_convert(tmp_path / "weights", tmp_path / "again.pth", "--layout=torchvision")[0] == 0
    assert (tmp_path / "again.pth").read_bytes() == (tmp_path / "tv.pth").read_bytes()


@pytest.mark.slow
def test_containers_become_each_other(vfs_convert, vfs_file, tmp_path):
    assert vfs_convert(vfs_file, tmp_path / "vfs.safetensors")[0] == 0
    assert vfs_convert(tmp_path / "vfs.safetensors", tmp_path / "again.pth")[0] == 0
    assert (tmp_path / "again.pth").read_bytes() == vfs_file.read_bytes()
    assert vfs_convert(tmp_path / "vfs.safetensors", tmp_path / "checkpoint")[0] == 0
    assert resolve(str(tmp_path / "checkpoint"))[2]["sha256"] == resolve(str(vfs_file))[2]["sha256"]


def test_other_networks_stay_in_files(vfs_convert, tmp_path):
    network = ViT(patch=4, width=128, depth=1, heads=2, hidden=16, grid=2)
    variables = jax.jit(network.init)(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    save_torch(variables, tmp_path / "vit.pth")
    status, out, _ = vfs_convert(tmp_path / "vit.pth", tmp_path / "vit.safetensors")
    assert (status, "dino_128x1_4" in out, "under the official names" in out) == (0, True, True)
    assert_equal(load_torch(tmp_path / "vit.safetensors"), load_torch(tmp_path / "vit.pth"))
    for arguments, message in (
        (["checkpoint"], "vit.pth: holds dino_128x1_4, which no checkpoint holds; name a .safetensors file"),
        (["out.pth", "--layout=vfs"], "vit.pth: holds dino_128x1_4; --layout is for ResNets, leave it out"),
    ):
        status, _, error = vfs_convert(tmp_path / "vit.pth", tmp_path / arguments[0], *arguments[1:])
        assert (status, message in error) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{vfs}",), "1 arguments: give SOURCE and DESTINATION"),
        (("{vfs}", "{vfs}/ckpt"), "ckpt: cannot be made (Not a directory); name another folder"),
        (("{vfs}", "{tmp}/ckpt", "--layout=torchvision"), "ckpt: --layout is for .pth files"),
        (("{tmp}", "{tmp}/ckpt"), "is a checkpoint already; name a .pth file to write"),
        (("{vfs}", "{tmp}/out.pth", "--layout=siamfc"), "vfs.pth: has no tracking head; choose --layout=vfs"),
        (("{tmp}/nowhere.pth", "{tmp}/out.pth"), "nowhere.pth: there is no such file"),
        (("{tmp}", "{tmp}/out.pth"), "holds no checkpoint"),
        (("{vfs}", "{tmp}/nowhere/out.pth"), "there is no folder"),
    ],
)
def test_bad_input_gets_one_line_and_writes_nothing(vfs_convert, vfs_file, tmp_path, arguments, message):
    status, _, error = vfs_convert(*(argument.format(vfs=vfs_file, tmp=tmp_path) for argument in arguments))
    assert status == 1
    assert error.startswith("vfs-convert: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
