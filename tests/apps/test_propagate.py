"""vfs-propagate on a short video made here."""

import cv2
import numpy as np
import pytest

from vfs_jax.apps import propagate
from vfs_jax.data.video_labels import read_index_mask, write_index_mask

av = pytest.importorskip("av")


@pytest.fixture
def video(tmp_path):
    """Five frames of 65x96: a textured square that moves, and the mask of the first."""
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 120, (16, 24, 3), dtype=np.uint8), (96, 65))
    square = cv2.resize(rng.integers(130, 255, (6, 8, 3), dtype=np.uint8), (32, 24))
    with propagate.VideoWriter(tmp_path / "clip.mp4", (64, 96), propagate.fractions.Fraction(10)) as writer:
        for t in range(5):
            frame = ground.copy()
            frame[10 + t : 34 + t, 20 + 2 * t : 52 + 2 * t] = square
            writer.write(frame[:64])
    mask = np.zeros((64, 96), np.uint8)
    mask[10:34, 20:52] = 3
    write_index_mask(tmp_path / "mask.png", mask)
    return tmp_path


def flags(folder, **changes):
    values = {"mask": folder / "mask.png", "weights": "random:0", "out": folder / "out", "short_side": 64} | changes
    return [f"--{name}={value}" for name, value in values.items()]


def test_masks_and_overlay(video, command):
    status, _, stderr = command(propagate, video / "clip.mp4", *flags(video))
    assert status == 0
    assert "5/5" in stderr
    masks = [read_index_mask(video / f"out/masks/{t:05d}.png") for t in range(5)]
    np.testing.assert_array_equal(masks[0], read_index_mask(video / "mask.png"))
    assert set(np.unique(masks[-1])) == {0, 3}
    with av.open(str(video / "out/overlay.mp4")) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate, len(file.streams)) == ("h264", 10, 1)
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
    assert (len(frames), frames[0].shape) == (5, (64, 96, 3))


@pytest.mark.parametrize(
    ("changes", "source", "message"),
    [
        ({}, "nowhere.mp4", "nowhere.mp4: no such file"),
        ({}, "mask.png.txt", "not one frame can be decoded"),
        ({"weights": "nowhere"}, "clip.mp4", "nowhere: no such weights"),
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
