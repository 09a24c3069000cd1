"""The stem's max-pool, with a backward pass of elementwise operations."""

import functools

import jax
import jax.numpy as jnp
from jax import lax


@jax.custom_vjp
def max_pool(x: jax.Array) -> jax.Array:
    """Take the maximum of each 3x3 window, at every second row and column, padded by 1 (torch's MaxPool2d(3, 2, 1)).

    Of equal maxima the first, in reading order, gets the gradient, as in torch.

    Args:
        x: floating point [b, h, w, c].

    Returns:
        [b, ceil(h / 2), ceil(w / 2), c].

    Example:
        >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
        [[5.0, 7.0], [13.0, 15.0]]
    """
    # Flax's nn.max_pool is the same function; its gradient, XLA's select_and_scatter, took 112 ms on two cores for 8
    # images of 224 pixels, where this one takes 8.
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))


def _forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Pool, and keep the place 3 i + j of each window's first maximum: both in one pass, x is not read again."""
    (height, width), h, w = x.shape[1:3], -(-x.shape[1] // 2), -(-x.shape[2] // 2)
    padding = ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0))
    padded = jnp.pad(x, padding, constant_values=-jnp.inf)
    places = [padded[:, i : i + 2 * h - 1 : 2, j : j + 2 * w - 1 : 2] for i in range(3) for j in range(3)]
    y, first = places[0], jnp.zeros(places[0].shape, jnp.uint8)
    for number, place in enumerate(places[1:], start=1):
        first = jnp.where(place > y, jnp.uint8(number), first)
        y = jnp.maximum(y, place)  # NaN where there is one
    return y, (first, x[..., :0])  # of x nothing but its size


def _backward(residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array]:
    first, empty = residuals
    height, width = empty.shape[1:3]
    parts = {divmod(place, 3): jnp.where(first == place, g, jnp.zeros_like(g)) for place in range(9)}

    # Window (r, s) covers the rows 2r - 1, 2r, 2r + 1: an even row lies in one window, an odd one in two.
    def next_row(part: jax.Array) -> jax.Array:
        return jnp.pad(part[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))

    def next_column(part: jax.Array) -> jax.Array:
        return jnp.pad(part[:, :, 1:], ((0, 0), (0, 0), (0, 1), (0, 0)))

    rows = {j: (parts[1, j], parts[2, j] + next_row(parts[0, j])) for j in range(3)}
    cells = [rows[1][r] if s == 0 else rows[2][r] + next_column(rows[0][r]) for r in range(2) for s in range(2)]
    dx = lax.platform_dependent(*cells, cpu=_by_stacking, default=_by_padding)
    return (dx[:, :height, :width],)


def _by_stacking(*cells: jax.Array) -> jax.Array:
    """Interleave four arrays [b, h, w, c]: of each 2x2 cells the upper left, upper right, lower left, lower right."""
    b, h, w, c = cells[0].shape
    upper, lower = jnp.stack(cells[:2], axis=3), jnp.stack(cells[2:], axis=3)
    return jnp.stack([upper, lower], axis=2).reshape(b, 2 * h, 2 * w, c)


def _by_padding(*cells: jax.Array) -> jax.Array:
    """Do the same where XLA's kernels for concatenations are slow: on an H200 one ran at a quarter of the bandwidth."""
    zero = jnp.zeros((), cells[0].dtype)
    spread = [
        lax.pad(cell, zero, ((0, 0, 0), (r, 1 - r, 1), (s, 1 - s, 1), (0, 0, 0)))
        for cell, (r, s) in zip(cells, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True)
    ]
    return functools.reduce(jnp.add, spread)


max_pool.defvjp(_forward, _backward)
