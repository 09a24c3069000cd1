"""The decoding process: hung, crashed and killed, and what it leaves behind."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from data_prep.decoder import Decoder
from data_prep.decoding import ClipOptions
from vfs_jax.data.video_files import VideoError

OPTIONS = ClipOptions(short_side=0)


def _lengths(decoder: Decoder, path: Path) -> list[int]:
    return [record.frames for record in decoder.decode(path, path.name, 0, warn=pytest.fail)]


def _kill_when_busy(decoder: Decoder, number: int, times: int) -> threading.Thread:
    def kill() -> None:
        killed = set()
        while len(killed) < times:
            child = decoder._child
            if child is not None and child.pid not in killed and child.poll() is None:
                time.sleep(0.1)
                killed.add(child.pid)
                os.kill(child.pid, number)
            time.sleep(0.01)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def hanging(tmp_path):
    """A named pipe: whoever opens it waits for a writer that never comes."""
    path = tmp_path / "hangs.mp4"
    os.mkfifo(path)
    return path


def test_goes_on_after_a_clip_that_hangs(write_video, tmp_path, hanging):
    good, other = (write_video(tmp_path / f"{number}.mp4", frames=number) for number in (12, 3))
    with Decoder(OPTIONS, clip_timeout=30) as decoder:
        assert _lengths(decoder, good) == [12]
        child = decoder._child
        assert _lengths(decoder, other) == [3]
        assert decoder._child is child  # one child serves many videos
        decoder._clip_timeout = 0.3
        with pytest.raises(VideoError, match=r"takes longer than 0\.3 s"):
            _lengths(decoder, hanging)
        assert child.poll() == -signal.SIGKILL
        decoder._clip_timeout = 30
        assert _lengths(decoder, good) == [12]
        assert decoder._child.pid != child.pid
        child = decoder._child
    assert child.poll() is not None  # and ends with it


def test_a_crash_is_the_clips_fault(hanging):
    with Decoder(OPTIONS, clip_timeout=30) as decoder:
        _kill_when_busy(decoder, signal.SIGSEGV, 1)
        with pytest.raises(VideoError, match="crashes the decoder \\(SIGSEGV\\)"):
            _lengths(decoder, hanging)


def test_a_kill_from_outside_is_tried_again(hanging):
    with Decoder(OPTIONS, clip_timeout=30) as decoder:
        _kill_when_busy(decoder, signal.SIGKILL, 2)
        with pytest.raises(VideoError, match="the decoder was killed"):
            _lengths(decoder, hanging)
