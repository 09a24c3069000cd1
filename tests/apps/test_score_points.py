"""vfs-score jhmdb and tapvid on files that anyone made: units, shapes and numbers that cannot be right."""

import csv
import io
import pickle

import numpy as np
import pytest
import scipy.io
from PIL import Image

from vfs_jax.apps import score
from vfs_jax.data.point_datasets import open_jhmdb, open_tapvid
from vfs_jax.errors import InputError

HEIGHT, WIDTH, FRAMES = 40, 80, 4
# Two points, the second first seen in frame 1, (x, y) as shares.
SHARES = np.array([[0.3, 0.4], [0.6, 0.7]])[:, None] + np.arange(FRAMES)[:, None] * (0.05, 0.02)
OCCLUDED = np.array([[False] * 4, [True, False, False, False]])


def tap_video(**changes):
    video = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    return {"video": video, "points": SHARES, "occluded": OCCLUDED} | changes


def write_tap(path, protocol=pickle.HIGHEST_PROTOCOL, **changes):
    path.write_bytes(pickle.dumps({"dog": tap_video(**changes)}, protocol))
    return path


@pytest.fixture
def vfs_score(command, tmp_path):
    def call(task, data, results=tmp_path / "results"):
        return command(score, task, f"--data={data}", f"--results={results}", f"--out={tmp_path / 'out'}", *SPLIT[task])

    return call


SPLIT = {"jhmdb": ["--split=1"], "tapvid": []}


def jpegs(video):
    files = []
    for frame in video:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, format="JPEG")
        files.append(file.getvalue())
    return files


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("encoded", [False, True])
def test_pickles_of_every_protocol(tmp_path, protocol, encoded):
    video = tap_video()["video"]
    frames = jpegs(video) if encoded else video
    (found,) = open_tapvid(write_tap(tmp_path / "tap.pkl", protocol, video=frames))
    np.testing.assert_array_equal(found.points, SHARES)
    np.testing.assert_array_equal(found.occluded, OCCLUDED)
    assert found.frame(2).shape == (HEIGHT, WIDTH, 3)
    if not encoded:
        np.testing.assert_array_equal(found.frame(2), video[2])


class Evil:
    def __reduce__(self):
        return print, ("ran",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_pickle_runs_code(tmp_path, protocol, capsys):
    with pytest.raises(InputError, match=r"tap\.pkl: cannot be read .*would call (builtins|__builtin__)\.print"):
        open_tapvid(write_tap(tmp_path / "tap.pkl", protocol, points=Evil()))
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("gray", [lambda v: v[..., 0], lambda v: v[..., :1]])
def test_gray_videos_are_gray(tmp_path, gray):
    video = tap_video()["video"]
    (found,) = open_tapvid(write_tap(tmp_path / "tap.pkl", video=gray(video)))
    np.testing.assert_array_equal(found.frame(1), np.repeat(video[1, ..., :1], 3, axis=-1))
    assert found.size == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": SHARES * (WIDTH, HEIGHT)}, r"dog: points lie between 16 and 60; shares.*divide pixels"),
        ({"points": np.where(SHARES > 0.4, np.nan, SHARES)}, "dog: a visible point is no number"),
        ({"occluded": np.where(OCCLUDED, 0.7, 0.2)}, "dog: occluded holds other values than 0 and 1"),
        ({"points": SHARES[:, :3]}, "dog has 4 frames, points"),
        ({"video": tap_video()["video"].transpose(0, 3, 1, 2)}, r"dog: frame 0: .*\[3, 40, 80\].*write JPEGs, or RGB"),
        ({"video": tap_video()["video"].astype(np.float64)}, "dog: frame 0: .*float64"),
        ({"video": [b"no image"] * FRAMES}, "dog: frame 0: an encoded frame: cannot be read"),
        ({"video": [np.zeros((8, 8 + t, 3), np.uint8) for t in range(FRAMES)]}, "dog: frame 1: .*unlike frame 0"),
        ({"video": []}, "dog has 0 frames"),
        ({"points": "none"}, "dog lacks video, points or occluded"),
    ],
)
def test_tap_data_of_other_units(tmp_path, changes, message):
    with pytest.raises(InputError, match=rf"tap\.pkl: {message}") as error:
        open_tapvid(write_tap(tmp_path / "tap.pkl", **changes))
    assert "\n" not in str(error.value)


def write_tracks(path, **changes):
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **{"tracks": SHARES * 256, "occluded": OCCLUDED & False} | changes)


