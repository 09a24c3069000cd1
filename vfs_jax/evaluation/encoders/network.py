"""Our networks as encoders: ResNets, those of peers, vision transformers."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Self

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array

from vfs_jax.evaluation.encoders.base import IMAGENET, Colors, Encoder, Precision
from vfs_jax.models import ResNet, normalize_images
from vfs_jax.models.resnet import ResidualBlock, Variables
from vfs_jax.models.weights import Network

_LAB: Colors = (50.0, 0.0, 0.0), (50.0, 127.0, 127.0)  # Spa-then-Temp's, vcl/datasets/pipelines/augmentation.py
# Of the stages res2..res5: res3, res4 and res5 all lie at an eighth of the image's size.
STRIDES = (1, 2, 1, 1)


@dataclasses.dataclass(frozen=True)
class NetworkEncoder(Encoder):
    """One of our networks with its variables.

    Attributes:
        network: with the strides that it is evaluated at, see `of_network`.
        variables: of the network.
    """

    network: Network
    variables: Variables

    @property
    def multiple(self) -> int:
        """The patch of a vision transformer, 1 of a ResNet."""
        return self.network.multiple

    @property
    def paddable(self) -> bool:
        """Whether all layers see zeros beyond the frame, and nothing looks at the whole of it."""
        return isinstance(self.network, ResNet) and self.network.family == "resnet"

    @property
    def parameters(self) -> int:
        """Count the network's parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Name the network's stages, blocks, final norm."""
        return self.network.output_names

    @property
    def blocks(self) -> tuple[str, ...]:
        """Name the network's blocks."""
        return self.network.block_names

    @property
    def default_output(self) -> str:
        """The output that those who published the network take."""
        return self.network.default_output

    def on_device(self) -> Self:
        """Return the same with its variables on JAX's default device."""
        # Free to move, as labels are: a step whose arguments are bound to a device at one frame and not at another
        # would be compiled twice.
        variables = jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf)), self.variables)
        return dataclasses.replace(self, variables=variables)

    def grid_size(self, height: int, width: int, output: str) -> tuple[int, int]:
        """Give the rows and columns of the features of frames of a size.

        >>> encoder = of_network(ResNet(18), {})
        >>> encoder.grid_size(480, 854, "res4"), encoder.grid_size(480, 854, "res2.1")
        ((60, 107), (120, 214))
        """
        stride = self.network.stride_of(output)
        return -(-height // stride), -(-width // stride)

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
        """Encode a batch of frames, see `Encoder`."""
        del numbers
        if self.network.color == "lab":
            frames, colors = np.stack([to_lab(frame) for frame in frames]), _LAB
        part = None if size is None else np.array(size, np.int32)
        network = self.network.clone(outputs=outputs, dtype=dtype)
        with jax.default_matmul_precision(precision):  # convolutions obey it too
            return _encode(self.variables, frames, part, network=network, colors=colors)


def of_network(network: Network, variables: Variables) -> NetworkEncoder:
    """Make the encoder of a network as `load_weights` gives it: a ResNet gets the strides of evaluation."""
    if isinstance(network, ResNet) and network.family == "resnet":
        network = network.clone(strides=STRIDES)
    return NetworkEncoder(network, variables)


def to_lab(frame: np.ndarray) -> np.ndarray:
    """Convert RGB [h, w, 3], 0..255, to Lab float32 (L 0..100) as OpenCV does on floats."""
    return cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


@functools.partial(jax.jit, static_argnames=("network", "colors"))
def _encode(
    variables: Variables, frames: Array, size: Array | None, *, network: Network, colors: Colors
) -> dict[str, Array]:
    images = normalize_images(frames, *colors)
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
