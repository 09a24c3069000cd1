"""Copies of a sequence at another size, as peers prepare a data set before they evaluate on it."""

import dataclasses
import io
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from vfs_jax.data.images import read_frame
from vfs_jax.data.mask_datasets import MaskSequence
from vfs_jax.errors import InputError

S = TypeVar("S")


@dataclasses.dataclass(frozen=True)
class CopiedSequence(MaskSequence):
    """A sequence whose frames and masks were copied: nearest as Pillow computes it, frames saved as JPEG again.

    What RSP's script does once to a whole data set (github huiwon-jang/RSP, data_preprocessing/eval), this does as
    frames and masks are read; masks are predicted and scored at the copies' size.

    Attributes:
        copy_size: height and width of the copies.
    """

    copy_size: tuple[int, int] = (0, 0)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the copies."""
        return self.copy_size

    def frame(self, index: int) -> np.ndarray:
        """Read one frame and copy it, RGB uint8 [h, w, 3]."""
        buffer = io.BytesIO()
        self._resized(super().frame(index)).save(buffer, "JPEG")
        return read_frame(buffer.getvalue())

    def ground_truth(self, index: int) -> np.ndarray:
        """Read the mask of one frame and copy it, uint8 [h, w]."""
        return np.asarray(self._resized(super().ground_truth(index)))

    def _resized(self, picture: np.ndarray) -> Image.Image:
        return Image.fromarray(picture).resize(self.copy_size[::-1], Image.Resampling.NEAREST)


def copy_sequences(sequences: Sequence[S], copies: str) -> list[S]:
    """Return copies of sequences at a size.

    Args:
        sequences: of a data set of masks, all frames of which have one.
        copies: "HEIGHTxWIDTH", or "none" for the sequences themselves.

    Raises:
        InputError: that is no size, or the sequences have no masks.

    >>> copy_sequences([], "480x880")
    []
    """
    if copies == "none":
        return list(sequences)
    height, _, width = copies.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise InputError(f"copies={copies}: write HEIGHTxWIDTH in pixels, or none")
    found: list[Any] = []
    for sequence in sequences:
        if not isinstance(sequence, MaskSequence):
            raise InputError(f"copies={copies}: the frames of this task have no masks to copy; write none")
        found.append(
            CopiedSequence(
                sequence.name, sequence.frames, sequence.masks, sequence.merge, copy_size=(int(height), int(width))
            )
        )
    return found
