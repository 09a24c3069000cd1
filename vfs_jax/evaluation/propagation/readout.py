"""Convert frames, index masks and label maps between full size and the feature grid."""

import functools
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from beartype import beartype
from jaxtyping import Array, Float, UInt8, jaxtyped

from vfs_jax.correspondence.coordinates import bilinear_source, resize_nearest
from vfs_jax.evaluation.propagation.padding import Layout, Size

_EPSILON = 1e-12


def resize_frame(frame: np.ndarray, size: Size) -> np.ndarray:
    """Resize a frame, uint8 [h, w, 3], to a (height, width): bilinear without antialiasing, by OpenCV."""
    return frame if frame.shape[:2] == size else cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR)


def resize_maps(maps: np.ndarray, size: Size) -> np.ndarray:
    """Resize label maps, float [h, w, l], to float32 of a (height, width): bilinear without antialiasing, by OpenCV."""
    maps = maps.astype(np.float32)
    if maps.shape[:2] == size:
        return maps
    each = [cv2.resize(maps[..., k], size[::-1], interpolation=cv2.INTER_LINEAR) for k in range(maps.shape[-1])]
    return np.stack(each, axis=-1)


def number_labels(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Number the labels that occur in an index mask, so that labels cost no more than there are objects.

    Args:
        mask: index mask uint8 [h, w], 0 for background.

    Returns:
        the mask with numbers for labels, uint8 [h, w], and the label of each number; 0 is the background in both, and
        the order of the labels is kept.

    >>> numbered, labels = number_labels(np.array([[0, 255, 7]], np.uint8))
    >>> numbered.tolist(), labels
    ([[0, 2, 1]], (0, 7, 255))
    """
    there = np.bincount(mask.ravel(), minlength=256) > 0
    there[0] = True
    numbers = (np.cumsum(there) - 1).astype(np.uint8)
    return numbers[mask], tuple(np.flatnonzero(there).tolist())


@jaxtyped(typechecker=beartype)
def first_labels(mask: UInt8[np.ndarray, "h w"], size: Size) -> Float[np.ndarray, "rows cols l"]:
    """Shrink an index mask to a grid, by nearest neighbor, and make it one-hot.

    Quirk of the release: there are as many channels as the highest label left after shrinking, plus one. An object that
    vanishes in shrinking is lost; one with the highest label has not even a channel.

    Args:
        mask: index mask uint8 [h, w].
        size: rows and columns of the grid.

    Returns:
        float32 [rows, cols, l], values 0 and 1.

    >>> first_labels(np.array([[0, 0, 2, 2], [0, 0, 2, 2]], np.uint8), (1, 2)).tolist()
    [[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]
    """
    small = np.asarray(resize_nearest(mask, size))
    return np.eye(int(small.max(initial=0)) + 1, dtype=np.float32)[small]


class _Axis(NamedTuple):
    """One axis of a bilinear enlargement: the two cells of each pixel, the second one's share, whether it is shown."""

    low: np.ndarray
    high: np.ndarray
    share: np.ndarray
    in_bounds: np.ndarray


@functools.lru_cache(maxsize=64)
def _axis(cells: int, pixels: int, shown: int) -> _Axis:
    """Make the table of an axis, which programs take as data: that of `resize_bilinear`, filled up to `shown`."""
    low, high, share = (np.pad(table, (0, shown - pixels)) for table in bilinear_source(pixels, cells))
    return _Axis(low, high, share, np.arange(shown) < pixels)


def _axes(layout: Layout, output: str) -> tuple[_Axis, ...]:
    return tuple(
        _axis(cells, pixels, shown)
        for cells, pixels, shown in zip(layout.grid(output), layout.picture, layout.shown, strict=True)
    )


def _scaled(labels: Array, rows: _Axis, cols: _Axis) -> Array:
    """Enlarge soft labels to a frame's size, and scale every channel to 0..1 over the frame."""
    share = rows.share[:, None, None]
    large = jnp.take(labels, rows.low, axis=0) * (1 - share) + jnp.take(labels, rows.high, axis=0) * share
    share = cols.share[None, :, None]
    large = jnp.take(large, cols.low, axis=1) * (1 - share) + jnp.take(large, cols.high, axis=1) * share
    in_bounds = (rows.in_bounds[:, None] & cols.in_bounds[None, :])[..., None]
    low = jnp.min(jnp.where(in_bounds, large, jnp.inf), axis=(0, 1), keepdims=True)
    high = jnp.max(jnp.where(in_bounds, large, -jnp.inf), axis=(0, 1), keepdims=True)
    return jnp.where(high > 0, (large - low) / (high - low + _EPSILON), large)


def merge_groups(maps: list[Array], labels: list[tuple[int, ...]], layout: Layout, output: str) -> Array:
    """Turn the soft labels of one or several groups of objects into one index mask at the frame's own size.

    Bilinear with half-pixel centers; every channel is then scaled to 0..1 over the frame (a channel whose maximum is 0
    stays); the highest channel wins, of equals the lowest label. A group's background is all that is none of its own
    objects: that of several groups is the least of theirs.

    Args:
        maps: [rows, cols, l] of the canvas a group; channel i is that of the group's label i, channel 0 that of the
            background, channels past its labels are empty.
        labels: of the channels of each group; it may hold more than there are channels (`first_labels` loses some).
        layout: of the video.
        output: of the ResNet.

    Returns:
        uint8 of the size `layout.shown`; what is outside of `layout.picture` means nothing.
    """
    names = [0]
    for group, found in zip(maps, labels, strict=True):
        names += [*found[1:], *(0 for _ in range(group.shape[-1] - len(found)))][: group.shape[-1] - 1]
    return _merge(maps, np.array(names, np.uint8), *_axes(layout, output))


@jax.jit
def _merge(maps: list[Array], names: np.ndarray, rows: _Axis, cols: _Axis) -> Array:
    scaled = [_scaled(group, rows, cols) for group in maps]
    background = functools.reduce(jnp.minimum, [group[..., :1] for group in scaled])
    channels = jnp.concatenate([background, *(group[..., 1:] for group in scaled)], axis=-1)
    return jnp.asarray(names)[jnp.argmax(channels, axis=-1)]
