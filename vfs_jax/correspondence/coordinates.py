"""Resize pictures, index masks and label maps between pixels and the feature grid: nearest and bilinear.

Nearest is one of four libraries' rules, to the last pixel; bilinear is PyTorch's. A picture of h rows and w columns
covers the area [0, h] x [0, w], and pixel (row, col) covers [row, row + 1] x [col, col + 1]: its center is (row + 0.5,
col + 0.5) from the top left corner. Resizing stretches the area. Arrays are indexed (row, col).
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from beartype import beartype
from jaxtyping import Array, Float, Shaped
from jaxtyping import jaxtyped as _jaxtyped

from vfs_jax.correspondence.affinity import accumulation_dtype

Nearest = Literal["pillow", "torch", "torch-exact", "opencv"]


def nearest_source(out_size: int, in_size: int, rule: Nearest = "pillow") -> np.ndarray:
    """List the input pixel that nearest resizing takes for every output pixel, along one axis.

    Args:
        out_size: pixels after resizing.
        in_size: pixels before.
        rule: whose, and so which point of output pixel i is looked up in the input. The center, ``floor((i + 0.5) * in
            / out)``: "pillow" (its NEAREST) and "torch-exact" (PyTorch's "nearest-exact"). The corner, ``floor(i * in /
            out)``: "torch" (PyTorch's "nearest") and "opencv" (its INTER_NEAREST). All are equal to those libraries to
            the last pixel, also where their rounding moves it.

    Returns:
        int64 [out_size], pixel numbers of the input.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> nearest_source(8, 5).tolist(), nearest_source(8, 5, "torch").tolist()
        ([0, 0, 1, 2, 2, 3, 4, 4], [0, 0, 1, 1, 2, 3, 3, 4])
    """
    _check_sizes(out_size, in_size)
    if rule == "pillow":
        # It walks along the axis and adds the step each time, in float64.
        steps = np.full(out_size, in_size / out_size)
        steps[0] /= 2
        source = np.cumsum(steps)
    elif rule == "opencv":
        # It multiplies with the inverse of the inverse, in float64.
        source = np.arange(out_size) * (1 / (out_size / in_size))
    else:
        # It computes in float32; of the center it rounds scale * (i + 0.5) - 0.5 once, which float64 here reproduces.
        scale = np.float32(in_size) / np.float32(out_size)
        if rule == "torch":
            source = np.arange(out_size, dtype=np.float32) * scale
        else:
            centers = ((np.arange(out_size) + 0.5) * np.float64(scale) - 0.5).astype(np.float32)
            source = np.maximum(centers, np.float32(0)) + np.float32(0.5)
    return np.minimum(np.floor(source).astype(np.int64), in_size - 1)


@_jaxtyped(typechecker=beartype)
def resize_nearest(
    mask: Shaped[Array | np.ndarray, "h w *rest"], size: tuple[int, int], *, rule: Nearest = "pillow"
) -> Shaped[Array | np.ndarray, "rows cols *rest"]:
    """Resize a picture or an index mask by taking the nearest pixel.

    Args:
        mask: [h, w] or [h, w, ...], any type.
        size: (rows, cols) of the result.
        rule: of the library that is followed; see `nearest_source`.

    Returns:
        [rows, cols, ...] of the same type; NumPy stays NumPy.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import numpy as np
        >>> resize_nearest(np.arange(16).reshape(4, 4), (2, 2)).tolist()
        [[5, 7], [13, 15]]
    """
    rows = nearest_source(size[0], mask.shape[0], rule)
    cols = nearest_source(size[1], mask.shape[1], rule)
    return mask[rows[:, None], cols[None, :]]


@_jaxtyped(typechecker=beartype)
def resize_bilinear(
    maps: Float[Array | np.ndarray, "*batch h w l"], size: tuple[int, int]
) -> Float[Array, "*batch rows cols l"]:
    """Resize label maps bilinearly: pixel centers at halves, no antialiasing, borders repeated.

    The same as PyTorch's ``interpolate(mode="bilinear", align_corners=False)``. Maps can also be brought down to the
    grid by it; it then skips pixels, as the release does.

    Args:
        maps: [..., h, w, l], any float.
        size: (rows, cols) of the result.

    Returns:
        [..., rows, cols, l] of the same dtype; traced and differentiable.

    Raises:
        ValueError: a size is below 1.
        TypeError: the maps are not of a float type.

    Example:
        >>> import numpy as np
        >>> resize_bilinear(np.float32([[[0], [1]]]), (1, 4))[0, :, 0].tolist()
        [0.0, 0.25, 0.75, 1.0]
    """
    for out_size, in_size in zip(size, maps.shape[-3:-1], strict=True):
        _check_sizes(out_size, in_size)
    return _resize_bilinear(jnp.asarray(maps), tuple(size))


def bilinear_source(out_size: int, in_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the two input pixels that bilinear resizing mixes for every output pixel, along one axis.

    Returns:
        The lower and the higher pixel, int32 [out_size], and the share of the higher one, float32 [out_size].

    Example:
        >>> low, high, share = bilinear_source(4, 2)
        >>> low.tolist(), high.tolist(), share.tolist()
        ([0, 0, 0, 1], [1, 1, 1, 1], [0.0, 0.25, 0.75, 0.25])
    """
    # PyTorch's scale is float32; it rounds scale * (i + 0.5) - 0.5 once, which float64 here reproduces.
    scale = np.float64(np.float32(in_size) / np.float32(out_size))
    source = np.maximum((scale * (np.arange(out_size) + 0.5) - 0.5).astype(np.float32), np.float32(0))
    low = np.minimum(source.astype(np.int32), in_size - 1)
    return low, np.minimum(low + 1, in_size - 1), source - low.astype(np.float32)


@functools.partial(jax.jit, static_argnames="size")
def _resize_bilinear(maps: jax.Array, size: tuple[int, int]) -> jax.Array:
    dtype = maps.dtype
    maps = maps.astype(accumulation_dtype(maps))
    for axis, out_size in ((maps.ndim - 3, size[0]), (maps.ndim - 2, size[1])):
        low, high, share = bilinear_source(out_size, maps.shape[axis])
        weight = jnp.asarray(share, maps.dtype).reshape((-1,) + (1,) * (maps.ndim - 1 - axis))
        weight = jnp.broadcast_to(weight, (*maps.shape[:axis], out_size, *maps.shape[axis + 1 :]))
        maps = jnp.take(maps, low, axis=axis) * (1 - weight) + jnp.take(maps, high, axis=axis) * weight
    return maps.astype(dtype)


def _check_sizes(out_size: int, in_size: int) -> None:
    """Raise ValueError unless both sizes are positive."""
    if out_size < 1 or in_size < 1:
        raise ValueError(f"sizes must be at least 1 pixel, got {in_size} -> {out_size}")
