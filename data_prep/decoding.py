"""One video file to resized JPEG frames, each with its number and its time.

This module runs inside the decoding process (decoder.py): it imports cv2 and numpy and nothing heavier.
"""

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from vfs_jax.data.images import encode_jpeg
from vfs_jax.data.video_files import UnusableTimes, VideoError, VideoFile
from vfs_jax.errors import InputError

# Containers round times, Matroska to whole milliseconds: a frame this little before a tick still belongs to it.
_TIME_ROUNDING = 0.001
# TFDS reads a record whole, and protobuf ends at 2 GiB.
_LARGEST_CLIP = 512 << 20


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
        VideoError: nothing decodes; the message says why.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            empty = file.tell() == 0
    except OSError as error:
        raise VideoError(f"cannot be read: {error.strerror}") from None
    if empty:
        raise VideoError("is an empty file")
    done = 0
    try:
        for clip in _decode(path, options, sha256, container_times=True):
            yield clip
            done += 1
    except UnusableTimes:
        yield from itertools.islice(_decode(path, options, sha256, container_times=False), done, None)


def _decode(path: Path, options: ClipOptions, sha256: str, *, container_times: bool) -> Iterator[Clip]:
    seconds = options.clip_seconds or math.inf
    clip = held = None  # a clip waits until the next one is long enough not to be joined to it
    size: tuple[int, int] | None = None
    last_tick, position, bytes_left = -1, 0.0, _LARGEST_CLIP
    for number, (time, image) in enumerate(VideoFile(path).frames(container_times=container_times)):
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
        try:
            clip.frames.append(encode_jpeg(_resize(image, size), quality=options.quality))
        except ValueError as error:
            raise VideoError(str(error)) from None
        bytes_left -= len(clip.frames[-1])
        if bytes_left < 0:
            raise VideoError(
                f"its first {len(clip.frames)} frames fill {_LARGEST_CLIP >> 20} MiB, the most of one record; "
                "cut it by --clip_seconds"
            )
    if clip is None:
        raise VideoError("no frame of its video stream decodes")
    if held is not None and clip.times[-1] - clip.times[0] < seconds / 2:
        held.source_frames.extend(clip.source_frames)
        held.times.extend(clip.times)
        held.frames.extend(clip.frames)
        yield held
        return
    if held is not None:
        yield held
    yield clip


def _target_size(image: np.ndarray, short_side: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = short_side / min(height, width) if short_side else 1.0
    return int(height * scale + 0.5), int(width * scale + 0.5)


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    shrinks = size[0] < image.shape[0]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
