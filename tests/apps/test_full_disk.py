"""Training on a disk that fills up: no finished checkpoint is lost, and with room the same command goes on."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from vfs_jax.apps import prepare

_TINY_DISK = """
mount -t tmpfs -o size=100m none "$1" || exit 77
"$2" -m vfs_jax.apps.train "${@:3}"
echo "first $?"
echo "kept" $(ls "$1/run/checkpoints")
mount -o remount,size=400m "$1"
"$2" -m vfs_jax.apps.train "${@:3}"
echo "second $?"
cat "$1/run/metrics.jsonl"
"""


@pytest.fixture
def records(tmp_path, command):
    for name in "ab":
        writer = cv2.VideoWriter(str(tmp_path / f"{name}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
        for number in range(12):
            writer.write(np.full((48, 64, 3), 15 * number, np.uint8))
        writer.release()
    status, *printed = command(prepare, "all", f"--videos={tmp_path}", f"--out={tmp_path / 'records'}", "--shards=1")
    assert status == 0, printed
    return tmp_path / "records"


@pytest.mark.long
def test_training_goes_on_when_there_is_room(tmp_path, records):
    disk = tmp_path / "disk"
    disk.mkdir()
    flags = ["--config=vfs_r18_fine.py:smoke", f"--config.data={records}", f"--workdir={disk / 'run'}"]
    flags += ["--config.image_size=32", "--config.checkpoint_every=1", "--config.batch_size=2"]
    ended = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "bash", "-c", _TINY_DISK, "-", disk, sys.executable, *flags],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XLA_FLAGS": ""},  # one device
    )
    if ended.returncode == 77 or "unshare failed" in ended.stderr:
        pytest.skip("no file system of its own for a test here")
    lines = ended.stdout.splitlines()
    first = lines.index("first 1")
    assert lines[first + 1] == "kept 1"
    assert "starting after step 1" in ended.stdout[ended.stdout.index("first 1") :]
    second = lines.index("second 0")
    assert [json.loads(line)["step"] for line in lines[second + 1 :]] == [1, 2, 3]
    assert ended.stderr.count("\n") == 1
    assert "no room for the checkpoint of step 2" in ended.stderr
    assert "No space left on device); free some and run again: the run goes on from the last one" in ended.stderr
