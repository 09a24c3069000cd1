"""Decoding against a plain cv2 loop, and the container's times, rates and rotation."""

import fractions
import hashlib
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from odd_videos import encode

from data_prep import decoding
from data_prep.decoding import ClipOptions, decode_clips
from vfs_jax.data.video_files import UnusableTimes, VideoError, VideoFile
from vfs_jax.errors import InputError


def _decode(path, options):
    [clip] = _clips(path, options)
    return clip


def _clips(path, options):
    warnings = []
    clips = list(decode_clips(path, "video", 0, options, warn=warnings.append))
    assert warnings == []
    return clips


def _decode_jpegs(clip):
    return np.stack([cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_COLOR) for frame in clip["frames"]])


def _plain_frames(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        decoded, frame = capture.read()
        if not decoded:
            return np.stack(frames)
        frames.append(frame)


def _patch_box(path: Path, box: bytes, change) -> None:
    """Replaces the payload of the first box of an MP4 file and corrects the sizes of the boxes around it."""
    data = bytearray(path.read_bytes())
    at = data.index(box) - 4
    size = struct.unpack_from(">I", data, at)[0]
    payload = change(bytes(data[at + 8 : at + size]))
    growth = len(payload) + 8 - size
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        start = data.index(parent) - 4
        length = struct.unpack_from(">I", data, start)[0]
        if start < at < start + length:
            struct.pack_into(">I", data, start, length + growth)
    data[at : at + size] = struct.pack(">I", len(payload) + 8) + box + payload
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_keeps_every_frame_with_its_number_and_time(write_video, tmp_path, name):
    path = write_video(tmp_path / name, frames=12, fps=10)
    clip = _decode(path, ClipOptions(short_side=0, quality=100))
    np.testing.assert_array_equal(clip["source_frames"], np.arange(12))
    np.testing.assert_allclose(clip["times"], np.arange(12) / 10, atol=1e-3)  # Matroska keeps milliseconds
    assert (clip["height"], clip["width"]) == (48, 64)
    assert clip["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    # JPEG at quality 100 with halved color moves a smooth picture by a level or two.
    difference = np.abs(_decode_jpegs(clip).astype(int) - _plain_frames(path))
    assert difference.mean() < 1
    assert difference.max() <= 8


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [((48, 64), 24, (24, 32)), ((64, 48), 24, (32, 24)), ((48, 64), 96, (96, 128)), ((50, 66), 32, (32, 42))],
)
def test_short_side(write_video, tmp_path, size, short_side, expected):
    path = write_video(tmp_path / "clip.mp4", frames=2, height=size[0], width=size[1])
    clip = _decode(path, ClipOptions(short_side=short_side))
    assert (clip["height"], clip["width"]) == expected
    assert _decode_jpegs(clip).shape[1:3] == expected


def test_shrinking_averages(write_video, tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames=3, height=48, width=48)
    blocks = _plain_frames(path).reshape(3, 16, 3, 16, 3, 3).mean((2, 4))
    clip = _decode(path, ClipOptions(short_side=16, quality=100))
    assert np.abs(_decode_jpegs(clip) - blocks).mean() < 1


@pytest.mark.parametrize(("rate", "fps", "kept"), [(30, 10, 3), (30, 30, 1), (30, 15, 2), (30, 60, 1), (12, 1, 12)])
def test_lower_rate_keeps_the_first_frame_at_each_tick(write_video, tmp_path, rate, fps, kept):
    path = write_video(tmp_path / "clip.mkv", frames=25, fps=rate)
    clip = _decode(path, ClipOptions(short_side=0, fps=fps))
    np.testing.assert_array_equal(clip["source_frames"], np.arange(0, 25, kept))
    np.testing.assert_allclose(clip["times"], np.array(clip["source_frames"]) / rate, atol=1e-3)


def test_variable_frame_rate_comes_out_even(write_video, tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames=20, fps=10)

    def ten_frames_five_times_slower(payload):
        entries, count, delta = struct.unpack(">III", payload[4:16])
        assert (entries, count) == (1, 20)
        return payload[:4] + struct.pack(">IIIII", 2, 10, delta, 10, 5 * delta)

    _patch_box(path, b"stts", ten_frames_five_times_slower)
    path.write_bytes(path.read_bytes().replace(b"edts", b"free"))  # the edit list would cut what became longer
    times = np.concatenate([np.arange(10) / 10, 1 + np.arange(10) / 2])
    clip = _decode(path, ClipOptions(short_side=0))
    np.testing.assert_allclose(clip["times"], times, atol=1e-6)
    clip = _decode(path, ClipOptions(short_side=0, fps=2))
    np.testing.assert_allclose(np.diff(clip["times"]), 0.5, atol=1e-6)
    np.testing.assert_array_equal(clip["source_frames"], [0, 5, *range(10, 20)])


@pytest.mark.parametrize(
    ("matrix", "turns"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)], ids=["90", "180", "270"]
)
def test_rotation_metadata_is_applied(write_video, tmp_path, matrix, turns):
    plain = write_video(tmp_path / "plain.mp4", frames=2)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(plain.read_bytes())
    a, b, c, d = (value * 0x10000 for value in matrix)
    _patch_box(turned, b"tkhd", lambda p: p[:40] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000) + p[76:])
    options = ClipOptions(short_side=0, quality=100)
    expected = np.rot90(_decode_jpegs(_decode(plain, options)), turns, axes=(1, 2))
    found = _decode_jpegs(_decode(turned, options))
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 1


