"""Frames to features: normalized, through a ResNet at stride 8, a few frames at a time, kept on the device."""

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array

from vfs_jax.evaluation.propagation.padding import STRIDES, Layout
from vfs_jax.evaluation.propagation.readout import resize_frame
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.models import ResNet, depth_of, normalize_images
from vfs_jax.models.resnet import ResidualBlock, Variables

# The channel that tells frame from padding. Its products: between positions of the frame _FRAME**2, a constant that the
# softmax does not see and that costs no precision; between the frame and padding _FRAME * _PADDING = -1024, a weight of
# exactly 0 beside any real score.
_FRAME, _PADDING = 2.0**-6, -(2.0**16)


@functools.partial(jax.jit, static_argnames=("outputs", "dtype"))
def batch_features(
    variables: Variables, frames: Array, *, outputs: tuple[str, ...] = ("res4",), dtype: DTypeLike = jnp.float32
) -> dict[str, Array]:
    """Return features of a batch of frames, in the arrangement for label propagation.

    Args:
        variables: of a ResNet.
        frames: RGB uint8 [b, h, w, 3], values 0..255.
        outputs: stages or blocks, as ResNet names them.
        dtype: of computation and output.

    Returns:
        {name: [b, h', w', c]}, h' and w' as `grid_size` says.
    """
    return _apply(variables, normalize_images(frames), outputs, dtype)


def _apply(variables: Variables, images: Array, outputs: tuple[str, ...], dtype: DTypeLike) -> dict[str, Array]:
    network = ResNet(depth_of(variables), strides=STRIDES, outputs=outputs, dtype=dtype)
    features = network.apply(variables, images)
    assert isinstance(features, dict)  # apply returns a pair only where collections are mutable
    return features


@functools.partial(jax.jit, static_argnames=("outputs", "dtype"))
def padded_features(
    variables: Variables, frames: Array, size: Array, *, outputs: tuple[str, ...], dtype: DTypeLike = jnp.float32
) -> dict[str, Array]:
    """Return features of frames that fill the top left part of a canvas: those of the frames alone, and marked padding.

    Whatever looks at neighbors finds zeros beyond the frame, which is what it pads with where there is no canvas: what
    comes out of every BatchNorm is cut to the frame, and so is what goes into every block (out of the stem's pooling).

    Args:
        variables: of a ResNet.
        frames: RGB uint8 [b, H, W, 3] on their canvas.
        size: height and width of the frames, int32 [2].
        outputs: stages or blocks.
        dtype: of computation.

    Returns:
        {name: float32 [b, H', W', c + 1]}: features divided by their norms, and a channel by which no position of the
        frame ever takes a padded one for its key. Scores are inner products as they are: normalize=False.
    """
    height, width = frames.shape[1:3]

    def inside(array: Array) -> Array:
        rows, cols = (
            jnp.arange(at) < _shrunk(side, full, at)
            for side, full, at in zip(size, (height, width), array.shape[1:3], strict=True)
        )
        return (rows[:, None] & cols[None, :])[None, :, :, None]

    def cut(array: Array) -> Array:
        return jnp.where(inside(array), array, jnp.zeros_like(array))

    def cut_layers(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, ResidualBlock):
            return call(cut(args[0]), *args[1:], **kwargs)
        return cut(call(*args, **kwargs)) if isinstance(context.module, nn.BatchNorm) else call(*args, **kwargs)

    with nn.intercept_methods(cut_layers):
        features = _apply(variables, cut(normalize_images(frames)), outputs, dtype)

    def mark(array: Array) -> Array:
        array = array.astype(jnp.float32)
        norm = jnp.maximum(jnp.sqrt(jnp.sum(array * array, axis=-1, keepdims=True)), 1e-12)
        channel = jnp.where(inside(array), jnp.float32(_FRAME), jnp.float32(_PADDING))
        return jnp.concatenate([array / norm, jnp.broadcast_to(channel, norm.shape)], axis=-1)

    return {name: mark(array) for name, array in features.items()}


def _shrunk(side: Array, full: int, at: int) -> Array:
    """Return the part of a frame's side in a layer whose canvas has side `at`; each stride of 2 rounds up."""
    while full > at:
        full, side = -(-full // 2), -(-side // 2)
    return side


def prepare_frame(frame: np.ndarray, layout: Layout) -> np.ndarray:
    """Return a frame as the network reads it: resized, and on its canvas; uint8 [h, w, 3]."""
    return layout.pad_frame(resize_frame(frame, layout.network))


def iterate_features(
    variables: Variables,
    frames: Iterable[np.ndarray],
    layout: Layout,
    settings: Settings,
    *,
    outputs: tuple[str, ...],
) -> Iterator[dict[str, Array]]:
    """Return features of one frame after the other, computed a batch of frames at a time and left on the device.

    Args:
        variables: of a ResNet.
        frames: as `prepare_frame` gives them, in time order.
        layout: of the video.
        settings: dtype and frames a call; the last batch is filled up, so that a size compiles once.
        outputs: stages or blocks.

    Yields:
        {name: [rows, cols, c]} a frame; of a padded layout as `padded_features` gives them.
    """
    iterator, count = iter(frames), settings.batch_frames
    size = np.array(layout.network, np.int32)
    while batch := list(itertools.islice(iterator, count)):
        filled = np.stack(batch + [batch[-1]] * (count - len(batch)))
        if layout.padded:
            features = padded_features(variables, filled, size, outputs=outputs, dtype=settings.dtype)
        else:
            features = batch_features(variables, filled, outputs=outputs, dtype=settings.dtype)
        frames_of = _unstack(features)
        yield from frames_of[: len(batch)]


@jax.jit
def _unstack(features: dict[str, Array]) -> list[dict[str, Array]]:
    """Return a batch as single frames, in one program."""
    count = len(next(iter(features.values())))
    return [{name: array[index] for name, array in features.items()} for index in range(count)]
