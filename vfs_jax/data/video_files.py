"""Videos of one's own: frames read as they are needed, and an H.264 file that ordinary players open."""

import fractions
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vfs_jax.data.images import list_images, read_frame
from vfs_jax.errors import InputError


def open_video(video: Path) -> tuple[fractions.Fraction, int | None, Iterator[np.ndarray]]:
    """Frame rate, number of frames where it is known, and the frames, RGB uint8 [h, w, 3], read as they are needed.

    Raises:
        InputError: there is no such video, or not one frame of it can be decoded.
    """
    if video.is_dir():
        files = list_images(video)
        return fractions.Fraction(24), len(files), (read_frame(file) for file in files)
    if not video.is_file():
        raise InputError(f"{video}: no such file; give a video or a folder of frames")
    capture = cv2.VideoCapture(str(video))
    ok, frame = capture.read()
    if not ok:
        raise InputError(f"{video}: not one frame can be decoded; convert the video or give a folder of frames")

    def frames() -> Iterator[np.ndarray]:
        image = frame
        while image is not None:
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            _, image = capture.read()
        capture.release()

    rate = fractions.Fraction(capture.get(cv2.CAP_PROP_FPS) or 24).limit_denominator(1001)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return rate, count if count > 0 else None, frames()


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
        self._stream: Any = self._file.add_stream("libx264", rate=rate)
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
