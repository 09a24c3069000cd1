"""Decoding in a process of its own, which is killed when a video hangs it and replaced when a video crashes it."""

import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from data_prep.decoding import ClipOptions, decode_clips
from data_prep.record import SerializedRecord, make_record
from vfs_jax.data.video_files import VideoError

# Signals by which a process fails of its own doing; by any other (SIGKILL, SIGTERM) somebody else ended it.
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_STARTING_SECONDS = 120


class Decoder:
    """Decodes videos in a child process, one at a time, each clip of them within a time limit.

    The child starts with the first video and serves the following ones. It has a session of its own, so that an
    interrupt typed at the terminal is never taken for a video's fault.
    """

    def __init__(self, options: ClipOptions, clip_timeout: float) -> None:
        self._options = options
        self._clip_timeout = clip_timeout
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def decode(
        self, path: Path, video: str, label: int, *, warn: Callable[[str], object]
    ) -> Iterator[SerializedRecord]:
        """Decode one video.

        Args:
            path: the video file.
            video: its id.
            label: its class.
            warn: called at the end where frames are missing, with a line that says how many.

        Yields:
            Records of the clips that decode_clips yields.

        Raises:
            VideoError: it does not decode, crashes the decoder, or exceeds the time limit.
        """
        received = 0
        for _ in range(2):
            try:
                for record in self._ask(path, video, label, warn):
                    yield record
                    del record  # it has megabytes, and the next one is about to come
                    received += 1
                return
            except _Ended as ended:
                if ended.signal in _CRASHES:
                    raise VideoError(f"crashes the decoder ({ended.signal.name})") from None
                if received:
                    break
        raise VideoError("the decoder was killed while it worked on this video; out of memory?")

    def _ask(self, path: Path, video: str, label: int, warn: Callable[[str], object]) -> Iterator[SerializedRecord]:
        if self._child is None:
            self._child = _start()
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        answer: SerializedRecord | _End | None = None
        try:
            # The child gives up by itself a little later: nothing is left behind where this process is killed.
            _send(child.stdin, (os.fspath(path), video, label, self._options, self._clip_timeout + 5))
            while isinstance(answer := _receive(child.stdout, time.monotonic() + self._clip_timeout), SerializedRecord):
                yield answer
                answer = None
        except TimeoutError:
            raise VideoError(f"takes longer than {self._clip_timeout:g} s") from None
        except (EOFError, BrokenPipeError):
            raise _Ended(child.wait()) from None
        finally:
            if answer is None:  # it has not come to an end, or nobody wants the rest
                self.close()
        for line in answer.warnings:
            warn(line)
        if answer.reason:
            raise VideoError(answer.reason)

    def close(self) -> None:
        """End the child process."""
        if self._child is None:
            return
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._child = None


class _End(NamedTuple):
    """The last answer to a request: why the video does not decode, "" where it does, and what it lacks."""

    reason: str
    warnings: list[str]


class _Ended(Exception):
    """The child process ended before it answered."""

    def __init__(self, status: int) -> None:
        self.signal = signal.Signals(-status) if status < 0 else signal.SIGABRT
        super().__init__(f"status {status}")


def _start() -> "subprocess.Popen[bytes]":
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OPENCV_LOG_LEVEL": "SILENT",  # what does not encode is told once, as a reject
        # glibc: the memory of an image is kept for the next one; that of a record, which has megabytes, is given back.
        "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
    }
    child = subprocess.Popen(
        [sys.executable, "-c", "from data_prep.decoder import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
        bufsize=0,
    )
    assert child.stdout is not None
    try:
        _receive(child.stdout, time.monotonic() + _STARTING_SECONDS)  # imports are no video's time
    except (EOFError, TimeoutError):
        child.kill()
        raise RuntimeError(f"the decoding process does not start (status {child.wait()})") from None
    return child


def serve() -> None:
    """Answer each request on stdin with records and then with how it ended: the child's loop."""
    import cv2

    cv2.setNumThreads(1)
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to stderr, not between the answers
    _send(answers, "ready")
    while True:
        try:
            path, video, label, options, limit = _receive(requests, None)
        except EOFError:
            return
        reason = ""
        warnings: list[str] = []
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            for clip in decode_clips(Path(path), video, label, options, warn=warnings.append):
                _send(answers, make_record(clip))
                signal.setitimer(signal.ITIMER_REAL, limit)
                del clip  # before the next one is decoded
        except VideoError as error:
            reason = str(error)
        except (cv2.error, MemoryError) as error:
            reason = f"decoding fails: {' '.join(str(error).split()) or 'out of memory'}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(answers, _End(reason, warnings))


def _send(pipe: IO[bytes], message: object) -> None:
    pickle.dump(message, pipe, protocol=5)
    pipe.flush()


def _receive(pipe: IO[bytes], deadline: float | None) -> Any:
    return pickle.load(_Incoming(pipe, deadline))


class _Incoming:
    """What pickle.load reads from: a pipe, until a deadline. A record's megabytes go to their place without a copy."""

    def __init__(self, pipe: IO[bytes], deadline: float | None) -> None:
        self._pipe = pipe
        self._deadline = deadline
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)

    def readinto(self, target: bytearray | memoryview) -> int:
        view, filled = memoryview(target), 0
        while filled < len(view):
            left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic()) * 1000
            if not self._poll.poll(left):
                raise TimeoutError
            count = os.readv(self._pipe.fileno(), [view[filled:]])
            if count == 0:
                raise EOFError
            filled += count
        return filled

    def read(self, size: int) -> bytes:
        data = bytearray(size)
        self.readinto(data)
        return bytes(data)

    def readline(self) -> bytes:  # pickle.load asks for it and, in this protocol, never calls it
        raise pickle.UnpicklingError("no line in this protocol")
