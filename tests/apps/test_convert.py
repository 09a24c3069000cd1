"""vfs-convert, as one calls it."""

import functools

import jax
import numpy as np
import optax
import pytest

from vfs_jax.apps import convert
from vfs_jax.models import backbone_of, init_variables, load_torch, save_torch
from vfs_jax.training.checkpoints import Checkpoints
from vfs_jax.training.state import TrainState


@pytest.fixture
def vfs_convert(command):
    return functools.partial(command, convert)


@pytest.fixture(scope="module")
def variables():
    return init_variables(seed=0, depth=18)


@pytest.fixture(scope="module")
def vfs_file(variables, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vfs.pth"
    save_torch(variables, path)
    return path


def assert_equal(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


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


def test_a_workdir_becomes_a_vfs_file(vfs_convert, variables, tmp_path):
    optimizer = optax.sgd(0.1)
    state = TrainState(
        step=jax.numpy.int32(7),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(variables["params"]),
    )
    checkpoints = Checkpoints(tmp_path / "run", keep=1)
    checkpoints.save(state)
    checkpoints.close()
    for source in (tmp_path / "run", tmp_path / "run/checkpoints/7"):
        assert vfs_convert(source, tmp_path / "run.pth")[0] == 0
        assert_equal(load_torch(tmp_path / "run.pth", part="vfs"), variables)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{vfs}",), "1 arguments: give SOURCE and DESTINATION"),
        (("{vfs}", "{tmp}/out.npz"), "out.npz: name a .pth file to write"),
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
