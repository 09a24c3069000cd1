"""One video file to resized JPEG frames, each with its number and its time.

This module runs inside the decoding process (decoder.py): it imports cv2 and numpy and nothing heavier.
"""

import dataclasses
import hashlib
import itertools
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from vfs_jax.errors import InputError

# Containers round times, Matroska to whole milliseconds: a frame this little before a tick still belongs to it.
_TIME_ROUNDING = 0.001
# TFDS reads a record whole, and protobuf ends at 2 GiB.
_LARGEST_CLIP = 512 << 20


class ClipError(Exception):
    """A clip that cannot become a record; the message is the reason that the list of rejects gives."""


class _UnusableTimes(Exception):
    """The container's times do not increase (AVI files with B-frames carry none of their own)."""


@dataclasses.dataclass(frozen=True)
class ClipOptions:
    """How clips are converted; every field changes the bytes of the records.

    Attributes:
        short_side: pixels of the shorter side of the stored frames, 0 to keep the source's size.
        fps: frames a second to keep, 0 to keep every source frame.
        quality: JPEG quality, 1 to 100.
        clip_seconds: length of the clips that a video is cut into, 0 to leave it whole.

    Raises:
        InputError: a field is out of range; the message names the flag of vfs-prepare.
    """

    short_side: int = 256
    fps: float = 0.0
    quality: int = 90
    clip_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not (self.short_side == 0 or 16 <= self.short_side <= 4320):
            raise InputError(f"--short_side={self.short_side}: takes 16 to 4320 pixels, or 0 to keep each clip's size")
        if not 0 <= self.fps <= 1000:
            raise InputError(f"--fps={self.fps:g}: takes frames a second up to 1000, or 0 to keep every frame")
        if not 1 <= self.quality <= 100:
            raise InputError(f"--quality={self.quality}: takes a JPEG quality from 1 to 100")
        if not (self.clip_seconds == 0 or 0.1 <= self.clip_seconds < math.inf):
            raise InputError(
                f"--clip_seconds={self.clip_seconds:g}: takes seconds from 0.1, or 0 to leave videos whole"
            )


@dataclasses.dataclass(frozen=True)
class Clip:
    """A decoded clip.

    Attributes:
        height: of every frame, in pixels.
        width: of every frame, in pixels.
        source_frames: n numbers of the kept frames in the order of the source, from 0.
        times: n, seconds since the first frame of the source, strictly increasing.
        frames: n JPEG files.
        source_sha256: of the source file.
    """

    height: int
    width: int
    source_frames: list[int]
    times: list[float]
    frames: list[bytes]
    source_sha256: str


def decode_clips(path: Path, options: ClipOptions) -> Iterator[Clip]:
    """Decode a whole video once, from its first frame to its last.

    Rotation metadata is applied. Frames shrink by area averaging and grow bilinearly; the longer side is
    int(side * scale + 0.5). With options.fps, the first frame at or after each tick k / fps is kept, so that clips of a
    variable frame rate come out evenly spaced. Where the container's times do not increase, frame i is at i / rate.

    Args:
        path: any file that FFmpeg, inside OpenCV, reads.
        options: size, rate, quality and length.

    Yields:
        The video as one clip; with options.clip_seconds its clips in order, the last of them up to half as long again
        or down to half as long.

    Raises:
        ClipError: nothing decodes; the message says why.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            empty = file.tell() == 0
    except OSError as error:
        raise ClipError(f"cannot be read: {error.strerror}") from None
    if empty:
        raise ClipError("is an empty file")
    with tempfile.TemporaryDirectory(prefix="vfs_prepare_") as folder:
        # OpenCV takes UTF-8 alone and FFmpeg reads "x:y" as a protocol: a link of a plain name serves every name.
        link = Path(folder, "clip")
        link.symlink_to(path.resolve())
        done = 0
        try:
            for clip in _decode(link, options, sha256, container_times=True):
                yield clip
                done += 1
        except _UnusableTimes:
            yield from itertools.islice(_decode(link, options, sha256, container_times=False), done, None)


def _decode(path: Path, options: ClipOptions, sha256: str, *, container_times: bool) -> Iterator[Clip]:
    seconds = options.clip_seconds or math.inf
    clip = held = None  # a clip waits until the next one is long enough not to be joined to it
    size: tuple[int, int] | None = None
    last_tick, position, bytes_left = -1, 0.0, _LARGEST_CLIP
    for number, (time, image) in enumerate(_read(path, container_times=container_times)):
        tick = int((time + _TIME_ROUNDING) * options.fps) if options.fps else number
        if tick <= last_tick:
            continue
        last_tick = tick
        size = size or _target_size(image, options.short_side)  # a stream that changes size keeps its first
        if clip is None or (time + _TIME_ROUNDING) // seconds > position:
            if held is not None:
                yield held
            held, position = clip, (time + _TIME_ROUNDING) // seconds
            clip, bytes_left = Clip(*size, [], [], [], sha256), _LARGEST_CLIP
        clip.source_frames.append(number)
        clip.times.append(time)
        clip.frames.append(_encode(_resize(image, size), options.quality))
        bytes_left -= len(clip.frames[-1])
        if bytes_left < 0:
            raise ClipError(
                f"its first {len(clip.frames)} frames fill {_LARGEST_CLIP >> 20} MiB, the most of one record; "
                "cut it by --clip_seconds"
            )
    if clip is None:
        raise ClipError("no frame of its video stream decodes")
    if held is not None and clip.times[-1] - clip.times[0] < seconds / 2:
        held.source_frames.extend(clip.source_frames)
        held.times.extend(clip.times)
        held.frames.extend(clip.frames)
        yield held
        return
    if held is not None:
        yield held
    yield clip


def _read(path: Path, *, container_times: bool) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (seconds since the first frame, BGR uint8 [h, w, 3])."""
    capture = cv2.VideoCapture(os.fspath(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        if not capture.isOpened():
            raise ClipError("no video stream that FFmpeg can open")
        rate = capture.get(cv2.CAP_PROP_FPS)
        rate = rate if np.isfinite(rate) and rate > 0 else 25.0
        first, number, last = 0.0, 0, -1.0
        while True:
            decoded, image = capture.read()
            if not decoded:
                return
            if container_times:
                seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                first = seconds if number == 0 else first
                time = seconds - first
                if not time > last:
                    raise _UnusableTimes
                last = time
            else:
                time = number / rate
            yield time, image
            number += 1
    finally:
        capture.release()


def _target_size(image: np.ndarray, short_side: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = short_side / min(height, width) if short_side else 1.0
    return int(height * scale + 0.5), int(width * scale + 0.5)


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    shrinks = size[0] < image.shape[0]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _encode(image: np.ndarray, quality: int) -> bytes:
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ClipError(f"a frame of {image.shape[1]}x{image.shape[0]} does not fit a JPEG file")
    return data.tobytes()
