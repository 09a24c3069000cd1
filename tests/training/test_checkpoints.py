"""Checkpoints: what is written comes back; what is damaged is passed over; weights alone can be read."""

import gc
import re
import resource
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vfs_jax.errors import InputError
from vfs_jax.models.weights.checkpoints import checkpoint_folder, load_variables
from vfs_jax.training.checkpoints import Checkpoints
from vfs_jax.training.optimizer import sgd
from vfs_jax.training.sharding import make_mesh, replicated
from vfs_jax.training.state import TrainState

# A reader that fails leaves coroutines behind which were never awaited.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

OPTIMIZER = sgd(0.1, momentum=0.9, weight_decay=0.0)


def state_at(step, width=64, devices=1):
    """A small state whose numbers are its step's."""
    params = {"backbone": {"kernel": jnp.full((width, 64), step, jnp.float32)}, "projector": {"bias": jnp.arange(8.0)}}
    opt_state = OPTIMIZER.init(params)
    _, opt_state = OPTIMIZER.update(jax.tree.map(jnp.ones_like, params), opt_state, params)
    stats = {"backbone": {"mean": jnp.full(3, step / 2, jnp.float32)}}
    state = TrainState(jnp.int32(step), params, stats, opt_state, jnp.int32(1))
    return jax.device_put(state, replicated(make_mesh(devices)))


def shapes_of(state):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)


def assert_equal(state, other):
    for (path, a), b in zip(jax.tree.leaves_with_path(state), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=str(path))


@pytest.fixture
def workdir(tmp_path):
    """A workdir with checkpoints of steps 10, 20 and 30."""
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (10, 20, 30):
        checkpoints.save(state_at(step))
    checkpoints.close()
    return tmp_path


def restore(workdir, like=None):
    checkpoints = Checkpoints(workdir, keep=3)
    try:
        return checkpoints.restore(shapes_of(state_at(0) if like is None else like))
    finally:
        checkpoints.close()
        gc.collect()  # what readers of damaged files leave behind complains here, not in a later test


def largest_file(folder):
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def test_a_new_workdir_has_none(tmp_path):
    assert restore(tmp_path) is None


def test_the_newest_comes_back_bit_for_bit(workdir):
    assert_equal(restore(workdir), state_at(30))


def test_any_number_of_devices_can_read_it(workdir):
    state = restore(workdir, like=state_at(0, devices=8))
    assert len(state.step.sharding.device_set) == 8
    assert_equal(state, state_at(30))


def test_only_the_newest_are_kept(workdir):
    checkpoints = Checkpoints(workdir, keep=2)
    checkpoints.save(state_at(40))
    checkpoints.close()
    assert sorted(folder.name for folder in checkpoints.folder.iterdir() if folder.is_dir()) == ["30", "40"]


