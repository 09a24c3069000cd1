"""Read index masks off soft labels on the feature grid."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vfs_jax.correspondence.coordinates import Nearest, bilinear_source, nearest_source
from vfs_jax.evaluation.propagation.frames import resize_maps
from vfs_jax.evaluation.propagation.padding import Layout, Size
from vfs_jax.evaluation.propagation.settings import Enlarge, MinMax, Settings

_EPSILON = 1e-12


class _Axis(NamedTuple):
    """One axis of an enlargement: the two cells of each pixel, the second one's share, whether it is shown."""

    low: Array | np.ndarray
    high: Array | np.ndarray
    share: Array | np.ndarray
    in_bounds: Array | np.ndarray


def _axis(cells: int, pixels: int, shown: int, enlarge: Enlarge = "bilinear") -> _Axis:
    """Make the table of an axis, which programs take as data: that of `resize_bilinear`, filled up to `shown`."""
    if enlarge == "bilinear":
        tables = bilinear_source(pixels, cells)
    else:
        nearest = nearest_source(pixels, cells, "torch").astype(np.int32)
        tables = nearest, nearest, np.zeros(pixels, np.float32)
    low, high, share = (np.pad(table, (0, shown - pixels)) for table in tables)
    return _Axis(low, high, share, np.arange(shown) < pixels)


class _Tables(NamedTuple):
    """What a readout looks up: labels of the channels, both axes, and pixels to take on the way back, if there is one.

    They are arguments of the program, so that all sizes of a canvas share it.
    """

    names: Array | np.ndarray
    rows: _Axis
    cols: _Axis
    back: tuple[Array | np.ndarray, Array | np.ndarray] | None


@functools.lru_cache(maxsize=64)
def _tables(
    names: tuple[int, ...],
    grid: Size,
    read: Size,
    shown: Size,
    back: tuple[Size, Nearest] | None,
    enlarge: Enlarge,
    device: jax.Device | jax.sharding.Sharding,
) -> _Tables:
    """Make the tables and keep them on a device: NumPy's would travel there for every frame anew."""
    rows, cols = (_axis(*sides, enlarge) for sides in zip(grid, read, shown, strict=True))
    pixels = None
    if back is not None:
        low, high = (nearest_source(*sides, back[1]).astype(np.int32) for sides in zip(back[0], read, strict=True))
        pixels = low, high
    tables: _Tables = jax.device_put(_Tables(np.array(names, np.uint8), rows, cols, pixels), device)
    return tables


def _scaled(labels: Array, rows: _Axis, cols: _Axis, min_max: MinMax = "epsilon") -> Array:
    """Enlarge soft labels to a frame's size, and scale every channel to 0..1 over the frame."""
    share = rows.share[:, None, None]
    large = jnp.take(labels, rows.low, axis=0) * (1 - share) + jnp.take(labels, rows.high, axis=0) * share
    share = cols.share[None, :, None]
    large = jnp.take(large, cols.low, axis=1) * (1 - share) + jnp.take(large, cols.high, axis=1) * share
    if min_max == "none":
        return large
    in_bounds = (rows.in_bounds[:, None] & cols.in_bounds[None, :])[..., None]
    low = jnp.min(jnp.where(in_bounds, large, jnp.inf), axis=(0, 1), keepdims=True)
    high = jnp.max(jnp.where(in_bounds, large, -jnp.inf), axis=(0, 1), keepdims=True)
    if min_max == "epsilon":
        return jnp.where(high > 0, (large - low) / (high - low + _EPSILON), large)
    # 0 / 0 of a constant map is NaN: the highest to PyTorch's argmax, as infinity is here; or taken for 0.
    constant = jnp.inf if min_max == "constant_wins" else 0.0
    scaled = jnp.where(high > low, (large - low) / jnp.where(high > low, high - low, 1), constant)
    return jnp.where(high > 0, scaled, large)


def merge_groups(maps: list[Array], labels: list[tuple[int, ...]], layout: Layout, settings: Settings) -> Array:
    """Turn the soft labels of one or several groups of objects into one index mask at the frame's own size.

    Labels are enlarged to the size at which the highest one is taken, scaled there, each channel over the frame, and of
    equals the first channel wins; from the network's size the mask is then brought back. A group's background is all
    that is none of its own objects: that of several groups is the least of theirs.

    Args:
        maps: [rows, cols, l] of the canvas a group; channel i is that of the group's label i, channel 0 that of the
            background, channels past its labels are empty.
        labels: of the channels of each group; it may hold more than there are channels (`first_labels` loses some).
        layout: of the video.
        settings: enlarge, read_at, min_max and back_nearest.

    Returns:
        uint8 of the size `layout.shown`; what is outside of `layout.picture` means nothing.
    """
    names = [0]
    for group, found in zip(maps, labels, strict=True):
        names += [*found[1:], *(0 for _ in range(group.shape[-1] - len(found)))][: group.shape[-1] - 1]
    grid, back = layout.label_grid(settings.output), None
    if layout.transposed:
        maps = [group.reshape(*grid, -1) for group in maps]
    read, shown = layout.picture, layout.shown
    if settings.read_at == "network":
        read = shown = layout.label_size()
        back = layout.picture, settings.back_nearest
    if settings.enlarge == "opencv":
        maps, grid = [_resized(group, len(found), read) for group, found in zip(maps, labels, strict=True)], read
    tables = _tables(tuple(names), grid, read, shown, back, settings.enlarge, maps[0].device)
    return _merge(maps, tables, min_max=settings.min_max)


def _resized(group: Array, channels: int, size: Size) -> Array:
    """Enlarge soft labels [rows, cols, l], of which the first channels hold something, by OpenCV."""
    large = resize_maps(np.asarray(group)[..., :channels], size, together=True)
    return jnp.asarray(np.pad(large, ((0, 0), (0, 0), (0, group.shape[-1] - large.shape[-1]))))


@functools.partial(jax.jit, static_argnames="min_max")
def _merge(maps: list[Array], tables: _Tables, *, min_max: MinMax) -> Array:
    scaled = [_scaled(group, tables.rows, tables.cols, min_max) for group in maps]
    background = functools.reduce(jnp.minimum, [group[..., :1] for group in scaled])
    channels = jnp.concatenate([background, *(group[..., 1:] for group in scaled)], axis=-1)
    mask = jnp.asarray(tables.names)[jnp.argmax(channels, axis=-1)]
    if tables.back is None:
        return mask
    rows, cols = tables.back
    return jnp.take(jnp.take(mask, rows, axis=0), cols, axis=1)
