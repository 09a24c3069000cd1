"""Tasks from data set to score, on small made-up data: what is written, that it scores as it should, resuming."""

import dataclasses
import pickle

import numpy as np
import pytest
import scipy.io
from PIL import Image

from vfs_jax.data.images import write_index_mask
from vfs_jax.data.mask_datasets import open_vip
from vfs_jax.data.point_datasets import open_jhmdb, open_tapvid
from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import as_encoder
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.report.assembly import write_report
from vfs_jax.evaluation.runs import propagation as runs
from vfs_jax.evaluation.runs.comparison import Run
from vfs_jax.evaluation.tasks.base import write_tables
from vfs_jax.evaluation.tasks.masks import Vip
from vfs_jax.evaluation.tasks.points import Jhmdb, Tapvid, point_maps_on_grid

# At res2 the network ends after two blocks: what is tested here are the tasks.
SETTINGS = Settings(short_side=64, output="res2", radius=4.0, num_context=2)


def moving_square(frames=4):
    rng = np.random.default_rng(1)
    ground = rng.integers(0, 120, (64, 96, 3), dtype=np.uint8)
    square = rng.integers(130, 255, (24, 32, 3), dtype=np.uint8)
    images = np.repeat(ground[None], frames, 0)
    for t in range(frames):
        images[t, 10 + t : 34 + t, 20 + 2 * t : 52 + 2 * t] = square
    return images


@pytest.fixture
def jhmdb(tmp_path):
    """One clip of four annotated frames and a fifth one that is not; a training clip that is left out."""
    for name in ("wave/one", "wave/two"):
        (tmp_path / "Rename_Images" / name).mkdir(parents=True)
        (tmp_path / "joint_positions" / name).mkdir(parents=True)
        for t, image in enumerate(moving_square(5), start=1):
            Image.fromarray(image).save(tmp_path / "Rename_Images" / name / f"{t:05d}.png")
        joints = np.array([[[28, 18], [44, 26]]]) + np.arange(4)[:, None, None] * (2, 1)
        positions = {"pos_img": joints.transpose(2, 1, 0) + 1.0}
        scipy.io.savemat(tmp_path / "joint_positions" / name / "joint_positions.mat", positions)
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/wave_test_split1.txt").write_text("one.avi 2\ntwo.avi 1\n")
    return tmp_path


@pytest.fixture
def tracks(tmp_path):
    """Two points on the square, one of them first seen in frame 1; a third one that is never seen."""
    images = moving_square()
    points = np.array([[28.5, 18.5], [44.5, 26.5], [5, 5]])[:, None] + np.arange(4)[:, None] * (2, 1)
    occluded = np.array([[False] * 4, [True, False, False, False], [True] * 4])
    video = {"video": images, "points": (points / (96, 64)).astype(np.float32), "occluded": occluded}
    (tmp_path / "tap.pkl").write_bytes(pickle.dumps({"square": video}))
    return tmp_path / "tap.pkl"


@pytest.fixture
def vip(tmp_path):
    images = moving_square()
    for kind in ("Images", "Annotations/Category_ids"):
        (tmp_path / kind / "videos1").mkdir(parents=True)
    for t, image in enumerate(images):
        mask = np.zeros((64, 96), np.uint8)
        mask[10 + t : 34 + t, 20 + 2 * t : 52 + 2 * t] = 13
        mask[:4] = 255
        Image.fromarray(image).save(tmp_path / f"Images/videos1/{t:08d}.jpg", quality=95)
        write_index_mask(tmp_path / f"Annotations/Category_ids/videos1/{t:08d}.png", mask)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/val_videos.txt").write_text("videos1\n")
    return tmp_path


def evaluate(task, variables, sequences, folder, settings=SETTINGS):
    done = []
    for sequence in sequences:
        runs.propagate_sequence(
            task, as_encoder(variables), sequence, folder, settings, on_frame=lambda: done.append(1)
        )
        assert runs.finished(task, [folder], sequence)
    assert len(done) == sum(map(len, sequences))
    assert not list(folder.glob(".*"))  # nothing half-written is left
    scores = [task.score(folder / task.folder, sequence) for sequence in sequences]
    write_tables(folder, task, scores)
    results = Run("run", folder / task.folder, scores, task.summary(scores))
    write_report(folder / "report.html", task, [results], sequences, title="t", settings={})
    return scores, task.summary(scores)


