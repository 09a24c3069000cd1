"""Features that lie on disk as an encoder."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array

from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders.base import IMAGENET, Colors, Encoder, Precision, check_grid


@dataclasses.dataclass(frozen=True)
class StoredFeatures(Encoder):
    """Features that lie on disk: FOLDER/SEQUENCE.npy [t, rows, columns, c] or FOLDER/SEQUENCE/00000.npy, 00001.npy ...

    Attributes:
        folder: of them.
        sequence: whose features are given, see `of_sequence`.
    """

    folder: Path
    sequence: str = ""

    def of_sequence(self, name: str) -> Self:
        """Return the features of one sequence."""
        return dataclasses.replace(self, sequence=name)

    def check(self, sequence: str, frames: int, size: tuple[int, int]) -> None:
        """Raise InputError where features of a sequence's frames (height, width) are missing or wrong."""
        own = self.of_sequence(sequence)
        own.grid_size(*size, "")
        for number in {*range(frames)} if not own._whole.is_file() else {frames - 1}:
            own._read(number, header=True)

    def grid_size(self, height: int, width: int, output: str) -> tuple[int, int]:
        """Give the rows and columns of the sequence's features, whatever the size of its frames."""
        del output
        rows, cols, _ = self._read(0, header=True).shape
        path = self._whole if self._whole.is_file() else self._single(0)
        check_grid((rows, cols), (height, width), f"{path}: has features", "[t, rows, columns, c]")
        return rows, cols

    def __call__(
        self,
        frames: np.ndarray,
        numbers: Sequence[int],
        *,
        outputs: tuple[str, ...],
        dtype: DTypeLike,
        precision: Precision,
        colors: Colors = IMAGENET,
        size: tuple[int, int] | None = None,
    ) -> dict[str, Array]:
        """Read the features of frames by their numbers, see `Encoder`."""
        del frames, precision, colors, size
        arrays = [self._read(number) for number in numbers]
        if len({array.shape for array in arrays}) > 1 or arrays[0].shape != self._read(0, header=True).shape:
            shapes = sorted({array.shape for array in arrays})
            raise InputError(f"{self._single(numbers[0])}: the shapes of a sequence's features differ ({shapes})")
        return dict.fromkeys(outputs, jnp.asarray(np.stack(arrays)).astype(dtype))

    @property
    def _whole(self) -> Path:
        return self.folder / f"{self.sequence}.npy"

    def _single(self, number: int) -> Path:
        return self.folder / self.sequence / f"{number:05d}.npy"

    def _read(self, number: int, *, header: bool = False) -> np.ndarray:
        """Return the features of one frame [rows, columns, c], or an array of that shape that is not read from disk."""
        path = self._whole if self._whole.is_file() else self._single(number)
        if not path.is_file():
            there = f"{path.parent} holds no features of frame {number}" if path.parent.is_dir() else "no such features"
            raise InputError(f"{path}: {there}; write {self._whole.name} [t, rows, columns, c] or a file a frame")
        try:
            array = np.load(path, mmap_mode="r")
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f"{path}: is no whole .npy file ({error}); write it again") from None
        if path == self._whole:
            if array.ndim != 4:
                raise InputError(f"{path}: is {list(array.shape)}; write floats [t, rows, columns, c]")
            if number >= len(array):
                raise InputError(f"{path}: holds {len(array)} frames, frame {number} is missing; write all of them")
            array = array[number]
        if array.ndim != 3 or not np.issubdtype(array.dtype, np.floating) or 0 in array.shape:
            raise InputError(f"{path}: is {array.dtype}{list(array.shape)} a frame; write floats [rows, columns, c]")
        return array if header else np.asarray(array, np.float32)
