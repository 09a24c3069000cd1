"""Every codec, pixel format and container decodes to the pictures that were encoded, and to none of another video."""

import fractions

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from odd_videos import FRAMES, RATE, encode, paint

from vfs_jax.data.video_files import UnusableTimes, Video, VideoError, VideoFile
from vfs_jax.errors import InputError

KINDS = {
    "h264": ("mp4", "libx264", "yuv420p"),
    "h264 interlaced": ("mp4", "libx264", "yuv420p", {"x264-params": "tff=1"}),
    "h264 full range": ("mp4", "libx264", "yuvj420p"),
    "h264 422": ("mp4", "libx264", "yuv422p"),
    "h264 444": ("mp4", "libx264", "yuv444p"),
    "h264 10 bits": ("mp4", "libx264", "yuv420p10le"),
    "h264 rgb": ("mp4", "libx264rgb", "rgb24"),
    "hevc": ("mkv", "libx265", "yuv420p", {"x265-params": "log-level=none"}),
    "hevc gbrp": ("mp4", "libx265", "gbrp", {"x265-params": "log-level=none"}),
    "av1": ("mp4", "libsvtav1", "yuv420p"),
    "vp8": ("webm", "libvpx", "yuv420p"),
    "vp9 with alpha": ("webm", "libvpx-vp9", "yuva420p"),
    "mpeg4": ("avi", "mpeg4", "yuv420p"),
    "mpeg2 interlaced": ("mpg", "mpeg2video", "yuv420p", {"flags": "+ildct+ilme"}),
    "mjpeg": ("avi", "mjpeg", "yuvj420p"),
    "raw mjpeg": ("mjpeg", "mjpeg", "yuvj444p"),
    "raw h264": ("h264", "libx264", "yuv420p"),
    "y4m": ("y4m", "rawvideo", "yuv420p"),
    "mxf": ("mxf", "mpeg2video", "yuv420p"),
    "asf": ("asf", "wmv2", "yuv420p"),
    "f4v": ("f4v", "libx264", "yuv420p"),
    "transport stream": ("ts", "libx264", "yuv420p"),
    "gif": ("gif", "gif", "rgb8"),
    "png rgba": ("mov", "png", "rgba"),
    "png 16 bits": ("mov", "png", "rgb48be"),
    "ffv1 gbrp 10 bits": ("mkv", "ffv1", "gbrp10le"),
    "ffv1 411": ("mkv", "ffv1", "yuv411p"),
    "prores": ("mov", "prores", "yuv422p10le"),
    "yuyv": ("avi", "rawvideo", "yuyv422"),
}


def mean_error(found, expected):
    return np.abs(np.stack(found).astype(int) - np.stack(expected)).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_decodes_to_what_was_encoded(tmp_path, kind):
    suffix, codec, pixels, *options = KINDS[kind]
    path = encode(tmp_path / f"video.{suffix}", codec, pixels, options=options[0] if options else {})
    path = path.rename(tmp_path / "video")  # the content tells what it is
    video = Video(path)
    found = list(video.frames())
    # Lossy codecs at their default quality, color at half the resolution; gif has 256 colors.
    assert mean_error(found, [paint(number) for number in range(FRAMES)]) < (25 if kind == "gif" else 8)
    assert [frame.shape for frame in found] == [(48, 64, 3)] * FRAMES
    assert video.shortfall == ""


@pytest.mark.parametrize("pixels", ["gray", "gray16be", "monob"])
def test_pictures_without_color(tmp_path, pixels):
    gray = [np.repeat(paint(number)[..., :1], 3, axis=2) for number in range(4)]
    if pixels == "monob":
        gray = [np.where(image > 110, 255, 0).astype(np.uint8) for image in gray]
    path = encode(tmp_path / "video.mov", "png", pixels, frames=gray)
    assert mean_error(list(Video(path).frames()), gray) <= 1


