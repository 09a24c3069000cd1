"""Between pixels and feature grid: nearest and bilinear resizing of label maps, and where a point lies after it.

A picture of h rows and w columns covers the area [0, h] x [0, w]; pixel (row, col) covers [row, row + 1] x
[col, col + 1]. Measured from the top left *corner* of the picture, the center of pixel (row, col) is (row + 0.5,
col + 0.5); measured from the *center* of the first pixel it is (row, col), as array indices are. Resizing stretches the
area, so coordinates from the corner are multiplied by out / in. Arrays are indexed (row, col); points are (x, y), which
is (col, row), as in annotation files.
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

Origin = Literal["corner", "center"]


def nearest_source(out_size: int, in_size: int, origin: Origin = "center") -> np.ndarray:
    """List the input pixel that nearest resizing takes for every output pixel, along one axis.

    Args:
        out_size: pixels after resizing.
        in_size: pixels before.
        origin: the point of output pixel i that is looked up in the input. "center" is Pillow's rule, ``floor((i + 0.5)
            * in / out)``, and brings masks to the grid; "corner" is PyTorch's rule, ``floor(i * in / out)``, and brings
            masks back. Both are equal to those libraries to the last pixel, also where their rounding moves it.

    Returns:
        int64 [out_size], pixel numbers of the input.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> nearest_source(8, 5).tolist(), nearest_source(8, 5, "corner").tolist()
        ([0, 0, 1, 2, 2, 3, 4, 4], [0, 0, 1, 1, 2, 3, 3, 4])
    """
    _check_sizes(out_size, in_size)
    if origin == "corner":
        # PyTorch multiplies in float32.
        scale = np.float32(in_size) / np.float32(out_size)
        source = np.floor(np.arange(out_size, dtype=np.float32) * scale)
    else:
        # Pillow walks along the axis and adds the step each time, in float64.
        steps = np.full(out_size, in_size / out_size)
        steps[0] /= 2
        source = np.floor(np.cumsum(steps))
    return np.minimum(source.astype(np.int64), in_size - 1)


@_jaxtyped(typechecker=beartype)
def resize_nearest(
    mask: Shaped[Array | np.ndarray, "h w *rest"], size: tuple[int, int], *, origin: Origin = "center"
) -> Shaped[Array | np.ndarray, "rows cols *rest"]:
    """Resize a picture or an index mask by taking the nearest pixel.

    Args:
        mask: [h, w] or [h, w, ...], any type.
        size: (rows, cols) of the result.
        origin: "center" for Pillow's rule, "corner" for PyTorch's; see `nearest_source`.

    Returns:
        [rows, cols, ...] of the same type; NumPy stays NumPy.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import numpy as np
        >>> resize_nearest(np.arange(16).reshape(4, 4), (2, 2)).tolist()
        [[5, 7], [13, 15]]
    """
    rows = nearest_source(size[0], mask.shape[0], origin)
    cols = nearest_source(size[1], mask.shape[1], origin)
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


@functools.partial(jax.jit, static_argnames="size")
def _resize_bilinear(maps: jax.Array, size: tuple[int, int]) -> jax.Array:
    dtype = maps.dtype
    maps = maps.astype(accumulation_dtype(maps))
    for axis, out_size in ((maps.ndim - 3, size[0]), (maps.ndim - 2, size[1])):
        in_size = maps.shape[axis]
        # PyTorch's scale is float32; it rounds scale * (i + 0.5) - 0.5 once, which float64 here reproduces.
        scale = np.float64(np.float32(in_size) / np.float32(out_size))
        source = np.maximum((scale * (np.arange(out_size) + 0.5) - 0.5).astype(np.float32), 0)
        low = np.minimum(source.astype(np.int64), in_size - 1)
        share = jnp.asarray(source - low, maps.dtype).reshape((-1,) + (1,) * (maps.ndim - 1 - axis))
        share = jnp.broadcast_to(share, (*maps.shape[:axis], out_size, *maps.shape[axis + 1 :]))
        after = jnp.take(maps, np.minimum(low + 1, in_size - 1), axis=axis)
        maps = jnp.take(maps, low, axis=axis) * (1 - share) + after * share
    return maps.astype(dtype)


@_jaxtyped(typechecker=beartype)
def resize_points(
    points: Float[Array | np.ndarray, "*batch xy"],
    in_size: tuple[int, int],
    out_size: tuple[int, int],
    *,
    origin: Origin = "corner",
) -> Float[Array | np.ndarray, "*batch xy"]:
    """Move points to where they lie after a picture is resized.

    Args:
        points: (x, y) in pixels of the picture before, [..., 2], any float.
        in_size: (rows, cols) before.
        out_size: (rows, cols) after.
        origin: "corner" when the points are measured from the top left corner of the picture, "center" when they are
            measured from the center of its first pixel, as array indices are.

    Returns:
        (x, y) in pixels of the picture after, from the same origin, of the same type; NumPy stays NumPy.

    Raises:
        ValueError: a size is below 1.
        TypeError: the points are not of a float type or the last axis is not 2.

    Example:
        >>> import numpy as np
        >>> resize_points(np.array([4.0, 2.0]), (480, 854), (60, 107)).round(3).tolist()
        [0.501, 0.25]
    """
    for new, old in zip(out_size, in_size, strict=True):
        _check_sizes(new, old)
    scale = np.array([out_size[1] / in_size[1], out_size[0] / in_size[0]]).astype(points.dtype)
    half = np.array(0.0 if origin == "corner" else 0.5, points.dtype)
    scale = np.broadcast_to(scale, points.shape)
    return (points + half) * scale - half


def _check_sizes(out_size: int, in_size: int) -> None:
    """Raise ValueError unless both sizes are positive."""
    if out_size < 1 or in_size < 1:
        raise ValueError(f"sizes must be at least 1 pixel, got {in_size} -> {out_size}")
