"""Similarity of every position of one frame with every position of another, and which of them a window allows."""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from beartype import beartype
from jaxtyping import Array, Float
from jaxtyping import jaxtyped as _jaxtyped

Window = Literal["circle", "square"]
Number = float | int
EPSILON = 1e-12


def window_offsets(radius: Number | None, window: Window, height: int, width: int) -> np.ndarray:
    """List the (row, col) steps from a query position to the key positions that its window allows.

    Args:
        radius: reach of the window in grid cells; None allows every position.
        window: "circle" allows a step when its Euclidean length is < radius, "square" when both parts are <= radius.
        height: rows of the grid; steps that can never stay on the grid are left out.
        width: columns of the grid.

    Returns:
        int array [offsets, 2] of (row step, column step), ordered by row, then column.

    Raises:
        ValueError: the radius is negative or not a number, or the window has an unknown name.

    Example:
        >>> window_offsets(1.5, "circle", 60, 107).tolist()
        [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 0], [0, 1], [1, -1], [1, 0], [1, 1]]
    """
    if window not in ("circle", "square"):
        raise ValueError(f'window must be "circle" or "square", got {window!r}')
    if radius is not None and not radius >= 0:
        raise ValueError(f"radius must be None or >= 0, got {radius}")
    rows, cols = np.mgrid[1 - height : height, 1 - width : width]
    if radius is None:
        allowed = np.ones(rows.shape, bool)
    elif window == "circle":
        allowed = rows**2 + cols**2 < radius**2
    else:
        allowed = np.maximum(abs(rows), abs(cols)) <= radius
    return np.stack([rows[allowed], cols[allowed]], axis=1)


def accumulation_dtype(*arrays: jax.Array | np.ndarray) -> np.dtype:
    """Give the dtype in which products of these arrays are summed: float32, or float64 where one of them is."""
    return np.dtype(np.float64 if any(array.dtype.itemsize == 8 for array in arrays) else np.float32)


def product_dtype(*arrays: jax.Array | np.ndarray) -> np.dtype:
    """Give the dtype in which these arrays are multiplied: their own where it is one, that of the sums elsewhere."""
    return arrays[0].dtype if len({array.dtype for array in arrays}) == 1 else accumulation_dtype(*arrays)


def inverse_norm(features: jax.Array) -> jax.Array:
    """Compute 1 / max(norm over the last axis, 1e-12): [..., c] -> [...], float32 at least."""
    features = features.astype(accumulation_dtype(features))
    square = jnp.sum(jnp.square(features), axis=-1)
    # Clipping the square keeps the gradient finite at a zero vector, where that of the square root is not.
    return jax.lax.rsqrt(jnp.maximum(square, EPSILON**2))


@_jaxtyped(typechecker=beartype)
def affinity(
    query: Float[Array | np.ndarray, "h w c"],
    key: Float[Array | np.ndarray, "h2 w2 c"],
    *,
    temperature: Number = 1.0,
    normalize: bool = True,
    radius: Number | None = None,
    window: Window = "circle",
) -> Float[Array, "h w h2 w2"]:
    """Compute the similarity of every position of one feature map with every position of another.

    ``score[y, x, v, u] = dot(query[y, x], key[v, u]) / temperature``; the softmax is left to the caller.
    Costs ``h * w * h2 * w2 * c`` multiply-adds and ``h * w * h2 * w2`` numbers of memory: meant for pictures and for
    losses. To carry labels along a video use `propagate_frame`, which does not build this array.

    Args:
        query: features [h, w, c], any float.
        key: features [h2, w2, c], any float.
        temperature: positive number that divides the scores.
        normalize: divide every feature vector by max(its Euclidean norm, 1e-12) first, so that scores are cosines.
        radius: reach of the window in grid cells; None allows every pair.
        window: "circle" (Euclidean distance < radius) or "square" (both row and column distance <= radius).

    Returns:
        Scores [h, w, h2, w2], float32 (float64 for float64 inputs); pairs outside the window are -inf.

    Raises:
        ValueError: a radius is given for grids of unequal size, or an option is out of range.
        TypeError: an array has another number of axes, other channels, or is not of a float type.

    Example:
        >>> import jax.numpy as jnp
        >>> scores = affinity(jnp.ones((2, 3, 4)), jnp.ones((2, 3, 4)), radius=1.5)
        >>> scores.shape, float(scores[0, 0, 1, 1]), float(scores[0, 0, 0, 2])
        ((2, 3, 2, 3), 1.0, -inf)
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if radius is not None and query.shape[:2] != key.shape[:2]:
        raise ValueError(f"a radius needs grids of equal size, got {query.shape[:2]} and {key.shape[:2]}")
    return _affinity(
        jnp.asarray(query),
        jnp.asarray(key),
        temperature=temperature,
        normalize=normalize,
        radius=radius,
        window=window,
    )


@functools.partial(jax.jit, static_argnames=("temperature", "normalize", "radius", "window"))
def _affinity(
    query: jax.Array, key: jax.Array, *, temperature: Number, normalize: bool, radius: Number | None, window: Window
) -> jax.Array:
    height, width = query.shape[:2]
    dtype = accumulation_dtype(query, key)
    common = product_dtype(query, key)
    scores = jnp.einsum(
        "hwc,vuc->hwvu",
        query.astype(common),
        key.astype(common),
        preferred_element_type=dtype,
        precision=jax.lax.Precision.HIGHEST,
    )
    if normalize:
        # Norms are applied to the sums, so that 16-bit features are not rounded a second time.
        scores *= inverse_norm(query).astype(dtype)[:, :, None, None] * inverse_norm(key).astype(dtype)[None, None]
    scores /= temperature
    if radius is None:
        return scores
    allowed = np.zeros((2 * height - 1, 2 * width - 1), bool)
    rows, cols = window_offsets(radius, window, height, width).T
    allowed[rows + height - 1, cols + width - 1] = True
    row_steps = np.arange(height)[None, :] - np.arange(height)[:, None] + height - 1
    col_steps = np.arange(width)[None, :] - np.arange(width)[:, None] + width - 1
    mask = allowed[row_steps[:, None, :, None], col_steps[None, :, None, :]]
    return jnp.where(mask, scores, -math.inf)
