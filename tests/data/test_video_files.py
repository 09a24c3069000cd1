"""Videos of one's own: a file of any name or a folder of frames, read as RGB one after the other, and written."""

import fractions
import os

import cv2
import numpy as np
import pytest

from vfs_jax.data.video_files import Video, VideoFile, VideoWriter
from vfs_jax.errors import InputError


@pytest.fixture(scope="module")
def frames():
    """Five smooth frames of even brightness, each redder than the last: RGB uint8 [48, 64, 3]."""
    return [np.broadcast_to(np.array([50 * t, 40, 90], np.uint8), (48, 64, 3)) for t in range(5)]


@pytest.fixture
def video(tmp_path, frames):
    path = tmp_path / "video.mp4"
    with VideoWriter(path, (48, 64), fractions.Fraction(30000, 1001)) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, number * 1001 / 30000, (number + 1) * 1001 / 30000)
    return path


@pytest.mark.parametrize("name", [b"plain.mp4", b"a:b.mp4", b"%03d.mp4", b"caf\xe9.mp4"], ids=repr)
def test_frames_come_in_order_whatever_the_name(video, frames, name, monkeypatch):
    monkeypatch.chdir(video.parent)
    opened = Video(video.rename(os.fsdecode(name)))
    assert (opened.rate, opened.count, opened.size) == (fractions.Fraction(30000, 1001), 5, (48, 64))
    for ours, written in zip(opened.frames(), frames, strict=True):
        assert np.abs(ours.astype(int) - written).max() <= 6  # limited range, halved color


def test_times_are_the_containers_or_those_of_the_rate(video):
    for container_times in (True, False):
        times = [frame.time for frame in VideoFile(video).frames(container_times=container_times)]
        np.testing.assert_allclose(times, np.arange(5) * 1001 / 30000, atol=1e-6)


def test_a_folder_of_frames_is_a_video(tmp_path, frames):
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{number:02d}.png"), frame[..., ::-1])
    opened = Video(tmp_path)
    assert (opened.rate, opened.count, opened.size) == (24, 5, (48, 64))
    np.testing.assert_array_equal(list(opened.frames()), frames)


def test_what_does_not_decode_is_named(tmp_path, video):
    with pytest.raises(InputError, match="nowhere: no such file"):
        Video(tmp_path / "nowhere")
    video.write_bytes(video.read_bytes()[:200])
    with pytest.raises(InputError, match=r"video\.mp4: not one frame can be decoded: no video stream"):
        Video(video)
