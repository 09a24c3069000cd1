"""Where patches are: learned embeddings resampled to any grid as each family does it, and rotary angles."""

import math
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

# How a family tells its tokens where they are.
#   offset: learned, resampled by a cubic with a = -0.75 at DINO's scale, (n + 0.1) / m for n of m places.
#   antialiased: learned, resampled by a cubic with a = -0.5 that widens where the grid shrinks.
#   rotary: queries and keys are turned by angles (RoPE).
Positions = Literal["offset", "antialiased", "rotary"]


def resample(
    embedding: Float[Array, "m m c"], size: tuple[int, int], kind: Literal["offset", "antialiased"]
) -> Float[Array, "h w c"]:
    """Resample learned embeddings from their native grid to another one.

    The ways of DINO, MAE and DINOv2 without registers ("offset"; DINO's `interpolate_pos_encoding`, whose 0.1 against
    rounding shifts all samples) and of DINOv2 with registers and timm ("antialiased").

    Args:
        embedding: [m, m, c].
        size: rows and columns of the new grid.
        kind: which of the two.

    Returns:
        [rows, cols, c] of the same dtype.

    Example:
        >>> resample(jnp.ones((4, 4, 1)), (2, 3), "antialiased").shape
        (2, 3, 1)
    """
    weights_of = _offset_weights if kind == "offset" else _antialiased_weights
    rows, cols = (jnp.asarray(weights_of(n, embedding.shape[0]), embedding.dtype) for n in size)
    return jnp.einsum("im,jn,mnc->ijc", rows, cols, embedding, precision=lax.Precision.HIGHEST)


def _offset_weights(n: int, m: int) -> np.ndarray:
    """Return the weights [n, m] of four taps around (i + 0.5) * m / (n + 0.1) - 0.5, indices clamped to the border."""
    source = (np.arange(n) + 0.5) * m / (n + 0.1) - 0.5
    first = np.floor(source).astype(int) - 1
    weights = np.zeros((n, m))
    for tap in range(4):
        index = first + tap
        np.add.at(weights, (np.arange(n), index.clip(0, m - 1)), _cubic(source - index, -0.75))
    return weights


def _antialiased_weights(n: int, m: int) -> np.ndarray:
    """Return the weights [n, m] of a cubic of support 2 max(m / n, 1), those outside dropped, the rest renormalized."""
    scale = max(m / n, 1.0)
    center = (np.arange(n) + 0.5) * m / n
    weights = _cubic((np.arange(m) + 0.5 - center[:, None]) / scale, -0.5)
    return weights / weights.sum(axis=1, keepdims=True)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Return Keys' cubic convolution kernel, zero from 2 on."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def rotary_periods(size: int) -> np.ndarray:
    """Return DINOv3's periods, 100 ** (2 i / (size / 2)) for a head size: float32 [size / 4].

    Example:
        >>> rotary_periods(16).tolist()
        [1.0, 3.16..., 10.0, 31.6...]
    """
    return (100.0 ** (np.arange(size // 4) / (size // 4))).astype(np.float32)


def rotary_code(periods: Float[Array, " q"], size: tuple[int, int]) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
    """Compute the sines and cosines by which DINOv3 turns the patches of a grid.

    Angles are 2 pi times the coordinates of the patches' centers on -1..1, over the periods; those of y come before
    those of x, and both are repeated once (DINOv3's `RopePositionEmbedding`).

    Args:
        periods: [d / 4], d being the size of a head.
        size: rows and columns of the grid.

    Returns:
        Sines and cosines, [rows * cols, d], in at least float32.

    Example:
        >>> sines, cosines = rotary_code(jnp.ones(2), (1, 2))
        >>> cosines.shape, cosines.round(3).tolist()[0]
        ((2, 8), [1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    """
    rows, cols = size
    y, x = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in size), indexing="ij")
    coordinates = jnp.asarray(np.stack([y, x], axis=-1).reshape(rows * cols, 2, 1), periods.dtype)
    angles = (2 * math.pi * coordinates / periods.reshape(1, 1, -1)).reshape(rows * cols, -1)
    angles = jnp.tile(angles, (1, 2))
    return jnp.sin(angles), jnp.cos(angles)


def rotate(tokens: Float[Array, "b heads n d"], sines: Float[Array, "p d"], cosines: Float[Array, "p d"]) -> Array:
    """Turn the last p of n tokens by their angles, the halves of a head being the two coordinates of its pairs.

    Args:
        tokens: queries or keys [b, heads, n, d]; what stands before the patches stays.
        sines: [p, d].
        cosines: [p, d].

    Returns:
        [b, heads, n, d] of the same dtype.

    Example:
        >>> quarter = jnp.ones((1, 2)), jnp.zeros((1, 2))
        >>> rotate(jnp.array([[[[1.0, 2.0], [3.0, 4.0]]]]), *quarter).tolist()
        [[[[1.0, 2.0], [-4.0, 3.0]]]]
    """
    start = tokens.shape[2] - len(sines)
    patches = tokens[:, :, start:].astype(sines.dtype)
    first, second = jnp.split(patches, 2, axis=-1)
    turned = patches * cosines[None, None] + jnp.concatenate([-second, first], axis=-1) * sines[None, None]
    return jnp.concatenate([tokens[:, :, :start], turned.astype(tokens.dtype)], axis=2)
