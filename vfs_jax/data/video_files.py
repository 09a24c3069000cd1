"""Video files read frame by frame, and written as H.264 that ordinary players open: the one place that decodes video.

The decoding processes of vfs-prepare import this module: it takes cv2, numpy and Pillow and nothing heavier.
"""

import fractions
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vfs_jax.data.images import list_images, read_frame
from vfs_jax.errors import InputError

if TYPE_CHECKING:
    from av.video.stream import VideoStream


class VideoError(Exception):
    """A video that does not decode; the message is the reason, without the file's name."""


class UnusableTimes(Exception):
    """The container's times do not increase (AVI files with B-frames carry none of their own)."""


class VideoFile:
    """A video file, decoded once from its first frame to its last by FFmpeg inside OpenCV, on one thread.

    Rotation metadata is applied.

    Attributes:
        rate: frames a second, 25 where the file tells none.
        count: number of frames by the header, which may be wrong; None where it tells none.

    Raises:
        VideoError: the file holds no video stream.
    """

    def __init__(self, path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="vfs_video_") as folder:
            # OpenCV takes UTF-8 alone and FFmpeg reads "x:y" as a protocol: a link of a plain name serves every name.
            link = Path(folder, "video")
            link.symlink_to(path.resolve())
            self._capture = cv2.VideoCapture(os.fspath(link), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.isOpened():
            raise VideoError("no video stream that FFmpeg can open")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if np.isfinite(rate) and rate > 0 else 25.0
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 else None

    def frames(self, *, container_times: bool = False) -> Iterator[tuple[float, np.ndarray]]:
        """Decode the frames.

        Args:
            container_times: whether the times are those of the container; else frame i is at i / rate.

        Yields:
            Seconds since the first frame, strictly increasing, and the frame, BGR uint8 [h, w, 3].

        Raises:
            UnusableTimes: the container's times do not increase.
        """
        first, last = 0.0, -1.0
        try:
            for number in itertools.count():
                decoded, image = self._capture.read()
                if not decoded:
                    return
                if container_times:
                    seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                    first = seconds if number == 0 else first
                    time = seconds - first
                    if not time > last:
                        raise UnusableTimes
                    last = time
                else:
                    time = number / self.rate
                yield time, image
        finally:
            self._capture.release()


def open_video(video: Path) -> tuple[fractions.Fraction, int | None, Iterator[np.ndarray]]:
    """Open a video of one's own, a file or a folder of frames.

    Returns:
        Frames a second (24 for a folder), the number of frames where it is known, and the frames, RGB uint8 [h, w, 3],
        read as they are needed.

    Raises:
        InputError: there is no such video, or not one frame of it can be decoded.
    """
    if video.is_dir():
        files = list_images(video)
        return fractions.Fraction(24), len(files), (read_frame(file) for file in files)
    if not video.is_file():
        raise InputError(f"{video}: no such file; give a video or a folder of frames")
    try:
        file = VideoFile(video)
        frames = (cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for _, image in file.frames())
        first = next(frames)
    except (VideoError, StopIteration):
        raise InputError(
            f"{video}: not one frame can be decoded; convert the video or give a folder of frames"
        ) from None
    return fractions.Fraction(file.rate).limit_denominator(1001), file.count, itertools.chain([first], frames)


class VideoWriter:
    """Writes H.264 in MP4, without sound; a context manager."""

    def __init__(self, path: Path, size: tuple[int, int], rate: fractions.Fraction):
        """Open the file.

        Args:
            path: the .mp4.
            size: height and width of the frames; odd sides lose their last row or column, which H.264 cannot hold.
            rate: frames a second.
        """
        try:
            import av
        except ImportError:
            raise InputError(f"{path}: writing a video needs PyAV; pip install av") from None
        self._av = av
        self._height, self._width = (max(side // 2 * 2, 2) for side in size)
        self._file = av.open(str(path), "w", options={"movflags": "+faststart"})
        self._stream: VideoStream = self._file.add_stream("libx264", rate=rate)
        self._stream.width, self._stream.height, self._stream.pix_fmt = self._width, self._height, "yuv420p"

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, RGB uint8 [h, w, 3]."""
        even = np.ascontiguousarray(frame[: self._height, : self._width])
        self._file.mux(self._stream.encode(self._av.VideoFrame.from_ndarray(even, format="rgb24")))

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.mux(self._stream.encode(None))
        self._file.close()
