"""Cross-correlation of an exemplar with a search region, as Siamese trackers use it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vfs_jax.correspondence.affinity import accumulation_dtype, product_dtype
from vfs_jax.correspondence.arguments import checked


@checked
def cross_correlate(
    exemplar: Float[Array | np.ndarray, "b h w c"], search: Float[Array | np.ndarray, "b H W c"]
) -> Float[Array, "b rows cols"]:
    """Slide each exemplar over its own search region and sum the products.

    ``out[b, y, x] = sum over i, j, c of exemplar[b, i, j, c] * search[b, y + i, x + j, c]``: no flip, no padding.
    Costs ``b * h * w * H * W * c`` multiply-adds in one matmul a batch element and ``b * h * w * H * W`` numbers of
    memory: every exemplar position is compared with every search position once, then the shifted planes are summed.

    Args:
        exemplar: features [b, h, w, c], any float.
        search: features [b, H, W, c] with H >= h and W >= w, any float.

    Returns:
        Responses [b, H - h + 1, W - w + 1], float32 (float64 for float64 inputs).

    Raises:
        ValueError: the exemplar is larger than the search region.
        TypeError: the arrays differ in batch or channels, or are not of a float type.

    Example:
        >>> import jax.numpy as jnp
        >>> cross_correlate(jnp.ones((1, 2, 2, 3)), jnp.ones((1, 4, 3, 3)))[0].tolist()
        [[12.0, 12.0], [12.0, 12.0], [12.0, 12.0]]
    """
    if exemplar.shape[1] > search.shape[1] or exemplar.shape[2] > search.shape[2]:
        raise ValueError(f"the exemplar {exemplar.shape} is larger than the search region {search.shape}")
    return _cross_correlate(jnp.asarray(exemplar), jnp.asarray(search))


@jax.jit
def _cross_correlate(exemplar: jax.Array, search: jax.Array) -> jax.Array:
    height, width = exemplar.shape[1:3]
    rows, cols = search.shape[1] - height + 1, search.shape[2] - width + 1
    common = product_dtype(exemplar, search)
    products = jnp.einsum(
        "bijc,bvuc->bijvu",
        exemplar.astype(common),
        search.astype(common),
        preferred_element_type=accumulation_dtype(exemplar, search),
        precision=jax.lax.Precision.HIGHEST,
    )
    # Sum over the columns of the exemplar first: the second sum then runs over planes that are already narrow.
    across = functools.reduce(jnp.add, (products[:, :, j, :, j : j + cols] for j in range(width)))
    return functools.reduce(jnp.add, (across[:, i, i : i + rows] for i in range(height)))