def test_pictures_of_a_palette(tmp_path):
    indices, palette = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64), np.full((256, 4), 255, np.uint8)
    palette[:, 1:] = np.random.default_rng(0).integers(0, 256, (256, 3))  # alpha, then red, green and blue
    with av.open(str(tmp_path / "video.mov"), "w") as file:
        stream = file.add_stream("png", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "pal8"
        file.mux(stream.encode(av.VideoFrame.from_ndarray((indices, palette), format="pal8")))
        file.mux(stream.encode(None))
    [found] = Video(tmp_path / "video.mov").frames()
    np.testing.assert_array_equal(found, palette[indices, 1:])


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv420p10le"])
@pytest.mark.parametrize("colors", [None, (1, 1), (6, 1), (9, 1), (1, 2)], ids=str)
def test_colors_are_those_of_opencv(tmp_path, pixels, colors):
    """Matrix and range as the file says (BT.709, BT.601, BT.2020; limited, full): OpenCV's own reader, to the bit."""
    with av.open(str(tmp_path / "video.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 66, 50, pixels
        if colors is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = colors
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(paint(number, 50, 66, noise=30), format="rgb24").reformat(format=pixels)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    capture = cv2.VideoCapture(str(tmp_path / "video.mp4"))
    for frame in VideoFile(tmp_path / "video.mp4").frames(container_times=True):
        assert frame.time == pytest.approx(capture.get(cv2.CAP_PROP_POS_FRAMES) / RATE)
        np.testing.assert_array_equal(frame.image, capture.read()[1])
    assert not capture.read()[0]


def test_a_video_of_one_color_after_one_of_another(tmp_path):
    """What OpenCV makes of an interlaced video is whatever its buffer held before: the frames of another one."""
    red, green = (np.broadcast_to(np.array(color, np.uint8), (48, 64, 3)) for color in ((178, 22, 21), (16, 202, 16)))
    encode(tmp_path / "red.mp4", frames=[red] * 4)
    encode(tmp_path / "green.mp4", frames=[green] * 4, options={"x264-params": "tff=1"})
    for name, color in (("red", red), ("green", green)):
        assert mean_error(list(Video(tmp_path / f"{name}.mp4").frames()), [color] * 4) < 4


@pytest.mark.parametrize("turn", range(8))
def test_all_ways_to_turn_and_mirror(tmp_path, turn):
    """The display matrix as FFmpeg writes it for an angle and a mirroring, against NumPy."""
    path = tmp_path / "video.mov"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("png", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        stream.codec_context.sample_aspect_ratio = fractions.Fraction(4, 3)
        stream.set_display_rotation(90 * (turn % 4), hflip=turn >= 4)
        file.mux(stream.encode(av.VideoFrame.from_ndarray(paint(0), format="rgb24")))
        file.mux(stream.encode(None))
    turned = np.rot90(paint(0), turn % 4)
    [found] = VideoFile(path).frames()
    np.testing.assert_array_equal(found.image[..., ::-1], turned[:, ::-1] if turn >= 4 else turned)
    assert found.pixel_aspect == (fractions.Fraction(3, 4) if turn % 2 else fractions.Fraction(4, 3))


@pytest.mark.parametrize("has_video", [True, False])
def test_a_cover_is_no_video(tmp_path, has_video):
    """Music holds its cover as a video of one frame; a video may too, before its own stream."""
    with av.open(str(tmp_path / "video.mp4"), "w") as file:
        cover = file.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 32, 32, "yuvj420p", Disposition.attached_pic
        stream = file.add_stream("libx264", rate=RATE) if has_video else file.add_stream("aac", rate=48000)
        if has_video:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        file.mux(cover.encode(av.VideoFrame.from_ndarray(paint(0, 32, 32), format="rgb24").reformat(format="yuvj420p")))
        file.mux(cover.encode(None))
        for number in range(3):
            if has_video:
                frame = av.VideoFrame.from_ndarray(paint(number), format="rgb24")
            else:
                frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
                frame.sample_rate = 48000
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    if has_video:
        assert [frame.shape for frame in Video(tmp_path / "video.mp4").frames()] == [(48, 64, 3)] * 3
    else:
        with pytest.raises(VideoError, match="no video stream"):
            VideoFile(tmp_path / "video.mp4")


def test_the_codec_that_is_not_known_is_told(tmp_path):
    path = encode(tmp_path / "video.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"none"))
    with pytest.raises(VideoError, match="does not know the codec; convert it: ffmpeg -i"):
        VideoFile(path)
    path = encode(tmp_path / "other.mp4", container={"movflags": "+faststart"})
    data = path.read_bytes()
    place = data.index(b"mdat") + 4
    path.write_bytes(data[:place] + bytes(len(data) - place))
    with pytest.raises(VideoError, match=r"no frame .* decodes \(codec h264, pixel format .*\); convert it: ffmpeg -i"):
        list(VideoFile(path).frames())


@pytest.mark.parametrize(("matrix", "pixels", "number"), [("YCgCo", "yuv444p", 8), ("ICtCp", "yuv420p10le", 14)])
def test_colors_that_cannot_be_converted_are_refused(tmp_path, matrix, pixels, number):
    path = encode(tmp_path / "video.mp4", "libx264", pixels, options={"x264-params": f"colormatrix={matrix}"})
    kind = rf"\(codec h264, pixel format {pixels}, color matrix {number} of H.273\); convert it: ffmpeg -i"
    with pytest.raises(InputError, match=rf"video\.mp4: .* cannot be converted to RGB {kind}"):
        Video(path)


def test_times_are_the_containers_and_increase(tmp_path):
    times = [0, 40, 80, 280, 320, 720]
    path = encode(tmp_path / "video.mkv", frames=6, times=times)
    frames = list(VideoFile(path).frames(container_times=True))
    np.testing.assert_allclose([frame.time for frame in frames], np.array(times) / 1000, atol=1e-9)
    assert all(frame.end > frame.time for frame in frames)
    raw = encode(tmp_path / "video.h264")  # carries no times
    with pytest.raises(UnusableTimes):
        list(VideoFile(raw).frames(container_times=True))
    assert [frame.time for frame in Video(raw).timed_frames()] == pytest.approx(np.arange(FRAMES) / RATE)
