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

# Of the stages res2..res5: res4 and res5 both lie at an eighth of the image's size.
STRIDES = (1, 2, 1, 1)
STRIDE = 8


@functools.partial(jax.jit, static_argnames=("outputs", "dtype"))
def frame_features(
    variables: Variables, frames: Array, *, outputs: tuple[str, ...] = ("res4",), dtype: DTypeLike = jnp.float32
) -> dict[str, Array]:
    """Features of a batch of frames, in the arrangement for label propagation.

    Args:
      variables: of a ResNet.
      frames: RGB uint8 [b, h, w, 3], values 0..255.
      outputs: stages or blocks, as ResNet names them.
      dtype: of computation and output.

    Returns:
      {name: [b, h', w', c]}, h' = ceil(h / 8) from res3 on.
    """
    network = ResNet(depth_of(variables), strides=STRIDES, outputs=outputs, dtype=dtype)
    return network.apply(variables, normalize_images(frames))


def video_features(
    variables: Variables,
    frames: Iterable[np.ndarray],
    *,
    output: str = "res4",
    batch_frames: int = 4,
    dtype: DTypeLike = jnp.float32,
) -> Array:
    """Features of all frames of a video, computed a batch of frames at a time and left on the device.

    Args:
      variables: of a ResNet.
      frames: RGB uint8 [h, w, 3] each, all of one size.
      output: stage or block, as ResNet names it.
      batch_frames: frames a call of the network; the last batch is filled up, so that a frame size compiles once.
      dtype: of computation and output.

    Returns:
      [t, h', w', c].

    Raises:
      ValueError: there is no frame.
    """
    batches = []
    for batch in _batches(frames, batch_frames):
        filled = batch + [batch[-1]] * (batch_frames - len(batch))
        features = frame_features(variables, np.stack(filled), outputs=(output,), dtype=dtype)[output]
        batches.append(features[: len(batch)])
    if not batches:
        raise ValueError("a video without frames has no features")
    return jnp.concatenate(batches)


def _batches(frames: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    iterator = iter(frames)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
