"""The 3x3 convolutions of stride 1, which take most of a ResNet's time; on CPUs by Winograd's algorithm.

XLA's convolutions are slow on CPUs. Winograd's algorithm F(2x2, 3x3) (Lavin & Gray, Fast Algorithms for Convolutional
Neural Networks, CVPR 2016) computes four outputs with 16 products where the definition has 36: tiles of 4x4 inputs and
the kernel are transformed, the products are 16 matmuls over the channels, and what they give is transformed back. All
factors are 1 or 1/2, so that rounding errors stay those of the definition.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

# A square of arrays, one for each place in a tile or kernel.
_Square = list[list[jax.Array]]

# Multiply-adds from which on it is used: 16 matmuls take longer to compile than one convolution.
_LARGE = 2**28
# Kernels with fewer channels than this have gradients whose matmuls are slower than XLA's convolution.
_WIDE = 128


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve_3x3(x: jax.Array, kernel: jax.Array, dilation: int = 1) -> jax.Array:
    """Convolve with a 3x3 kernel, padded so that the size stays.

    Args:
        x: floating point [b, h, w, c].
        kernel: [3, 3, c, d], of the dtype of x.
        dilation: cells from one place of the kernel to the next.

    Returns:
        [b, h, w, d].

    Example:
        >>> convolve_3x3(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
        [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    by_definition = functools.partial(_by_definition, dilation=dilation)
    if not _pays(x, kernel):
        return by_definition(x, kernel)
    by_winograd = functools.partial(_by_winograd, dilation=dilation)
    return lax.platform_dependent(x, kernel, cpu=by_winograd, default=by_definition)


def _pays(x: jax.Array, kernel: jax.Array) -> bool:
    """Tell whether Winograd's way is faster on a CPU and as exact: sums of 16-bit numbers would lose digits."""
    return x.dtype.itemsize >= 4 and x.size * 9 * kernel.shape[3] >= _LARGE


def _forward(x: jax.Array, kernel: jax.Array, dilation: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve_3x3(x, kernel, dilation), (x, kernel)


def _backward(dilation: int, residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    def by_definition(x: jax.Array, kernel: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(functools.partial(_by_definition, dilation=dilation), x, kernel)[1](g)

    def by_winograd(x: jax.Array, kernel: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _gradients_by_winograd(x, kernel, g, dilation)

    if not _pays(*residuals):
        return by_definition(*residuals, g)
    return lax.platform_dependent(*residuals, g, cpu=by_winograd, default=by_definition)


convolve_3x3.defvjp(_forward, _backward)


def _by_definition(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding=((dilation, dilation), (dilation, dilation)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _by_winograd(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    return _outputs(_products(jnp.matmul, _tiles(x, dilation), _weights(kernel)), x.shape, dilation)


def _gradients_by_winograd(x: jax.Array, kernel: jax.Array, g: jax.Array, dilation: int) -> tuple[jax.Array, jax.Array]:
    # The gradient of x is the convolution of g with the kernel turned by 180 degrees and transposed. Turned, the
    # kernel's transform is the same numbers in another order.
    weights = _weights(kernel)
    turned = [[weights[i][j] for j in (3, 1, 2, 0)] for i in (3, 1, 2, 0)]
    dx = _outputs(_products(lambda t, u: t @ u.T, _tiles(g, dilation), turned), g.shape, dilation)
    if min(kernel.shape[2:]) < _WIDE:
        return dx, jax.vjp(lambda kernel: _by_definition(x, kernel, dilation), kernel)[1](g)[0]
    return dx, _collect(_products(lambda t, s: t.T @ s, _tiles(x, dilation), _spread(g, dilation)))


def _products(multiply: Callable[[jax.Array, jax.Array], jax.Array], a: _Square, b: _Square) -> _Square:
    return [[multiply(*pair) for pair in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]


def _count(shape: Sequence[int], dilation: int) -> tuple[int, int]:
    """Count the tiles in a column and a row: a tile makes 2x2 outputs, `dilation` apart."""
    return -(-shape[1] // (2 * dilation)), -(-shape[2] // (2 * dilation))


def _every(x: jax.Array, axis: int, start: int, tiles: int, dilation: int) -> jax.Array:
    """Take a line of each tile: [..., tiles * 2 * dilation + more, ...] -> [..., tiles, dilation, ...]."""
    x = lax.slice_in_dim(x, start, start + tiles * 2 * dilation, axis=axis)
    x = x.reshape(*x.shape[:axis], tiles, 2 * dilation, *x.shape[axis + 1 :])
    return lax.slice_in_dim(x, 0, dilation, axis=axis + 1)


def _tiles(x: jax.Array, dilation: int) -> _Square:
    """Transform the 4x4 inputs of every tile: 4x4 arrays [tiles, c]."""
    rows, columns = _count(x.shape, dilation)
    ends = (2 * dilation * (rows + 1) - x.shape[1], 2 * dilation * (columns + 1) - x.shape[2])
    x = jnp.pad(x, ((0, 0), (dilation, ends[0]), (dilation, ends[1]), (0, 0)))

    def transform(x: jax.Array, axis: int, tiles: int) -> list[jax.Array]:
        a, b, c, d = (_every(x, axis, place * dilation, tiles, dilation) for place in range(4))
        return [a - c, b + c, c - b, b - d]

    return [[tile.reshape(-1, x.shape[3]) for tile in transform(row, 3, columns)] for row in transform(x, 1, rows)]


def _weights(kernel: jax.Array) -> _Square:
    """Transform a kernel: 4x4 arrays [c, d]."""

    def transform(k: jax.Array) -> list[jax.Array]:
        return [k[0], (k[0] + k[1] + k[2]) / 2, (k[0] - k[1] + k[2]) / 2, k[2]]

    # The barrier keeps XLA from transforming a kernel that is a constant while it compiles, which is slow.
    return [transform(row) for row in transform(lax.optimization_barrier(kernel))]


def _outputs(products: _Square, shape: Sequence[int], dilation: int) -> jax.Array:
    """Transform what the matmuls gave, 4x4 arrays [tiles, d], back: [b, h, w, d]."""

    def transform(m: Sequence[jax.Array]) -> list[jax.Array]:
        return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]

    b, h, w, _ = shape
    rows, columns = _count(shape, dilation)
    halves = zip(*(transform(row) for row in products), strict=True)  # the left and the right outputs, four rows each
    tiles = [[y.reshape(b, rows, dilation, columns, dilation, -1) for y in transform(half)] for half in halves]
    y = jnp.stack([jnp.stack(line, axis=4) for line in zip(*tiles, strict=True)], axis=2)
    return y.reshape(b, rows * 2 * dilation, columns * 2 * dilation, -1)[:, :h, :w]


def _spread(g: jax.Array, dilation: int) -> _Square:
    """Apply the transpose of `_outputs`: 4x4 arrays [tiles, d] of gradients [b, h, w, d]."""
    rows, columns = _count(g.shape, dilation)
    ends = (2 * dilation * rows - g.shape[1], 2 * dilation * columns - g.shape[2])
    g = jnp.pad(g, ((0, 0), (0, ends[0]), (0, ends[1]), (0, 0)))

    def transform(g: jax.Array, axis: int, tiles: int) -> list[jax.Array]:
        padded = jnp.pad(g, [(0, dilation if number == axis else 0) for number in range(g.ndim)])
        a, b = (_every(padded, axis, place * dilation, tiles, dilation) for place in range(2))
        return [a, a + b, a - b, -b]

    return [[each.reshape(-1, g.shape[3]) for each in transform(row, 3, columns)] for row in transform(g, 1, rows)]


def _collect(products: _Square) -> jax.Array:
    """Apply the transpose of `_weights`: the gradient [3, 3, c, d] of a kernel from 4x4 arrays [c, d]."""

    def transform(u: Sequence[jax.Array]) -> list[jax.Array]:
        return [u[0] + (u[1] + u[2]) / 2, (u[1] - u[2]) / 2, (u[1] + u[2]) / 2 + u[3]]

    columns = [transform(column) for column in zip(*(transform(row) for row in products), strict=True)]
    return jnp.stack([jnp.stack(row) for row in zip(*columns, strict=True)])
