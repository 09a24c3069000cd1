"""vfs-propagate on a short video made here: masks, points, a pose, an overlay, and a run that was killed."""

import csv
import fractions
import json

import cv2
import numpy as np
import pytest
from odd_videos import cut, encode, paint

from vfs_jax.apps import propagate
from vfs_jax.data.images import read_index_mask, write_index_mask
from vfs_jax.data.video_files import VideoWriter
from vfs_jax.evaluation.runs import own_video

av = pytest.importorskip("av")

FRAMES = 9


@pytest.fixture
def video(tmp_path):
    """Nine frames of 64x96: a textured square that moves, and the mask of the first, of two objects."""
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 120, (16, 24, 3), dtype=np.uint8), (96, 64))
    square = cv2.resize(rng.integers(130, 255, (6, 8, 3), dtype=np.uint8), (32, 24))
    with VideoWriter(tmp_path / "clip.mp4", (64, 96), fractions.Fraction(10)) as writer:
        for t in range(FRAMES):
            frame = ground.copy()
            frame[10 + t : 34 + t, 20 + 2 * t : 52 + 2 * t] = square
            writer.write(frame, t / 10, (t + 1) / 10)
    mask = np.zeros((64, 96), np.uint8)
    mask[10:34, 20:52] = 3
    mask[40:60, 4:20] = 1
    write_index_mask(tmp_path / "mask.png", mask)
    return tmp_path


def flags(folder, **changes):
    values = {"mask": folder / "mask.png", "weights": "random:0", "out": folder / "out", "short_side": 64, "radius": 4}
    values |= changes
    return [f"--{name}={value}" for name, value in values.items() if value is not None]


@pytest.mark.slow
def test_masks_and_overlay(video, command):
    status, out, stderr = command(propagate, video / "clip.mp4", *flags(video))
    assert status == 0
    assert "2 object(s)" in out
    assert f"{FRAMES}/{FRAMES}" in stderr
    masks = [read_index_mask(video / f"out/masks/{t:05d}.png") for t in range(FRAMES)]
    np.testing.assert_array_equal(masks[0], read_index_mask(video / "mask.png"))
    assert set(np.unique(masks[-1])) == {0, 1, 3}
    with av.open(str(video / "out/overlay.mp4")) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.average_rate, len(file.streams)) == (10, 1)  # no sound
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
    assert len(frames) == FRAMES
    assert frames[0].shape == (64, 96, 3)
    # The overlay reddens what the mask marks.
    with av.open(str(video / "clip.mp4")) as file:
        plain = [frame.to_ndarray(format="rgb24").astype(int) for frame in file.decode(video=0)]
    changed = np.abs(frames[-1].astype(int) - plain[-1]).sum(-1)
    assert changed[masks[-1] > 0].mean() > 5 * changed[masks[-1] == 0].mean()


def test_a_video_that_was_cut_is_carried_to_where_it_ends(tmp_path, command):
    frames = [paint(number, noise=30) for number in range(25)]
    video = cut(encode(tmp_path / "clip.mp4", frames=frames, container={"movflags": "+faststart"}))
    video = video.rename(tmp_path / "a:b %03d é.mp4")
    status, _, stderr = command(propagate, video, *flags(tmp_path, mask=None, points="20,20"))
    assert status == 0
    with (tmp_path / "out/points.csv").open() as file:
        done = len(list(csv.DictReader(file)))
    assert 5 < done < 20
    assert stderr.splitlines()[-1] == f"vfs-propagate: WARNING: {video}: {done} of 25 frames decode"


