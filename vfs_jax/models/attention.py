"""Exact attention over chunks of queries: what lies in memory at once does not grow with the square of the tokens."""

import functools

import jax
import jax.numpy as jnp
from beartype import beartype
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, jaxtyped

# Bytes of the scores that are held at once. A chunk of one head that stays in a CPU's caches is 3 to 4 times as fast as
# all scores at once (1,560 and 6,240 tokens); other devices want few, large products.
_CPU_BYTES = 2**22
_DEVICE_BYTES = 2**28


def at_least_float32(dtype: DTypeLike) -> DTypeLike:
    """Return the dtype in which sums over 16-bit numbers are made: float32, or float64 for float64.

    >>> at_least_float32(jnp.bfloat16) == jnp.float32
    True
    """
    return jnp.float64 if jnp.dtype(dtype) == jnp.float64 else jnp.float32


@jaxtyped(typechecker=beartype)
def attend(
    query: Float[Array, "b heads n d"], key: Float[Array, "b heads m d"], value: Float[Array, "b heads m d"]
) -> Float[Array, "b heads n d"]:
    """Blend the values by the softmax of scaled dot products: softmax(query key^T / sqrt(d)) value.

    Every chunk of queries has its exact softmax over all keys, in at least float32.

    Args:
        query: [b, heads, n, d].
        key: [b, heads, m, d].
        value: [b, heads, m, d].

    Returns:
        [b, heads, n, d], of the query's dtype.

    Example:
        >>> one = jnp.ones((1, 1, 3, 2))
        >>> attend(one, one, one).tolist()
        [[[[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]]]
    """
    heads = tuple(x.reshape(-1, *x.shape[2:]) for x in (query * query.shape[-1] ** -0.5, key, value))
    blended = lax.platform_dependent(*heads, cpu=_head_by_head, default=_all_heads)
    return blended.reshape(query.shape)


def _head_by_head(query: Array, key: Array, value: Array) -> Array:
    """Attend with one head after the other: products of matrices run on all cores, batches of them do not."""
    rows = max(_CPU_BYTES // (4 * key.shape[1]), 1)
    return lax.map(lambda head: _by_chunks(head[0], head[1], head[2], rows), (query, key, value))


def _all_heads(query: Array, key: Array, value: Array) -> Array:
    """Attend with all heads at once."""
    rows = max(_DEVICE_BYTES // (4 * key.shape[1] * len(key)), 1)
    return jax.vmap(functools.partial(_by_chunks, rows=rows))(query, key, value)


def _by_chunks(query: Array, key: Array, value: Array, rows: int) -> Array:
    """Attend with one head [tokens, d] over chunks of at most about so many queries."""
    n, d = query.shape
    count = -(-n // rows)
    rows = -(-n // count)
    chunks = jnp.pad(query, ((0, count * rows - n), (0, 0))).reshape(count, rows, d)
    wide = at_least_float32(query.dtype)

    def blend(chunk: Array) -> Array:
        scores = jnp.matmul(chunk, key.T, preferred_element_type=wide)
        weights = jnp.exp(scores - scores.max(axis=1, keepdims=True))
        # Divided by their sum after the product, which has d columns instead of m.
        blended = jnp.matmul(weights.astype(value.dtype), value, preferred_element_type=wide)
        return (blended / weights.sum(axis=1, keepdims=True)).astype(query.dtype)

    return (blend(chunks[0])[None] if count == 1 else lax.map(blend, chunks)).reshape(-1, d)[:n]
