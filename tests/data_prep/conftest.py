"""Small videos written on the spot, and vfs-prepare called in this process."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from vfs_jax.apps import prepare


def paint(number: int, height: int, width: int) -> np.ndarray:
    """A smooth BGR picture of which every frame number, up to 60, has its own brightness."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([60 + 80 * rows / height, 60 + 80 * columns / width, np.full((height, width), 4.0 * number)], -1)
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """write_video(path, frames=12, height=48, width=64, fps=10) writes an MPEG-4 or, for .avi, a Motion JPEG video."""

    def write(path: Path, frames: int = 12, height: int = 48, width: int = 64, fps: float = 10) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        code = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
        writer = cv2.VideoWriter(str(path), code, fps, (width, height))
        assert writer.isOpened()
        for number in range(frames):
            writer.write(paint(number, height, width))
        writer.release()
        return path

    return write


@pytest.fixture(scope="session")
def vfs_prepare() -> Callable[..., None]:
    """vfs_prepare("all", "--out=DIR", ...) runs the command with flags of its own."""

    def call(*arguments: str | Path) -> None:
        for name in prepare.FLAGS:
            prepare.FLAGS[name].unparse()
        words = prepare.FLAGS(["vfs-prepare", "--workers=1", *(str(argument) for argument in arguments)])
        prepare.run(words[1:])

    return call
