"""Overlay videos last as long as what they show, frame by frame and in its shape."""

import fractions

import av
import numpy as np
import pytest
from odd_videos import encode, paint

from vfs_jax.data.images import write_index_mask
from vfs_jax.data.video_files import Video, VideoFile
from vfs_jax.errors import InputError
from vfs_jax.evaluation.report.videos import write_overlay

JUMPS = [0, 40, 80, 480, 520, 1320, 1360, 2000]


def overlay(video, folder):
    (folder / "masks").mkdir(parents=True)
    for number in range(len(list(video.frames()))):
        write_index_mask(folder / f"masks/{number:05d}.png", np.zeros(video.size, np.uint8))
    write_overlay(video, folder)
    return folder / "overlay.mp4"


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_variable_rate_plays_at_its_speed(tmp_path, suffix):
    path = encode(tmp_path / f"clip.{suffix}", frames=len(JUMPS), times=JUMPS)
    written = list(VideoFile(overlay(Video(path), tmp_path / "out")).frames(container_times=True))
    shown = list(VideoFile(path).frames(container_times=True))
    np.testing.assert_allclose([frame.time for frame in written], np.array(JUMPS) / 1000, atol=1e-6)
    assert written[-1].end == pytest.approx(shown[-1].end, abs=1e-3)  # Matroska keeps milliseconds
    with av.open(str(tmp_path / "out/overlay.mp4")) as file:
        assert file.duration / 1e6 == pytest.approx(shown[-1].end, abs=2e-3)


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("avi", "mpeg4"), ("h264", "libx264")])
def test_a_constant_rate_stays_constant(tmp_path, suffix, codec):
    """Those of AVI with B-frames and of raw streams have no times of their own."""
    path = encode(tmp_path / f"clip.{suffix}", codec, frames=10, options={"bf": "2"})
    with av.open(str(overlay(Video(path), tmp_path / "out"))) as file:
        assert (file.streams.video[0].average_rate, file.streams.video[0].frames) == (25, 10)
        assert file.duration == 400_000


def test_a_folder_of_frames_plays_at_24_a_second(tmp_path):
    from PIL import Image

    (tmp_path / "clip").mkdir()
    for number in (1, 2, 10):
        Image.fromarray(paint(number)).save(tmp_path / f"clip/{number}.png")
    video = Video(tmp_path / "clip")
    for frame, number in zip(video.frames(), (1, 2, 10), strict=True):
        np.testing.assert_array_equal(frame, paint(number))
    with av.open(str(overlay(video, tmp_path / "out"))) as file:
        assert (file.streams.video[0].average_rate, file.streams.video[0].frames) == (24, 3)


def test_pixels_that_are_not_square_are_shown_so(tmp_path):
    """Masks and boxes count stored pixels; a player stretches them as it does the video's."""
    video = Video(encode(tmp_path / "clip.mp4", frames=3, aspect=fractions.Fraction(64, 45)))
    assert (video.size, video.pixel_aspect) == ((48, 64), fractions.Fraction(64, 45))
    again = Video(overlay(video, tmp_path / "out"))
    assert (again.size, again.pixel_aspect) == ((48, 64), fractions.Fraction(64, 45))


def test_frames_of_two_sizes_are_refused(tmp_path):
    for suffix, height in (("a.h264", 48), ("b.h264", 96)):
        encode(tmp_path / suffix, frames=[paint(0, height)] * 3)
    (tmp_path / "clip.h264").write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    with pytest.raises(InputError, match=r"its frames are not all of one size \(64x48 and 64x96\); convert it: ffmpeg"):
        list(Video(tmp_path / "clip.h264").frames())
    assert {frame.image.shape for frame in VideoFile(tmp_path / "clip.h264").frames()} == {(48, 64, 3), (96, 64, 3)}