def test_tracks(tmp_path, vfs_score):
    """Places before a point's query do not count, and may be left open."""
    tracks = SHARES * 256
    tracks[1, 0] = np.nan
    write_tracks(tmp_path / "results/dog.npz", tracks=tracks)
    assert vfs_score("tapvid", write_tap(tmp_path / "tap.pkl"))[0] == 0
    with (tmp_path / "out/global.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert [float(value) for value in row.values()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tracks": SHARES}, "all places lie between 0.3 and 0.76, as shares do; write pixels of a picture of 256x256"),
        ({"tracks": SHARES * (WIDTH, HEIGHT)}, "tracks are in pixels of the 80x40 video; multiply x by 256/80"),
        ({"tracks": np.where(SHARES > 0.7, np.nan, SHARES * 256)}, "holds NaN or infinity, first at [1, 2, 1]"),
        ({"tracks": SHARES[:, :3]}, "holds tracks [2, 3, 2], occluded [2, 4], the ground truth is [2, 4, 2]"),
        ({"occluded": OCCLUDED[:1]}, "occluded [1, 4], the ground truth is"),
        ({"occluded": np.full((2, 4), 0.5)}, "occluded holds other values than 0 and 1"),
        ({"tracks": np.full((2, 4, 2), "a")}, "tracks are no array of numbers"),
    ],
)
def test_tracks_of_other_units(tmp_path, vfs_score, changes, message):
    write_tracks(tmp_path / "results/dog.npz", **changes)
    status, _, stderr = vfs_score("tapvid", write_tap(tmp_path / "tap.pkl"))
    assert status == 1
    assert "dog.npz: " in stderr
    assert message in stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"no zip", pickle.dumps(1)])
def test_files_of_another_kind(tmp_path, vfs_score, content):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/dog.npz").write_bytes(content)
    status, _, stderr = vfs_score("tapvid", write_tap(tmp_path / "tap.pkl"))
    assert (status, "dog.npz: cannot be read as a .npz of numbers" in stderr) == (1, True)


JOINTS = np.array([[20.0, 10], [40, 20], [60, 30]]) + np.arange(FRAMES)[:, None, None] * (2, 1)


def write_clip(root, joints=JOINTS, name="wave/one"):
    (root / "Frames" / name).mkdir(parents=True)
    (root / "joint_positions" / name).mkdir(parents=True)
    for t in range(FRAMES):
        Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(root / f"Frames/{name}/{t + 1:05d}.png")
    positions = np.transpose(joints, (2, 1, 0)) + 1
    scipy.io.savemat(root / "joint_positions" / name / "joint_positions.mat", {"pos_img": positions})


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (JOINTS / (WIDTH, HEIGHT) - 1, "pos_img lies between 0.25 and 0.825, the frames are 80x40; pixels"),
        (JOINTS * 8, "pos_img lies between 81 and 529, the frames are 80x40"),
        (np.where(JOINTS > 60, np.nan, JOINTS), "pos_img holds a place that is no number"),
    ],
)
def test_joints_of_other_units(tmp_path, joints, message):
    write_clip(tmp_path, joints)
    with pytest.raises(InputError, match=r"one/joint_positions\.mat: " + message.replace(".", r"\.")):
        open_jhmdb(tmp_path)


def test_clips_of_other_numbers_of_joints(tmp_path):
    """Joints and frames that are swapped show where clips are of several lengths."""
    write_clip(tmp_path)
    write_clip(tmp_path, JOINTS[:, :2], "wave/two")
    with pytest.raises(InputError, match=r"two/joint_positions\.mat: pos_img is of 2 joints, that of wave/one of 3"):
        open_jhmdb(tmp_path)


def test_joints_that_leave_the_frame_are_read(tmp_path):
    write_clip(tmp_path, JOINTS - (25, 0))
    assert open_jhmdb(tmp_path)[0].joints.min() == -5


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (JOINTS / (WIDTH, HEIGHT), "all places lie between 0.25 and 0.825, as shares do; write pixels of the frames"),
        (np.where(JOINTS > 60, np.nan, JOINTS), "holds NaN or infinity, first at [1, 2, 0]"),
        (JOINTS[:3], "is [3, 3, 2], not [4, 3, 2]; write (x, y) of every joint and frame"),
        (np.concatenate([JOINTS, JOINTS[:1]]), "is [5, 3, 2], not [4, 3, 2]"),
        (JOINTS.astype(str), "joints are no array of numbers"),
        (JOINTS.astype(object), "cannot be read as a .npy of numbers"),
    ],
)
def test_joint_results_of_other_units(tmp_path, vfs_score, predicted, message):
    write_clip(tmp_path / "data")
    (tmp_path / "results/wave").mkdir(parents=True)
    np.save(tmp_path / "results/wave/one.npy", predicted, allow_pickle=True)
    status, _, stderr = vfs_score("jhmdb", tmp_path / "data")
    assert status == 1
    assert f"one.npy: {message}" in stderr


def test_joints_as_whole_numbers(tmp_path, vfs_score):
    write_clip(tmp_path / "data")
    (tmp_path / "results/wave").mkdir(parents=True)
    np.save(tmp_path / "results/wave/one.npy", JOINTS.astype(np.int32))
    status, printed, _ = vfs_score("jhmdb", tmp_path / "data")
    assert status == 0
    assert printed.splitlines()[-2].split() == ["all", *["100.0"] * 5]
