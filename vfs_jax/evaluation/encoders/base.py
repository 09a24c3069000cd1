"""What an encoder is: what gives the features of a video's frames, whoever made it."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array

from vfs_jax.errors import InputError
from vfs_jax.models.resnet import IMAGE_MEAN, IMAGE_STD

Colors = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean and standard deviation of RGB, 0..255
IMAGENET: Colors = IMAGE_MEAN, IMAGE_STD
Precision = Literal["tensorfloat32", "float32"]


class Encoder(abc.ABC):
    """What gives the features of a video's frames."""

    @property
    def multiple(self) -> int:
        """The sides of frames must be multiples of it, in pixels."""
        return 1

    @property
    def paddable(self) -> bool:
        """Whether frames may fill a part of a canvas, see `__call__`."""
        return False

    @property
    def parameters(self) -> int | None:
        """How many the network has; None where that is not known."""
        return None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all feature maps that it can give."""
        return self.blocks

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of those that its layers give one after the other."""
        return (self.default_output,)

    @property
    def default_output(self) -> str:
        """Name of the one that labels are propagated by where nothing else is said."""
        return "features"

    def of_sequence(self, name: str) -> "Encoder":
        """Return the encoder of the frames of one sequence."""
        del name
        return self

    def on_device(self) -> "Encoder":
        """Return the same with what it computes by on JAX's default device."""
        return self

    @abc.abstractmethod
    def grid_size(self, height: int, width: int, output: str) -> tuple[int, int]:
        """Give the rows and columns of the features of frames of a size."""

    @abc.abstractmethod
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
        """Encode a batch of frames of one size.

        Frames of a smaller size may fill the top left part of a canvas. Their features are then those of the frames
        alone, with zeros in the padding, and frames of all sizes share the canvas's compiled program.

        Args:
            frames: RGB [b, h, w, 3], uint8, or float32 0..255 where frames were resized as floats.
            numbers: of the frames in their sequence, [b].
            outputs: feature maps that are wanted, by name.
            dtype: of computation and features.
            precision: of float32 products in our networks, see `Settings`.
            colors: constants by which networks scale the colors of frames.
            size: height and width of the part that the frames fill; all of it where None.

        Returns:
            {output: [b, rows, columns, c]}, on the device.
        """


@dataclasses.dataclass(frozen=True)
class NamedEncoder:
    """An encoder with the name of its runs.

    Attributes:
        name: short, fit for a folder.
        source: the string that named it.
        encoder: itself.
        about: what it is, for reports, and for claims of folders: another one may not go on with its results.
    """

    name: str
    source: str
    encoder: Encoder
    about: Mapping[str, str | int | bool | None]


def check_grid(grid: tuple[int, int], frame: tuple[int, int], what: str, form: str) -> None:
    """Raise InputError where a grid is nothing like its frame, as one of another order of axes is."""
    ratio = (grid[0] / grid[1]) / (frame[0] / frame[1])
    if min(grid) > 2 and not 0.5 < ratio < 2:
        raise InputError(f"{what} of {grid[0]}x{grid[1]} cells for frames of {frame[0]}x{frame[1]}; write {form}")
