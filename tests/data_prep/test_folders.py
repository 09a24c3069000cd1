"""Every video below a folder is found, whatever it is called and wherever a link leads; what is none is listed."""

import os

import pytest
from odd_videos import encode

from data_prep.folders import VIDEO_SUFFIXES, is_video
from data_prep.index import index_folder
from vfs_jax.data.records import ClipRecords

# What of these has a suffix of its own; without it the content tells.
CONTAINERS = {
    "mp4": {},
    "mkv": {},
    "avi": {"codec": "mpeg4"},
    "flv": {"codec": "flv"},
    "asf": {"codec": "wmv2"},
    "mxf": {"codec": "mpeg2video"},
    "gif": {"codec": "gif", "pixels": "rgb8"},
    "y4m": {"codec": "rawvideo"},
    "ivf": {"codec": "libvpx"},
    "nut": {"codec": "mpeg4"},
    "mpg": {"codec": "mpeg2video"},
    "ts": {},
    "m2ts": {},
    "h264": {},
    "hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "rm": {"codec": "rv20"},
}


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_a_video_is_known_by_suffix_and_by_content(tmp_path, suffix):
    path = encode(tmp_path / f"video.{suffix}", frames=3, **CONTAINERS[suffix])
    assert path.suffix in VIDEO_SUFFIXES
    assert is_video(path)
    assert is_video(path.rename(tmp_path / "video"))
    assert is_video((tmp_path / "video").rename(tmp_path / "video.17"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"a text\n" * 100),
        ("LICENSE", b"a text\n" * 100),
        ("frame.jpg", b"\xff\xd8\xff\xe0" + bytes(100)),
        ("frame.png", b"\x89PNG\r\n\x1a\n"),
        ("song.m4a", b"\0\0\0\x20ftypisom"),
        ("song", b"\0\0\0\x20ftypM4A "),
        ("still", b"\0\0\0\x20ftypheic"),
        ("song.ogg", b"OggS" + bytes(24) + b"\x01vorbis"),
        ("sound", b"RIFF\0\0\0\0WAVEfmt "),
        ("half.mp4.part", b"\0\0\0\x20ftypisom"),
        ("empty", b""),
    ],
)
def test_what_is_no_video(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert not is_video(tmp_path / name)


def test_links_are_followed_once(tmp_path):
    videos, elsewhere = tmp_path / "videos", tmp_path / "elsewhere"
    for name in ("videos/run/a.mp4", "elsewhere/b.mp4", "elsewhere/deep/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (videos / "linked").symlink_to(elsewhere)
    (videos / "again").symlink_to(elsewhere / "deep")  # found first, below "linked" it is there a second time
    (videos / "a_link_to_run").symlink_to(videos / "run")
    (videos / "run" / "loop").symlink_to(videos)
    (videos / "d.mp4").symlink_to(elsewhere / "b.mp4")  # a file of its own name is a video of its own
    (videos / "nowhere").symlink_to(tmp_path / "gone")
    passed_over = []
    entries, classes = index_folder(videos, pass_over=passed_over.append)
    assert [entry.id for entry in entries] == ["again/c.mp4", "d.mp4", "linked/b.mp4", "run/a.mp4"]
    assert classes == ["", "again", "linked", "run"]
    assert passed_over == ["nowhere"]


def test_what_is_passed_over_is_listed(tmp_path, vfs_prepare, capsys):
    videos, out = tmp_path / "videos", tmp_path / "out"
    for name in ("a.mp4", ".hidden.mp4", ".git/b.mp4"):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        encode(videos / name, frames=2)
    encode(videos / "c.gif", "gif", "rgb8", frames=2)
    encode(videos / "d.mp4", frames=2).rename(videos / "no suffix")
    for name in ("notes.txt", "._a.mp4", ".DS_Store", "two\nlines.txt", os.fsdecode(b"caf\xe9.txt")):
        (videos / name).write_text("no video")
    vfs_prepare("all", f"--videos={videos}", f"--out={out}", "--short_side=0")
    assert [clip["id"] for clip in ClipRecords(out)] == ["a.mp4", "c.gif", "no suffix"]
    listed = (out / "not_indexed.txt").read_text().splitlines()
    assert listed == sorted(["notes.txt", "._a.mp4", ".hidden.mp4", ".git/b.mp4", r"two\nlines.txt", r"caf\xe9.txt"])
    warning = f"vfs-prepare: WARNING: 6 files are no videos and passed over; {out / 'not_indexed.txt'} names them"
    assert warning in capsys.readouterr().err
    for name in listed[:3]:
        (videos / name).unlink()
    for path in (*videos.glob("*.txt"), *videos.glob("._*")):
        path.unlink()
    vfs_prepare("index", f"--videos={videos}", f"--out={out}")
    assert not (out / "not_indexed.txt").exists()
    assert "WARNING" not in capsys.readouterr().err
