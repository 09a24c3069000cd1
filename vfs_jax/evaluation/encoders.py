"""Encoders turn frames into feature maps: what evaluation knows of networks, whoever made them."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array

from vfs_jax.models import ResNet, depth_of, normalize_images
from vfs_jax.models.resnet import ResidualBlock, Variables

# Of the stages res2..res5: res3, res4 and res5 all lie at an eighth of the image's size.
STRIDES = (1, 2, 1, 1)


@runtime_checkable
class Encoder(Protocol):
    """What gives the features of a video's frames.

    Attributes:
        multiple: the sides of frames must be multiples of it.
        paddable: whether frames may fill a part of a canvas, see `__call__`.
    """

    @property
    def multiple(self) -> int: ...  # noqa: D102

    @property
    def paddable(self) -> bool: ...  # noqa: D102

    def of_sequence(self, name: str) -> "Encoder":
        """Return the encoder of the frames of one sequence."""

    def on_device(self) -> "Encoder":
        """Return the same with what it computes by on JAX's default device."""

    def grid_size(self, height: int, width: int, output: str) -> tuple[int, int]:
        """Give the rows and columns of the features of frames of a size."""

    def __call__(
        self,
        frames: np.ndarray,
        numbers: Sequence[int],
        *,
        outputs: tuple[str, ...],
        dtype: DTypeLike,
        size: tuple[int, int] | None = None,
    ) -> dict[str, Array]:
        """Encode a batch of frames of one size.

        Frames of a smaller size may fill the top left part of a canvas. Their features are then those of the frames
        alone, with zeros in the padding, and frames of all sizes share the canvas's compiled program.

        Args:
            frames: RGB uint8 [b, h, w, 3].
            numbers: of the frames in their sequence, [b].
            outputs: feature maps that are wanted, by name.
            dtype: of computation and features.
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


@dataclasses.dataclass(frozen=True)
class ResNetEncoder:
    """A ResNet that gives the features of its stages ("res4") and blocks ("res4.0").

    Attributes:
        variables: of the network.
    """

    variables: Variables
    multiple: int = 1
    paddable: bool = True

    def of_sequence(self, name: str) -> Self:
        """Return the encoder itself: all frames are alike to it."""
        del name
        return self

    def on_device(self) -> Self:
        """Return the same with its variables on JAX's default device."""
        # Free to move, as labels are: a step whose arguments are bound to a device at one frame and not at another
        # would be compiled twice.
        variables = jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf)), self.variables)
        return dataclasses.replace(self, variables=variables)

    def grid_size(self, height: int, width: int, output: str) -> tuple[int, int]:
        """Give the rows and columns of the features of frames of a size.

        >>> encoder = ResNetEncoder({})
        >>> encoder.grid_size(480, 854, "res4"), encoder.grid_size(480, 854, "res2.1")
        ((60, 107), (120, 214))
        """
        stride = 4 if output.startswith("res2") else 8
        return -(-height // stride), -(-width // stride)

    def __call__(
        self,
        frames: np.ndarray,
        numbers: Sequence[int],
        *,
        outputs: tuple[str, ...],
        dtype: DTypeLike,
        size: tuple[int, int] | None = None,
    ) -> dict[str, Array]:
        """Encode a batch of frames, see `Encoder`."""
        del numbers
        part = None if size is None else np.array(size, np.int32)
        return _encode(self.variables, frames, part, outputs=outputs, dtype=dtype)


@functools.partial(jax.jit, static_argnames=("outputs", "dtype"))
def _encode(
    variables: Variables, frames: Array, size: Array | None, *, outputs: tuple[str, ...], dtype: DTypeLike
) -> dict[str, Array]:
    network = ResNet(depth_of(variables), strides=STRIDES, outputs=outputs, dtype=dtype)
    images = normalize_images(frames)
    if size is None:
        features = network.apply(variables, images)
    else:
        # Whatever looks at neighbors finds zeros beyond the frame, which is what it pads with where there is no canvas:
        # what comes out of every BatchNorm is cut to the frame, and so is what goes into every block (out of the stem's
        # pooling).
        cut = functools.partial(_cut, size, images.shape[1:3])

        def cut_layers(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if isinstance(context.module, ResidualBlock):
                return call(cut(args[0]), *args[1:], **kwargs)
            return cut(call(*args, **kwargs)) if isinstance(context.module, nn.BatchNorm) else call(*args, **kwargs)

        with nn.intercept_methods(cut_layers):
            features = jax.tree.map(cut, network.apply(variables, cut(images)))
    assert isinstance(features, dict)  # apply returns a pair only where collections are mutable
    return features


def _cut(size: Array, canvas: tuple[int, ...], array: Array) -> Array:
    """Set to 0 what lies beyond the frame in a layer [b, rows, cols, c] of a canvas."""

    def within(side: Array, full: int, at: int) -> Array:
        while full > at:  # each stride of 2 rounds up
            full, side = -(-full // 2), -(-side // 2)
        return jnp.arange(at) < side

    rows, cols = (within(*sides) for sides in zip(size, canvas, array.shape[1:3], strict=True))
    return jnp.where(rows[:, None, None] & cols[None, :, None], array, jnp.zeros_like(array))