@pytest.mark.slow
def test_points_and_a_pose(video, command):
    """Points on the square move as it does; a pose is points with names and bones."""
    joints = {"left": [28.0, 16.0], "right": [44.0, 28.0], "ground": [80.0, 20.0]}
    (video / "pose.json").write_text(json.dumps({"joints": joints, "bones": [["left", "right"]]}))
    status, out, _ = command(propagate, video / "clip.mp4", *flags(video, mask=None, pose=video / "pose.json"))
    assert status == 0
    assert "3 point(s)" in out
    with (video / "out/points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["point"]) for row in rows] == [(str(t), n) for t in range(FRAMES) for n in joints]
    found = np.array([[float(row["x"]), float(row["y"])] for row in rows]).reshape(FRAMES, 3, 2)
    np.testing.assert_array_equal(found[0], list(joints.values()))
    truth = np.array(list(joints.values())) + np.array([[2, 1], [2, 1], [0, 0]]) * (FRAMES - 1)
    assert np.abs(found[-1] - truth).max() < 12  # a cell is 8 pixels wide; the square moves by 16
    assert (video / "out/overlay.mp4").stat().st_size > 0

    status, _, _ = command(
        propagate, video / "clip.mp4", *flags(video, mask=None, points="28,16;44,28;80,20", out=video / "again")
    )
    assert status == 0
    with (video / "again/points.csv").open() as file:
        again = [(row["x"], row["y"], row["visible"]) for row in csv.DictReader(file)]
    assert again == [(row["x"], row["y"], row["visible"]) for row in rows]


@pytest.mark.parametrize("cut", ["0,kn\xc3\xa9e,1.00,2.00,1\n1,kn\xc3", "0,kn\xc3\xa9e,1.00,2.00,1\n1,kn\xc3\xa9e,1."])
def test_lines_that_were_cut_are_forgotten(tmp_path, cut):
    """Within a letter too, and within the header."""
    points, file = own_video.Points(np.ones((1, 2)), ["kn\xe9e"]), tmp_path / "points.csv"
    header = "frame,point,x,y,visible\n"
    file.write_bytes((header + cut).encode("latin-1"))
    points.forget(tmp_path, 1)
    assert file.read_text("utf-8") == header + "0,kn\xe9e,1.00,2.00,1\n"
    file.write_text(header[:-3])
    points.forget(tmp_path, 0)
    assert not file.exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mask", "points"])
def test_goes_on_where_it_was_killed(video, command, monkeypatch, kind):
    """The same results as without the interruption; frames that were saved are not propagated again."""
    labels = {"mask": video / "mask.png"} if kind == "mask" else {"mask": None, "points": "28,16;44,28"}
    assert command(propagate, video / "clip.mp4", *flags(video, out=video / "whole", **labels))[0] == 0

    steps = []
    next_ = own_video.step

    def killed_in_frame_6(*arguments, **options):
        if len(steps) == 5:
            raise KeyboardInterrupt
        steps.append(1)
        return next_(*arguments, **options)

    monkeypatch.setattr(own_video, "step", killed_in_frame_6)
    monkeypatch.setattr(own_video, "SAVE_SECONDS", 0.0)
    assert command(propagate, video / "clip.mp4", *flags(video, **labels))[0] == 130
    assert not (video / "out/overlay.mp4").exists()
    if kind == "mask":  # what came after the last save is not trusted
        write_index_mask(video / "out/masks/00007.png", np.zeros((64, 96), np.uint8))
    else:
        with (video / "out/points.csv").open("a") as file:
            file.write("7,0,1.0,1.0,1\n7,1,1.")

    monkeypatch.setattr(own_video, "step", lambda *a, **o: steps.append(1) or next_(*a, **o))
    status, out, _ = command(propagate, video / "clip.mp4", *flags(video, **labels))
    assert status == 0
    assert "6 frames are done already" in out
    assert len(steps) == FRAMES - 1
    if kind == "mask":
        for t in range(FRAMES):
            np.testing.assert_array_equal(
                read_index_mask(video / f"out/masks/{t:05d}.png"), read_index_mask(video / f"whole/masks/{t:05d}.png")
            )
    else:
        assert (video / "out/points.csv").read_text() == (video / "whole/points.csv").read_text()

    # Started a third time it propagates nothing; other settings do not mix with these results.
    steps.clear()
    assert command(propagate, video / "clip.mp4", *flags(video, **labels))[0] == 0
    assert not steps
    status, _, stderr = command(propagate, video / "clip.mp4", *flags(video, **(labels | {"radius": 3})))
    assert status == 1
    assert "settings.radius: 4.0 there, 3.0 here" in stderr


@pytest.mark.parametrize(
    ("changes", "source", "message"),
    [
        ({}, "nowhere.mp4", "nowhere.mp4: no such file"),
        ({}, "mask.png.txt", "not one frame can be decoded"),
        ({"weights": "nowhere"}, "clip.mp4", "nowhere: no such weights"),
        ({"mask": None}, "clip.mp4", "give one of --mask, --points and --pose"),
        ({"points": "1,2"}, "clip.mp4", "give one of --mask, --points and --pose"),
        ({"mask": None, "points": "1;2"}, "clip.mp4", "write x,y;x,y in pixels"),
        ({"mask": None, "points": "0.3,0.5;0.9,1"}, "clip.mp4", "point 0.3,0.5: all points lie between 0 and 1, as sh"),
        ({"mask": None, "points": "1,2;96,3"}, "clip.mp4", "point 96,3 lies outside of the frame, which is 96x64"),
        ({"mask": None, "pose": "nowhere.json"}, "clip.mp4", "nowhere.json: no such file"),
    ],
)
def test_bad_input_is_one_clear_line(video, command, changes, source, message):
    (video / "mask.png.txt").write_text("no video")
    status, _, stderr = command(propagate, video / source, *flags(video, **changes))
    assert status == 1
    assert message in stderr
    assert not (video / "out").exists()


def test_mask_of_another_size(video, command):
    write_index_mask(video / "small.png", np.ones((32, 48), np.uint8))
    status, _, stderr = command(propagate, video / "clip.mp4", *flags(video, mask=video / "small.png"))
    assert status == 1
    assert "small.png: is 48x32" in stderr


def test_a_name_of_two_lines_is_refused(video, command):
    """Its lines of points.csv could not be told from cut ones."""
    pose = video / "pose.json"
    pose.write_text(json.dumps({"joints": {"left\nhand": [1, 2]}}))
    status, _, stderr = command(propagate, video / "clip.mp4", *flags(video, mask=None, pose=pose))
    assert (status, "pose.json: is no pose; write" in stderr) == (1, True), stderr


def test_a_smoothed_mask_is_refused(video, command):
    mask = cv2.circle(np.zeros((64, 96), np.uint8), (48, 32), 20, 255, -1, cv2.LINE_AA)
    cv2.imwrite(str(video / "smooth.png"), mask)
    status, _, stderr = command(propagate, video / "clip.mp4", *flags(video, mask=video / "smooth.png"))
    assert status == 1
    assert "smooth.png: holds" in stderr
    assert "without smoothing" in stderr


def test_a_video_of_odd_size_keeps_its_masks(tmp_path, command):
    """H.264 holds even sides only: the overlay loses a row, the masks do not."""
    frames = tmp_path / "frames"
    frames.mkdir()
    rng = np.random.default_rng(0)
    for t in range(2):
        cv2.imwrite(str(frames / f"{t}.png"), rng.integers(0, 255, (65, 97, 3), dtype=np.uint8))
    write_index_mask(tmp_path / "mask.png", np.ones((65, 97), np.uint8))
    assert command(propagate, frames, *flags(tmp_path))[0] == 0
    assert read_index_mask(tmp_path / "out/masks/00001.png").shape == (65, 97)
    with av.open(str(tmp_path / "out/overlay.mp4")) as file:
        assert (file.streams.video[0].height, file.streams.video[0].width) == (64, 96)