@pytest.mark.parametrize(
    ("aspect", "short_side", "size"),
    [((64, 45), 0, (48, 91)), ((64, 45), 32, (32, 61)), ((2, 3), 0, (72, 64)), ((256, 255), 0, (48, 64))],
)
def test_clips_have_square_pixels(tmp_path, aspect, short_side, size):
    """The direction in which pixels are longer is stretched; sides that were rounded change nothing."""
    path = encode(tmp_path / "clip.mp4", frames=3, aspect=fractions.Fraction(*aspect))
    clip = _decode(path, ClipOptions(short_side=short_side, quality=100))
    assert (clip["height"], clip["width"]) == size
    expected = np.stack([cv2.resize(frame, size[::-1]) for frame in _plain_frames(path)])
    assert np.abs(_decode_jpegs(clip).astype(int) - expected).mean() < (3 if short_side else 1)


@pytest.mark.parametrize(
    "name",
    [b"caf\xe9.mp4", b"%03d.mp4", b"a:b.mp4", b"-i.mp4", b"two\nlines.mp4", b" a b .mp4", "été.mp4".encode()],
    ids=lambda name: repr(name),
)
def test_odd_names(write_video, tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    write_video(tmp_path / "plain.mp4", frames=3).rename(path)
    assert len(_decode(path, ClipOptions(short_side=0))["frames"]) == 3


def test_8k(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "8k.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (7680, 4320))
    writer.write(np.full((4320, 7680, 3), 100, np.uint8))
    writer.release()
    clip = _decode(tmp_path / "8k.avi", ClipOptions(short_side=32))
    assert (clip["height"], clip["width"], len(clip["frames"])) == (32, 57, 1)


def test_one_frame(write_video, tmp_path):
    clip = _decode(write_video(tmp_path / "clip.mp4", frames=1), ClipOptions(short_side=0))
    np.testing.assert_array_equal(clip["times"], [0])


def test_what_does_not_decode_says_why(write_video, tmp_path):
    def reason(name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VideoError) as raised:
            _decode(tmp_path / name, ClipOptions())
        return str(raised.value)

    whole = write_video(tmp_path / "whole.mp4").read_bytes()
    assert reason("empty.mp4", b"") == "is an empty file"
    assert "no video stream" in reason("text.mp4", b"not a video\n" * 100)
    assert "no video stream" in reason("headless.mp4", whole[: len(whole) // 2])  # MPEG-4 files end with their index
    with pytest.raises(VideoError, match="cannot be read: No such file"):
        _decode(tmp_path / "missing.mp4", ClipOptions())


@pytest.mark.parametrize(
    "wrong", [{"short_side": 8}, {"fps": -1}, {"quality": 0}, {"quality": 101}, {"clip_seconds": 0.01}]
)
def test_options_out_of_range(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))}="):
        ClipOptions(**wrong)


def test_real_clips_decode_to_known_lengths(real_data):
    clips = real_data / "kinetics_like"
    clip = _decode(clips / "flipping_a_pancake.mkv", ClipOptions(short_side=32))
    assert len(clip["frames"]) == 310  # its header says 311
    clip = _decode(clips / "apply_eye_makeup.avi", ClipOptions(short_side=32))
    assert len(clip["frames"]) == 164
    np.testing.assert_allclose(clip["times"], np.arange(164) / 25, atol=1e-9)  # the file's own times go backwards
    clip = _decode(clips / "carphone_pristine.mp4", ClipOptions(short_side=256, fps=10))
    assert (clip["height"], clip["width"]) == (256, 342)  # 176x144 of pixels of 128:117, shown as 4:3
    assert len(clip["frames"]) == 40


@pytest.mark.parametrize(
    ("frames", "seconds", "lengths"),
    [
        (30, 1.0, [10, 10, 10]),
        (36, 1.0, [10, 10, 10, 6]),
        (34, 1.0, [10, 10, 14]),
        (4, 1.0, [4]),
        (12, 1.0, [12]),
        (25, 0.5, [5] * 5),
    ],
)
def test_cutting_loses_and_doubles_no_frame(write_video, tmp_path, frames, seconds, lengths):
    path = write_video(tmp_path / "clip.mp4", frames=frames, fps=10)
    whole = _decode(path, ClipOptions(short_side=0))
    clips = _clips(path, ClipOptions(short_side=0, clip_seconds=seconds))
    assert [len(clip["frames"]) for clip in clips] == lengths
    for field in ("source_frames", "times", "frames"):
        assert [item for clip in clips for item in clip[field]] == list(whole[field])


def test_cutting_a_video_whose_times_fail_late(write_video, tmp_path, monkeypatch):
    """Clips that are out already are not given again."""
    path = write_video(tmp_path / "clip.mp4", frames=30, fps=10)
    decode = VideoFile.frames

    def times_fail_late(file, *, container_times):
        for number, frame in enumerate(decode(file, container_times=container_times)):
            if container_times and number == 25:
                raise UnusableTimes
            yield frame

    monkeypatch.setattr(VideoFile, "frames", times_fail_late)
    clips = _clips(path, ClipOptions(short_side=0, clip_seconds=0.5))
    assert [number for clip in clips for number in clip["source_frames"]] == list(range(30))


def test_a_clip_too_long_for_one_record(write_video, tmp_path, monkeypatch):
    """The reason tells the cure, and the cure helps: the limit is of a clip, not of a video."""
    path = write_video(tmp_path / "clip.mp4", frames=30, fps=10)
    whole = sum(map(len, _decode(path, ClipOptions(short_side=0))["frames"]))
    monkeypatch.setattr(decoding, "_LARGEST_CLIP", whole)
    assert len(_decode(path, ClipOptions(short_side=0))["frames"]) == 30
    monkeypatch.setattr(decoding, "_LARGEST_CLIP", whole - 1)
    with pytest.raises(VideoError, match=r"its first 30 frames fill .* cut it by clip_seconds"):
        _decode(path, ClipOptions(short_side=0))
    assert len(_clips(path, ClipOptions(short_side=0, clip_seconds=1))) == 3
