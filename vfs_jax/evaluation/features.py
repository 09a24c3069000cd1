"""Frames to features: normalised, through a ResNet at stride 8, a few frames at a time, kept on the device."""

import functools
import itertools
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array

from vfs_jax.models import ResNet, depth_of, normalize_images
from vfs_jax.models.resnet import Variables

# Of the stages res2..res5: res3, res4 and res5 all lie at an eighth of the image's size.
STRIDES = (1, 2, 1, 1)
STRIDE = 8


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the features of an image.

    >>> grid_size(480, 854)
    (60, 107)
    """
    return -(-height // STRIDE), -(-width // STRIDE)


@functools.partial(jax.jit, static_argnames=("outputs", "dtype"))
def batch_features(
    variables: Variables, frames: Array, *, outputs: tuple[str, ...] = ("res4",), dtype: DTypeLike = jnp.float32
) -> dict[str, Array]:
    """Features of a batch of frames, in the arrangement for label propagation.

    Args:
      variables: of a ResNet.
      frames: RGB uint8 [b, h, w, 3], values 0..255.
      outputs: stages or blocks, as ResNet names them.
      dtype: of computation and output.

    Returns:
      {name: [b, h', w', c]}, h' and w' as `grid_size` says from res3 on.
    """
    network = ResNet(depth_of(variables), strides=STRIDES, outputs=outputs, dtype=dtype)
    features = network.apply(variables, normalize_images(frames))
    assert isinstance(features, dict)  # apply returns a pair only where collections are mutable
    return features


def iterate_features(
    variables: Variables,
    frames: Iterable[np.ndarray],
    *,
    output: str = "res4",
    batch_frames: int = 4,
    dtype: DTypeLike = jnp.float32,
) -> Iterator[Array]:
    """Features of one frame after the other, computed a batch of frames at a time and left on the device.

    Args:
      variables: of a ResNet.
      frames: RGB uint8 [h, w, 3] each, all of one size.
      output: stage or block, as ResNet names it.
      batch_frames: frames a call of the network; the last batch is filled up, so that a frame size compiles once.
      dtype: of computation and output.

    Yields:
      [h', w', c] a frame.
    """
    iterator = iter(frames)
    while batch := list(itertools.islice(iterator, batch_frames)):
        filled = np.stack(batch + [batch[-1]] * (batch_frames - len(batch)))
        features = batch_features(variables, filled, outputs=(output,), dtype=dtype)[output]
        yield from (features[index] for index in range(len(batch)))
