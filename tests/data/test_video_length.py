"""A video that ends early or is damaged is known as such, and a whole one is never taken for one."""

import struct

import numpy as np
import pytest
from odd_videos import FRAMES, cut, encode, paint, spoil

from vfs_jax.data.video_files import UnusableTimes, VideoFile

FASTSTART = {"movflags": "+faststart"}
FRAGMENTS = {"movflags": "+frag_keyframe+empty_moov"}
JUMPS = [int(time) for time in 40 * np.cumsum([0, 1, 1, 5, 1, 10, 2, 1, 1, 1, 5, 1, 1, 10, 2, 1])]
MPEG4, VP9 = {"codec": "mpeg4"}, {"codec": "libvpx-vp9"}
SHORT_GROUPS = {"options": {"g": "4"}}

WHOLE = {
    "mp4": ("mp4", {}),
    "mp4, index first": ("mp4", {"container": FASTSTART}),
    "mp4 without edit list": ("mp4", {"container": {"use_editlist": "0"}}),
    "mp4, negative offsets": ("mp4", {"container": {"movflags": "+negative_cts_offsets"}}),
    "mp4 in fragments": ("mp4", {"container": FRAGMENTS, **SHORT_GROUPS}),
    "mp4, first fragment in the index": ("mp4", {"container": {"movflags": "+frag_keyframe"}, **SHORT_GROUPS}),
    "mp4, a fragment a frame": ("mp4", {"container": {"movflags": "+frag_every_frame+empty_moov"}}),
    "dash": ("mp4", {"container": {"movflags": "+dash+global_sidx"}, **SHORT_GROUPS}),
    "cmaf": ("mp4", {"container": {"movflags": "+cmaf+frag_keyframe"}, **SHORT_GROUPS}),
    "mp4, eight B-frames": ("mp4", {"options": {"bf": "8", "b-pyramid": "normal"}}),
    "mp4, open groups": ("mp4", {"options": {"x264-params": "open-gop=1:keyint=6"}}),
    "mp4, intra refresh": ("mp4", {"options": {"x264-params": "intra-refresh=1:keyint=8"}}),
    "mp4, variable rate": ("mp4", {"times": JUMPS}),
    "mp4 that starts late": ("mp4", {"times": [5000 + 40 * number for number in range(FRAMES)]}),
    "mp4, longer sound": ("mp4", {"sound": 3.0}),
    "mp4, shorter sound": ("mp4", {"sound": 0.3}),
    "mkv": ("mkv", {}),
    "mkv, variable rate": ("mkv", {"times": JUMPS}),
    "mkv that starts late": ("mkv", {"times": [5000 + 40 * number for number in range(FRAMES)]}),
    "mkv, longer sound": ("mkv", {"sound": 3.0}),
    "live mkv without a length": ("mkv", {"container": {"live": "1"}}),
    "mkv of slides": ("mkv", {"times": [3000 * number for number in range(FRAMES)]}),
    "webm": ("webm", VP9),
    "webm, variable rate": ("webm", {"times": JUMPS, **VP9}),
    "webm of hidden frames": ("webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "12"}}),
    "avi": ("avi", MPEG4),
    "avi of B-frames": ("avi", {"options": {"bf": "2"}, **MPEG4}),
    "avi of h264": ("avi", {}),
    "avi of gaps": ("avi", {"times": JUMPS, **MPEG4}),
    "avi, longer sound": ("avi", {"sound": 3.0, **MPEG4}),
    "flv": ("flv", {"codec": "flv"}),
    "flv, variable rate": ("flv", {"codec": "flv", "times": JUMPS}),
    "flv, longer sound": ("flv", {"sound": 3.0}),
    "ts": ("ts", {}),
    "ts, longer sound": ("ts", {"sound": 3.0}),
    "mpg": ("mpg", {"codec": "mpeg2video", "options": {"bf": "2"}}),
    "asf": ("asf", {"codec": "wmv2"}),
    "mxf": ("mxf", {"codec": "mpeg2video"}),
    "nut": ("nut", MPEG4),
    "ivf": ("ivf", {"codec": "libvpx"}),
    "gif": ("gif", {"codec": "gif", "pixels": "rgb8"}),
    "one frame": ("mp4", {"frames": 1}),
    "two frames": ("avi", {"frames": 2, **MPEG4}),
}


def read(path):
    """Return the numbers of frames, and what is said of them."""
    try:
        file = VideoFile(path)
        return len(list(file.frames(container_times=True))), file.shortfall
    except UnusableTimes:
        file = VideoFile(path)
        return len(list(file.frames())), file.shortfall


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_video_lacks_nothing(tmp_path, kind):
    suffix, arguments = WHOLE[kind]
    path = encode(tmp_path / f"video.{suffix}", **arguments)
    assert read(path) == (arguments.get("frames", FRAMES), "")


@pytest.mark.parametrize(("skipped", "milliseconds", "kept"), [(5, 240, 6), (0, 400, 10), (6, 1000, 10)])
def test_an_edit_list_that_trims_leaves_a_whole_video(tmp_path, skipped, milliseconds, kept):
    """A trimmed MP4 holds frames that are not to be shown."""
    path = encode(tmp_path / "video.mp4", options={"bf": "0"})
    data = bytearray(path.read_bytes())
    struct.pack_into(">Ii", data, data.index(b"elst") + 12, milliseconds, 512 * skipped)  # 12800 ticks a second
    path.write_bytes(data)
    assert read(path) == (kept, "")


def test_the_last_slide_is_shown_for_as_long_as_any(tmp_path):
    """A Matroska file may not say how long its last frame is shown, but counts it in its length."""
    path = encode(tmp_path / "video.webm", times=[3000 * number for number in range(FRAMES)], **VP9)
    data = path.read_bytes()
    place = data.index(b"\x44\x89\x88") + 3
    (length,) = struct.unpack(">d", data[place : place + 8])
    assert length == pytest.approx(45_040, abs=50)
    path.write_bytes(
        data[:place] + struct.pack(">d", length + 3000) + data[place + 8 :].replace(b"DURATION", b"WHATEVER")
    )
    assert read(path) == (FRAMES, "")
    path.write_bytes(
        data[:place] + struct.pack(">d", length + 9000) + data[place + 8 :].replace(b"DURATION", b"WHATEVER")
    )
    assert read(path) == (FRAMES, f"{FRAMES} of 18 frames decode")


@pytest.mark.parametrize(
    ("suffix", "arguments"),
    [
        ("mp4", {"container": FASTSTART}),
        ("mp4", {"container": FASTSTART, "sound": 2.0}),
        ("mp4", {"container": FASTSTART, "codec": "libsvtav1"}),
        ("mkv", {}),
        ("mkv", {"sound": 3.0}),
        ("webm", VP9),
        ("avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
        ("flv", {"codec": "flv"}),
        ("mxf", {"codec": "mpeg2video"}),
        ("ivf", {"codec": "libvpx"}),
    ],
    ids=str,
)
def test_a_video_that_was_cut(tmp_path, suffix, arguments):
    frames = [paint(number, noise=30) for number in range(50)]
    decoded, said = read(cut(encode(tmp_path / f"video.{suffix}", frames=frames, **arguments)))
    assert 3 < decoded < 40
    assert said.startswith(f"{decoded} of 50 frames decode")


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_fragments_that_were_cut(tmp_path, share):
    frames = [paint(number, noise=30) for number in range(30)]
    path = encode(tmp_path / "video.mp4", frames=frames, container=FRAGMENTS, **SHORT_GROUPS)
    decoded, said = read(cut(path, share))
    assert 5 < decoded < 30
    assert f"{decoded} " in said
    assert "frames decode" in said


@pytest.mark.parametrize(
    ("suffix", "arguments"),
    [
        ("mp4", {"container": FASTSTART, **SHORT_GROUPS}),
        ("mp4", {"container": FASTSTART, "codec": "mpeg4"}),
        ("avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
        ("ts", SHORT_GROUPS),
        ("mpg", {"codec": "mpeg2video"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("start", [0.3, 0.6])
def test_damage_costs_what_it_hits_alone(tmp_path, suffix, arguments, start):
    """The last frame is there, and right."""
    frames = [paint(number, noise=30) for number in range(50)]
    path = encode(tmp_path / f"video.{suffix}", frames=frames, **arguments)
    *_, whole = VideoFile(path).frames()
    spoil(path, start, start + 0.1)
    file = VideoFile(path)
    found = list(file.frames())
    assert 35 <= len(found) <= 50
    assert f"{len(found)} " in file.shortfall
    assert "frames decode" in file.shortfall
    np.testing.assert_array_equal(found[-1].image, whole.image)


def test_a_stream_that_begins_in_the_middle(tmp_path):
    """What comes before the first frame that stands alone does not decode; the rest does, to the last frame."""
    frames = [paint(number, noise=30) for number in range(50)]
    path = encode(tmp_path / "video.ts", frames=frames, **SHORT_GROUPS)
    *_, whole = VideoFile(path).frames()
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 3 // 188 * 188 :])
    *rest, last = VideoFile(path).frames()
    assert 28 <= len(rest) <= 34
    np.testing.assert_array_equal(last.image, whole.image)


def test_first_packets_that_are_broken(tmp_path):
    frames = [paint(number, noise=30) for number in range(20)]
    path = encode(tmp_path / "video.mp4", frames=frames, container=FASTSTART, **SHORT_GROUPS)
    *_, whole = VideoFile(path).frames()
    data = bytearray(path.read_bytes())
    place = data.index(b"mdat") + 4
    data[place : place + 4000] = bytes(4000)
    path.write_bytes(data)
    file = VideoFile(path)
    found = list(file.frames())
    assert 10 <= len(found) < 20
    assert file.shortfall.startswith(f"{len(found)} of 20 frames decode")
    np.testing.assert_array_equal(found[-1].image, whole.image)
