"""float32 vectors as two float16 ones each, which GPUs multiply several times as fast.

    a . b  =  high(a) . high(b) + high(a) . low(b) + low(a) . high(b) + low(a) . low(b)

The last product is at most 2**-22 of the product of the vectors' norms and is left out. float32's own sums of as many
products as features have channels err by as much or more.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Halves(NamedTuple):
    """float32 vectors [..., c] as scale * (high + low).

    Attributes:
        high: float16 [..., c], the first 11 significant bits.
        low: float16 [..., c], the next 11; high + low is off by at most 2**-22 of a number, and by at most 2**-39 of
            the vector's largest number where that is more.
        scale: float32 [...], the power of two by which a vector's largest number is between 2**14 and 2**15.
    """

    high: jax.Array
    low: jax.Array
    scale: jax.Array


def split_float32(values: jax.Array) -> Halves:
    """Split float32 vectors [..., c]."""
    peak = jnp.max(jnp.abs(values), axis=-1, keepdims=True)
    exponent = jnp.clip(jnp.frexp(peak)[1] - 15, -126, 126)
    scaled = values * jnp.ldexp(np.float32(1), -exponent)
    high = scaled.astype(np.float16)
    low = (scaled - high.astype(np.float32)).astype(np.float16)
    return Halves(high, low, jnp.ldexp(np.float32(1), exponent)[..., 0])
