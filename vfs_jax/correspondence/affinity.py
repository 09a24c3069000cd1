"""All scores of two feature maps, and the windows that say which key positions a query position may match.

    score[q, p] = dot(query[q], key[p]) / (max(|query[q]|, 1e-12) * max(|key[p]|, 1e-12) * temperature)

for all pairs: h * w * h2 * w2 * c multiply-adds, and as many numbers of memory as pairs.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vfs_jax.correspondence.arguments import Number, checked

Window = Literal["circle", "square"]
EPSILON = 1e-12


def window_offsets(radius: Number | None, window: Window, height: int, width: int) -> np.ndarray:
    """List the offsets from a query position to the key positions in its window.

    Args:
        radius: of the window in grid cells; None allows every position.
        window: "circle" allows an offset when its Euclidean length is < radius, "square" when both parts are <= radius.
        height: rows of the grid; offsets that can never stay on the grid are left out.
        width: columns of the grid.

    Returns:
        int array [o, 2] of (row, column) offsets, ordered by row, then column.

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


def scale_and_inverse_norm(features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scale feature vectors to where their products cannot overflow, and give 1 / max(norm, 1e-12) of what came out.

    The scale is the power of two at or above a vector's largest absolute value, where that exceeds 1, so it is exact.
    What this costs is one more reduction over a frame that is read for its norms anyway, once a frame. float16 is left
    as it is: its squares fit into float32, and its own smallest numbers would be lost.

    Args:
        features: [..., c].

    Returns:
        Scaled features [..., c] of the same dtype, and what to multiply them with for unit vectors: [...], float32 at
        least.
    """
    epsilon = jnp.asarray(EPSILON, accumulation_dtype(features))
    if (largest_exponent := int(jnp.finfo(features.dtype).maxexp)) > 64:
        # A vector over its norm does not depend on the scale: what is behind stop_gradient has the gradient 0.
        peak = jax.lax.stop_gradient(jnp.max(jnp.abs(features), axis=-1, keepdims=True)).astype(epsilon.dtype)
        exponent = jnp.clip(jnp.frexp(peak)[1], 0, largest_exponent - 2)
        scale = jnp.ldexp(jnp.ones_like(peak), -exponent)
        features, epsilon = features * scale.astype(features.dtype), epsilon * scale[..., 0]
    square = jnp.sum(jnp.square(features.astype(epsilon.dtype)), axis=-1)
    # Clipping the square keeps the gradient finite at a zero vector, where that of the square root is not.
    return features, jax.lax.rsqrt(jnp.maximum(square, jnp.square(epsilon)))


@checked
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
        radius: of the window in grid cells; None allows every pair.
        window: "circle" (Euclidean distance < radius) or "square" (both row and column distance <= radius).

    Returns:
        Scores [h, w, h2, w2], float32 (float64 for float64 inputs); pairs outside the window are -inf.

    Raises:
        ValueError: a radius is given for grids of unequal size, an option is out of range, or an axis has length 0.
        TypeError: an array has another number of axes, other channels, or is not of a float type; an option is traced.

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
    if normalize:
        (query, query_scale), (key, key_scale) = scale_and_inverse_norm(query), scale_and_inverse_norm(key)
    scores = jnp.einsum(
        "hwc,vuc->hwvu",
        query.astype(common),
        key.astype(common),
        preferred_element_type=dtype,
        precision=jax.lax.Precision.HIGHEST,
    )
    if normalize:
        # Norms are applied to the sums, so that 16-bit features are not rounded a second time.
        scores *= query_scale.astype(dtype)[:, :, None, None] * key_scale.astype(dtype)[None, None]
    scores /= temperature
    if radius is None:
        return scores
    allowed = np.zeros((2 * height - 1, 2 * width - 1), bool)
    rows, cols = window_offsets(radius, window, height, width).T
    allowed[rows + height - 1, cols + width - 1] = True
    row_offsets = np.arange(height)[None, :] - np.arange(height)[:, None] + height - 1
    col_offsets = np.arange(width)[None, :] - np.arange(width)[:, None] + width - 1
    mask = allowed[row_offsets[:, None, :, None], col_offsets[None, :, None, :]]
    return jnp.where(mask, scores, -math.inf)
