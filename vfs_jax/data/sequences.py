"""What the labeled videos of most data sets share: frames in image files of one size."""

import dataclasses
from pathlib import Path

import numpy as np

from vfs_jax.data.images import image_size, read_frame


@dataclasses.dataclass(frozen=True)
class FrameSequence:
    """Frames in time order; each data set's own sequence adds its labels.

    Attributes:
        name: of the sequence.
        frames: image files in time order.
    """

    name: str
    frames: tuple[Path, ...]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames, from the first one's header."""
        return image_size(self.frames[0])

    def frame(self, index: int) -> np.ndarray:
        """Read one frame, RGB uint8 [h, w, 3]."""
        return read_frame(self.frames[index])