def test_the_only_one_is_kept_until_the_next_is_whole(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(state_at(10))
    with monkeypatch.context() as patch:
        patch.setattr("vfs_jax.training.checkpoints._write_manifest", lambda *_: 1 / 0)  # as a kill would end it
        with pytest.raises(ZeroDivisionError):
            checkpoints.save(state_at(20))
    checkpoints.close()
    assert_equal(restore(tmp_path), state_at(10))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("truncated", "is damaged"),
        ("one bit", "is damaged"),
        ("emptied", "manifest.json is damaged"),
        ("file lost", "is missing"),
        ("foreign", r"of another network .*float32\[3, 64\] there, float32\[64, 64\] here"),
        ("cut off", "its save was cut off"),
        ("no content", "its save was cut off"),
    ],
)
def test_a_damaged_one_is_passed_over_and_written_again(workdir, damage, fault, caplog):
    newest = workdir / "checkpoints" / "30"
    if damage == "truncated":
        file = largest_file(newest)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif damage == "one bit":
        content = bytearray(largest_file(newest).read_bytes())
        content[len(content) // 2] ^= 1
        largest_file(newest).write_bytes(content)
    elif damage == "cut off":
        (newest / "manifest.json").unlink()
    elif damage == "emptied":
        for file in newest.rglob("*"):
            if file.is_file():
                file.write_bytes(b"")
    elif damage == "file lost":
        largest_file(newest).unlink()
    elif damage == "foreign":
        other = Checkpoints(workdir / "other", keep=1)
        other.save(state_at(30, width=3))
        other.close()
        shutil.rmtree(newest)
        shutil.move(other.folder / "30", newest)
    else:
        shutil.rmtree(newest)
        newest.mkdir()
    assert_equal(restore(workdir), state_at(20))
    assert re.search(f"checkpoints/30 is skipped: .*{fault}", caplog.text)
    checkpoints = Checkpoints(workdir, keep=3)
    checkpoints.save(state_at(30))
    checkpoints.close()
    assert_equal(restore(workdir), state_at(30))


@pytest.mark.slow
def test_none_whole_is_one_line_with_the_paths(workdir):
    for step in ("10", "20", "30"):
        largest_file(workdir / "checkpoints" / step).unlink()
    for _ in range(2):  # a second start says the same
        with pytest.raises(
            InputError, match=r"no checkpoint can be used: .*checkpoints/30.*delete .* to train from the"
        ):
            restore(workdir)


def test_a_first_save_that_was_cut_off_is_no_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(state_at(10))
    checkpoints.close()
    (tmp_path / "checkpoints/10/manifest.json").unlink()
    assert restore(tmp_path) is None
    assert (tmp_path / "checkpoints/unreadable-10").is_dir()


def test_no_room_loses_no_checkpoint(workdir):
    """A limit on the size of files, as a full disk or a quota: the save is refused, and done when there is room."""
    checkpoints = Checkpoints(workdir, keep=3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(
            InputError, match=r"checkpoints: no room for the checkpoint of step 40, 0 MB \(File too large"
        ):
            checkpoints.save(state_at(40))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(folder.name for folder in checkpoints.folder.iterdir()) == ["10", "20", "30"]
    checkpoints.save(state_at(40))
    checkpoints.close()
    assert_equal(restore(workdir), state_at(40))


@pytest.mark.slow
def test_what_is_not_the_files_fault_is_not_laid_on_it(workdir, monkeypatch):
    """No memory, say: the run ends, and its checkpoints stay as they are."""

    def out_of_memory(*_, **__):
        raise MemoryError("64 GB")

    with monkeypatch.context() as patch:
        patch.setattr("orbax.checkpoint.CheckpointManager.restore", out_of_memory)
        with pytest.raises(MemoryError):
            restore(workdir)
    assert_equal(restore(workdir), state_at(30))


def test_weights_are_read_alone(workdir, caplog):
    for path, step, value in ((workdir, None, 30), (workdir, 10, 10), (workdir / "checkpoints" / "20", None, 20)):
        variables = load_variables(path, step)
        assert_equal(variables, state_at(value).variables)
    assert checkpoint_folder(workdir).name == "30"
    assert not caplog.records  # Orbax warns of what it thinks is missing


def test_unreadable_weights_are_one_line(workdir, tmp_path):
    largest_file(workdir / "checkpoints" / "30").unlink()
    with pytest.raises(InputError, match=r"checkpoints/30 cannot be read"):
        load_variables(workdir)
    with pytest.raises(InputError, match=r"has no checkpoint of step 5; there are 10, 20, 30"):
        load_variables(workdir, 5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: holds no checkpoint"):
        load_variables(tmp_path / "empty")


def test_what_an_interrupted_save_left_is_no_checkpoint(workdir):
    """Orbax writes under a temporary name; a kill leaves that folder behind."""
    left = workdir / "checkpoints" / "40.orbax-checkpoint-tmp-123"
    shutil.copytree(workdir / "checkpoints" / "30", left)
    assert_equal(restore(workdir), state_at(30))
    deadline = time.monotonic() + 60
    while left.exists() and time.monotonic() < deadline:  # removed in the background
        time.sleep(0.01)
    assert not left.exists()