def test_jhmdb(jhmdb, tmp_path, variables):
    (clip,) = open_jhmdb(jhmdb)
    assert (clip.name, len(clip)) == ("wave/one", 4)
    np.testing.assert_allclose(clip.joints[0], [[28, 18], [44, 26]])
    task = Jhmdb()
    (score,), summary = evaluate(task, variables, [clip], tmp_path / "run")
    found = np.load(tmp_path / "run/joints/wave/one.npy")
    assert found.shape == (4, 2, 2)
    np.testing.assert_allclose(found[0], clip.joints[0], atol=1e-3)  # no resizing: the peaks lie where they were drawn
    assert np.abs(found - clip.joints).max() < 12  # a cell and a half of the grid
    assert summary["PCK@0.5"] >= summary["PCK@0.1"] >= 0.25
    assert score.rows[0]["PCK@0.2"] == score.value
    assert task.score(tmp_path / "run/joints", clip.cut(4)).value == score.value


@pytest.mark.slow
def test_jhmdb_at_another_size(jhmdb, tmp_path, variables):
    (clip,) = open_jhmdb(jhmdb)
    settings = dataclasses.replace(SETTINGS, square=True)
    evaluate(Jhmdb(), variables, [clip], tmp_path / "run", settings)
    found = np.load(tmp_path / "run/joints/wave/one.npy")
    assert np.abs(found[0] - clip.joints[0]).max() < 1  # through 64x64 and back


def test_tapvid(tracks, tmp_path, variables):
    (video,) = open_tapvid(tracks)
    assert video.points.shape == (2, 4, 2)
    assert video.query_frames.tolist() == [0, 1]
    _, summary = evaluate(Tapvid(), variables, [video], tmp_path / "run")
    with np.load(tmp_path / "run/tracks/square.npz") as file:
        found, occluded = file["tracks"], file["occluded"]
    truth = video.points * 256
    for point, query in enumerate(video.query_frames):
        assert np.abs(found[point, query] - truth[point, query]).max() < 16  # of 256 pixels, a grid cell is 21x32
        assert not occluded[point, query]
    assert 0 <= summary["AverageJaccard"] <= summary["AverageWithin"] <= 1


def test_maps_of_points_are_on_the_grid():
    # Shares 0.5, 0.5 of a grid of 3x5 cells: the center of cell (row 1, column 2).
    maps = point_maps_on_grid(np.array([[0.5, 0.5], [0.1, 1 / 6]]), (3, 5))
    assert maps.shape == (3, 5, 2)
    assert maps[1, 2, 0] == 1
    assert maps[0, 0, 1] == pytest.approx(1)
    assert maps[1, 3, 0] == pytest.approx(np.exp(-0.5))


def test_vip(vip, tmp_path, variables):
    (video,) = open_vip(vip)
    (score,), summary = evaluate(Vip(), variables, [video], tmp_path / "run")
    assert 0.4 < summary["mIoU"] <= 1
    assert score.details.shape == (20, 20)
    assert score.details.sum() == 4 * 60 * 96  # the ignored rows are left out


def test_data_that_does_not_fit(jhmdb, tracks, tmp_path):
    (jhmdb / "joint_positions/wave/one/joint_positions.mat").write_bytes(b"no")
    with pytest.raises(InputError, match=r"one/joint_positions\.mat: cannot be read as a MATLAB file"):
        open_jhmdb(jhmdb)
    with pytest.raises(InputError, match=r"holds no \*_test_split2\.txt"):
        open_jhmdb(jhmdb, 2)
    tracks.write_bytes(tracks.read_bytes()[:100])
    with pytest.raises(InputError, match=r"tap\.pkl: cannot be read as a TAP-Vid pickle"):
        open_tapvid(tracks)
    with pytest.raises(InputError, match=r"nowhere\.pkl: no such file"):
        open_tapvid(tmp_path / "nowhere.pkl")


class Evil:
    def __reduce__(self):
        return print, ("ran",)


def test_a_pickle_never_runs_code(tmp_path, capsys):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(InputError, match=r"would call builtins\.print"):
        open_tapvid(tmp_path / "evil.pkl")
    assert "ran" not in capsys.readouterr().out


@pytest.mark.slow
def test_real_points(real_data, tmp_path, variables):
    """Real videos: the mouse's joints and BADJA's points, a few frames at a small size."""
    (mouse,) = open_jhmdb(real_data / "jhmdb_like")
    settings = Settings(short_side=160, square=True, output="res2", radius=5.0)
    _, summary = evaluate(Jhmdb(), variables, [mouse.cut(4)], tmp_path / "mouse", settings)
    assert summary["PCK@0.1"] >= 0.25  # the first of four frames is given
    videos = [video.cut(3) for video in open_tapvid(real_data / "tap_like")]
    _, summary = evaluate(
        Tapvid(), variables, videos, tmp_path / "tap", Settings(short_side=120, output="res2", radius=8.0)
    )
    assert 0 <= summary["AverageJaccard"] <= 1
