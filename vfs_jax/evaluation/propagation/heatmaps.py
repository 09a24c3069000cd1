"""Heatmaps of points: Gaussians drawn around keypoints, and points read off the peaks of propagated maps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from beartype import beartype
from jaxtyping import Array, Float, jaxtyped

from vfs_jax.correspondence.coordinates import resize_bilinear


@jaxtyped(typechecker=beartype)
def draw_maps(
    points: Float[np.ndarray, "n 2"], size: tuple[int, int], *, sigma: float = 4.0
) -> Float[np.ndarray, "h w n"]:
    """Draw a Gaussian of peak 1, cut to a square of 3 sigma, around every point, as the release does on JHMDB.

    Quirk of the release: the Gaussian's center is a whole pixel, int(x - 3 sigma) + 3 sigma with int towards zero, so
    that 40.7 goes to 40, but 5.5 to 6. Where that moved it the square loses its last column (row).

    Args:
        points: (x, y) in pixels, the first pixel's center at 0; they may lie outside.
        size: height and width of the frame.
        sigma: of the Gaussian in pixels.

    Returns:
        float32 [h, w, n]; all zero for a point so far outside that nothing of it shows.

    >>> maps = draw_maps(np.array([[40.7, 30.2]]), (60, 80))
    >>> maps.shape, tuple(map(int, np.unravel_index(maps.argmax(), maps.shape)))
    ((60, 80, 1), (30, 40, 0))
    """
    maps = np.zeros((*size, len(points)), np.float32)
    radius = round(3 * sigma)
    for index, point in enumerate(points):
        (cols, x), (rows, y) = (
            _covered(value, radius, sigma, side) for value, side in zip(point, size[::-1], strict=True)
        )
        maps[rows, cols, index] = np.exp(-(x[None] ** 2 + y[:, None] ** 2) / (2 * sigma**2))
    return maps


def _covered(value: float, radius: int, sigma: float, side: int) -> tuple[slice, np.ndarray]:
    """Find the pixels along one axis that a Gaussian covers, and their distances from its center."""
    first, end = int(value - 3 * sigma), int(value + 3 * sigma + 1)
    covered = slice(max(first, 0), max(min(end, side), 0))
    return covered, np.arange(covered.start, covered.stop) - (first + radius)


def point_maps_on_grid(points: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Draw a Gaussian of one grid cell around every point.

    Args:
        points: (x, y) as shares of the frame's width and height, [n, 2].
        grid: rows and columns.

    Returns:
        float32 [rows, cols, n], 1 where a point lies at a cell's center.

    >>> maps = point_maps_on_grid(np.array([[0.5, 0.5]]), (3, 5))
    >>> float(maps[1, 2, 0]), round(float(maps[1, 3, 0]), 3)
    (1.0, 0.607)
    """
    rows, cols = (np.arange(side) + 0.5 for side in grid)
    x, y = points[:, 0] * grid[1], points[:, 1] * grid[0]
    squares = (cols[None, :, None] - x) ** 2 + (rows[:, None, None] - y) ** 2
    return np.exp(-squares / 2).astype(np.float32)


@functools.partial(jax.jit, static_argnames=("size", "grid", "peaks", "on_grid"))
def positions_of(
    labels: Array, *, size: tuple[int, int], grid: tuple[int, int] | None = None, peaks: int = 5, on_grid: bool = False
) -> tuple[Array, Array]:
    """Read the points off their maps: the value-weighted mean of the highest pixels at the frame's size.

    Args:
        labels: soft maps [h, w, n], float.
        size: height and width of the frame.
        grid: rows and columns of the maps that belong to the frame; all where None.
        peaks: how many pixels are averaged.
        on_grid: whether these are cells of the maps as they are; the mean's row and column are then multiplied by the
            size of a cell, as CRW's code does on JHMDB.

    Returns:
        (x, y) of every point in pixels of the frame, [n, 2], the first pixel's center at 0, and -1, -1 where a map sums
        to 0; and the highest value of every map, [n].

    >>> maps = jnp.zeros((3, 5, 1)).at[1, 2].set(2.0)
    >>> positions, highest = positions_of(maps, size=(3, 5))
    >>> positions.tolist(), highest.tolist()
    ([[2.0, 1.0]], [2.0])
    """
    if grid is not None:
        labels = labels[: grid[0], : grid[1]]
    large = jnp.moveaxis(labels if on_grid else resize_bilinear(labels, size), -1, 0)
    values, x, y = jax.vmap(functools.partial(_highest, count=peaks))(large)
    total = values.sum(axis=1, keepdims=True)
    weights = values / jnp.where(total == 0, 1, total)
    positions = jnp.stack([(weights * x).sum(axis=1), (weights * y).sum(axis=1)], axis=-1)
    if on_grid:
        positions *= np.array([[size[1] / large.shape[2], size[0] / large.shape[1]]], positions.dtype)
    empty = large.sum(axis=(1, 2)) == 0
    return jnp.where(empty[:, None], -1, positions), values[:, 0]


def _highest(picture: Array, count: int) -> tuple[Array, Array, Array]:
    """Find the highest pixels of [h, w]: values, columns and rows, [count]; of equals the first in reading order.

    They all lie in the `count` rows with the highest maxima; so top_k, slow on whole pictures, sees those alone.
    """
    _, rows = jax.lax.top_k(picture.max(axis=1), min(count, picture.shape[0]))
    rows = jnp.sort(rows)
    values, index = jax.lax.top_k(picture[rows].ravel(), min(count, rows.size * picture.shape[1]))
    x, y = index % picture.shape[1], rows[index // picture.shape[1]]
    return values, x.astype(picture.dtype), y.astype(picture.dtype)
