"""Decoding of one video file to clips of resized JPEG frames with their numbers and times.

This module runs inside the decoding process (decoder.py): it imports nothing that is heavier than TFDS.
"""

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from vfs_jax.data.images import encode_jpeg
from vfs_jax.data.record_fields import ClipRecord
from vfs_jax.data.video_files import DecodedFrame, UnusableTimes, VideoError, VideoFile
from vfs_jax.errors import InputError

# Containers round times, Matroska to whole milliseconds: a frame this little before a tick still belongs to it.
_TIME_ROUNDING = 0.001
# TFDS reads a record whole, and protobuf ends at 2 GiB.
_LARGEST_CLIP = 512 << 20


@dataclasses.dataclass(frozen=True)
class ClipOptions:
    """How videos become clips; every field changes the bytes of the records.

    Attributes:
        short_side: pixels of the shorter side of the stored frames, 0 to keep the source's size.
        fps: frames a second to keep, 0 to keep every source frame.
        quality: JPEG quality, 1 to 100.
        clip_seconds: length of the clips that a video is cut into, 0 to leave it whole.

    Raises:
        InputError: a field is out of range; the message names it.
    """

    short_side: int = 256
    fps: float = 0.0
    quality: int = 90
    clip_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not (self.short_side == 0 or 16 <= self.short_side <= 4320):
            raise InputError(f"short_side={self.short_side}: takes 16 to 4320 pixels, or 0 to keep each video's size")
        if not 0 <= self.fps <= 1000:
            raise InputError(f"fps={self.fps:g}: takes frames a second up to 1000, or 0 to keep every frame")
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality={self.quality}: takes a JPEG quality from 1 to 100")
        if not (self.clip_seconds == 0 or 0.1 <= self.clip_seconds < math.inf):
            raise InputError(f"clip_seconds={self.clip_seconds:g}: takes seconds from 0.1, or 0 to leave videos whole")


class _Frame(NamedTuple):
    """A frame that is kept: its number in the video, seconds since the first, and the JPEG file with its size."""

    number: int
    time: float
    height: int
    width: int
    jpeg: bytes


def clip_name(video: str, number: int, *, cut: bool) -> str:
    """Return the id of a clip: its video's own where that stays whole, else with the clip's number."""
    return f"{video}#{number:04d}" if cut else video


def decode_clips(
    path: Path, video: str, label: int, options: ClipOptions, *, warn: Callable[[str], object]
) -> Iterator[ClipRecord]:
    """Decode a whole video once, from its first frame to its last.

    Frames are stored as they are shown: turned as the file says, and with square pixels. They shrink by area averaging
    and grow bilinearly; the longer side is int(side * scale + 0.5). With options.fps, the first frame at or after each
    tick k / fps is kept, so that clips of a variable frame rate come out evenly spaced. Where the container's times do
    not increase, frame i is at i / rate.

    Args:
        path: any file that FFmpeg reads.
        video: its id.
        label: its class.
        options: size, rate, quality and length.
        warn: called at the end where frames are missing, with a line that says how many.

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

    def clips(*, container_times: bool) -> Iterator[ClipRecord]:
        file = VideoFile(path)
        kept = _keep(file.frames(container_times=container_times), options)
        for number, frames in enumerate(_cut(kept, options.clip_seconds or math.inf)):
            yield {
                "id": clip_name(video, number, cut=options.clip_seconds > 0),
                "label": label,
                "height": frames[0].height,
                "width": frames[0].width,
                "source_frames": np.array([frame.number for frame in frames], np.int64),
                "times": np.array([frame.time for frame in frames]),
                "frames": [frame.jpeg for frame in frames],
                "source_sha256": sha256,
            }
        if file.shortfall:
            warn(file.shortfall)

    done = 0
    try:
        for clip in clips(container_times=True):
            yield clip
            done += 1
    except UnusableTimes:
        yield from itertools.islice(clips(container_times=False), done, None)


def _keep(frames: Iterator[DecodedFrame], options: ClipOptions) -> Iterator[_Frame]:
    """Choose frames by their times, resize and encode them."""
    size: tuple[int, int] | None = None
    last_tick = -1
    for number, frame in enumerate(frames):
        tick = int((frame.time + _TIME_ROUNDING) * options.fps) if options.fps else number
        if tick <= last_tick:
            continue
        last_tick = tick
        size = size or _target_size(frame, options.short_side)  # a stream that changes size keeps its first
        try:
            jpeg = encode_jpeg(_resize(frame.image, size), quality=options.quality)
        except ValueError as error:
            raise VideoError(str(error)) from None
        yield _Frame(number, frame.time, *size, jpeg)


def _cut(frames: Iterator[_Frame], seconds: float) -> Iterator[list[_Frame]]:
    """Cut a video's frames into clips of so many seconds."""
    clip: list[_Frame] = []
    held: list[_Frame] = []  # a clip waits until the next one is long enough not to be joined to it
    position, size = 0.0, 0
    for frame in frames:
        at = (frame.time + _TIME_ROUNDING) // seconds
        if clip and at > position:
            if held:
                yield held
            held, clip, size = clip, [], 0
        position = at
        clip.append(frame)
        size += len(frame.jpeg)
        if size > _LARGEST_CLIP:
            raise VideoError(
                f"its first {len(clip)} frames fill {_LARGEST_CLIP >> 20} MiB, the most of one record; "
                "cut it by clip_seconds"
            )
    if held and clip[-1].time - clip[0].time < seconds / 2:
        held, clip = [], held + clip
    if held:
        yield held
    yield clip


def _target_size(frame: DecodedFrame, short_side: int) -> tuple[int, int]:
    """Return the height and width to store: those shown, the side that pixels which are not square lengthen grown."""
    height, width = frame.image.shape[:2]
    shown = height / min(frame.pixel_aspect, 1), width * max(frame.pixel_aspect, 1)
    scale = short_side / min(shown) if short_side else 1.0
    return int(shown[0] * scale + 0.5), int(shown[1] * scale + 0.5)


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    shrinks = size[0] < image.shape[0] or size[1] < image.shape[1]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
