"""Faults on purpose: none loses or doubles a record, and each is told by its name."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import pytest

from data_prep.index import read_entries, read_tasks
from vfs_jax.data.records import ClipRecords
from vfs_jax.errors import InputError

COMMAND = [sys.executable, "-m", "vfs_jax.apps.prepare"]


def _accounted(out: Path) -> list[str]:
    """Ids of all records and rejects; the caller compares with what was put in."""
    rejects = [json.loads(line)["id"] for line in (out / "rejects.jsonl").read_text().splitlines()]
    return sorted([clip["id"] for clip in ClipRecords(out)] + rejects)


@pytest.mark.slow
def test_odd_files_are_accounted_for(write_video, tmp_path, vfs_prepare):
    videos, out = tmp_path / "videos", tmp_path / "out"
    write_video(videos / "one_frame.mp4", frames=1)
    write_video(videos / "plain.mp4", frames=4).rename(videos / os.fsdecode(b"caf\xe9 \xff.mp4"))
    (videos / "zero.mp4").touch()
    (videos / "text.mp4").write_text("#EXTM3U\nhttp://localhost:9/a.ts\n")
    (videos / "noise.mkv").write_bytes(os.urandom(10_000))
    with wave.open(str(videos / "audio_only.mp4"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))
    os.mkfifo(videos / "hangs.mp4")
    (videos / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    vfs_prepare("all", f"--videos={videos}", f"--out={out}", "--short_side=32", "--shards=2", "--clip_timeout=2")
    assert {clip["id"]: (len(clip["frames"]), clip["height"], clip["width"]) for clip in ClipRecords(out)} == {
        "one_frame.mp4": (1, 32, 43),
        r"caf\xe9 \xff.mp4": (4, 32, 43),
    }
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert {reject["id"]: reject["reason"] for reject in rejects} == {
        "audio_only.mp4": "no video stream that FFmpeg can open",
        "gone.mp4": "cannot be read: No such file or directory",
        "hangs.mp4": "takes longer than 2 s",
        "noise.mkv": "no video stream that FFmpeg can open",
        "text.mp4": "no video stream that FFmpeg can open",
        "zero.mp4": "is an empty file",
    }
    assert _accounted(out) == [entry.id for task in read_tasks(out) for entry in read_entries(out, task)]


@pytest.mark.slow
def test_killed_in_the_middle_of_a_shard(write_video, tmp_path, vfs_prepare):
    videos, out = tmp_path / "videos", tmp_path / "out"
    for number in range(4):
        write_video(videos / f"{number}.mp4", frames=3)
    last = videos / "3.mp4"
    last.rename(tmp_path / "aside.mp4")
    os.mkfifo(last)  # keeps the second shard half-written
    arguments = (f"--videos={videos}", "--short_side=0", "--shards=2")
    process = subprocess.Popen(
        [*COMMAND, "all", *arguments, f"--out={out}", "--workers=1", "--clip_timeout=60"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 60
    while not ((out / ".progress.tmp").exists() and (out / ".progress.tmp").stat().st_size == 3):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(out.glob(".clips-*.tmp"))) == 1
    [done] = out.glob("clips-*.json")
    made = done.stat().st_mtime_ns
    writer = os.open(last, os.O_WRONLY)  # lets the orphaned decoder go on; it finds nobody to answer and ends
    os.close(writer)
    last.unlink()
    (tmp_path / "aside.mp4").rename(last)
    vfs_prepare("all", *arguments, f"--out={out}")
    assert _accounted(out) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert done.stat().st_mtime_ns == made
    assert not [path for path in out.iterdir() if path.suffix == ".tmp"]


@pytest.mark.slow
def test_disk_full(write_video, tmp_path, vfs_prepare):
    """A limit on the size of files, as a quota would set it."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    write_video(videos / "a.mp4", frames=2)
    write_video(videos / "b.mp4", frames=40, height=240, width=320)
    arguments = (f"--videos={videos}", f"--out={out}", "--short_side=0", "--shards=2")
    ended = subprocess.run(
        ["prlimit", "--fsize=200000", *COMMAND, "all", *arguments, "--workers=2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        f"vfs-prepare: error: {out.resolve()}/clips-train.array_record-00001-of-00002: cannot be written: "
        "write() failed: File too large; free space and run again"
    )
    assert not list(out.glob(".clips*"))
    assert not (out / "clips-train.array_record-00001-of-00002").exists()
    assert not (out / "manifest.json").exists()
    vfs_prepare("all", *arguments)
    assert _accounted(out) == ["a.mp4", "b.mp4"]


_TINY_DISK = """
mount -t tmpfs -o size=300k none "$1" || exit 77
shift
"$@"
"""


@pytest.mark.long
def test_tiny_disk(write_video, tmp_path, vfs_prepare):
    """A real file system without room: the smaller clip fits, the larger one does not."""
    videos, disk = tmp_path / "videos", tmp_path / "disk"
    write_video(videos / "a.mp4", frames=2)
    write_video(videos / "b.mp4", frames=60, height=240, width=320)
    disk.mkdir()
    arguments = ["all", f"--videos={videos}", f"--out={disk / 'out'}", "--short_side=0", "--shards=2", "--workers=1"]
    listing = ["sh", "-c", f'"$@"; status=$?; ls -A {disk / "out"} | sort; exit $status', "-"]
    ended = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", _TINY_DISK, "-", disk, *listing, *COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode == 77 or "unshare failed" in ended.stderr:
        pytest.skip("no file system of its own for a test here")
    assert ended.returncode == 1, ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert "clips-train.array_record-00001-of-00002: cannot be written: " in last
    assert "No space left on device; free space and run again" in last
    left = ended.stdout.splitlines()
    assert "clips-train.array_record-00000-of-00002.json" in left
    assert not [name for name in left if "00001-of" in name or name.endswith(".tmp") or name == "manifest.json"]


def test_folder_that_cannot_be_written(write_video, tmp_path, vfs_prepare):
    write_video(tmp_path / "videos" / "a.mp4", frames=2)
    (tmp_path / "out").write_text("a file, not a folder")
    with pytest.raises(FileExistsError, match="out"):  # the command makes one line of it
        vfs_prepare("all", f"--videos={tmp_path / 'videos'}", f"--out={tmp_path / 'out'}")


def test_two_runs_in_one_folder(write_video, tmp_path, vfs_prepare):
    write_video(tmp_path / "a.mp4", frames=2)
    out = tmp_path / "out"
    vfs_prepare("index", f"--videos={tmp_path}", f"--out={out}")
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another vfs-prepare is at work"):
            vfs_prepare("convert", f"--out={out}", "--short_side=0")
    assert not list(out.glob("clips-*"))
    vfs_prepare("convert", f"--out={out}", "--short_side=0")
    assert len(list(out.glob("clips-*.json"))) == 1


@pytest.mark.long
def test_two_processes_start_in_one_new_folder(write_video, tmp_path):
    """One does the work; the other says so, and takes away nothing of it."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    for number in range(4):
        write_video(videos / f"{number}.mp4", frames=2)
    arguments = ["all", f"--videos={videos}", f"--out={out}", "--short_side=0", "--workers=1"]
    both = [subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    statuses = [process.returncode for process in both]
    assert 0 in statuses
    for status, error in zip(statuses, errors, strict=True):
        assert status == 0 or "another vfs-prepare is at work" in error.splitlines()[-1]
    assert _accounted(out) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]


@pytest.mark.slow
def test_interrupted_from_the_keyboard(write_video, tmp_path):
    """Ctrl-C reaches the whole process group: the clip at work is not blamed, the process ends."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    write_video(videos / "a.mp4", frames=2)
    os.mkfifo(videos / "b.mp4")
    arguments = (f"--videos={videos}", f"--out={out}", "--workers=2", "--shards=2", "--clip_timeout=10")
    process = subprocess.Popen(
        # What runs the tests in the background may have told its children to ignore the interrupt.
        ["env", "--default-signal=INT", *COMMAND, "all", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while not list(out.glob("clips-*00000-of-00002.json")):
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    started = time.monotonic()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(30)
    assert process.poll() == 130
    assert time.monotonic() - started < 9
    assert not (out / "clips-train.array_record-00001-of-00002.json").exists()
