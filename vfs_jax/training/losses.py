"""The frame-similarity loss."""

import jax
import jax.numpy as jnp
import numpy as np
from beartype import beartype
from jaxtyping import Array, Float, jaxtyped


def normalize(x: Float[Array | np.ndarray, "*n d"], eps: float = 1e-8) -> Float[Array, "*n d"]:
    """Scale vectors [..., d] to length 1, in float32 at least; zero vectors stay zero, with finite gradients."""
    x = jnp.asarray(x).astype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), eps * eps))


@jaxtyped(typechecker=beartype)
def frame_similarity_loss(
    z: Float[Array | np.ndarray, "b 2 t d"], p: Float[Array | np.ndarray, "b 2 t d"], *, symmetric: bool = True
) -> Float[Array, ""]:
    """Pull the prediction of every frame of one view towards the projection of every frame of the other.

    For a pair of frames, L(p, z) = 2 - 2 cos(p, stop_gradient(z)), and the pair's loss is
    0.5 L(p1, z2) + 0.5 L(p2, z1); the result is the mean over the batch and over all t * t pairs of a frame of view 1
    with a frame of view 2 (VFS section 3.2; the release reaches the same pairs by t cyclic shifts of view 2).

    Args:
        z: projections [b, 2, t, d]; no gradient flows into them.
        p: predictions [b, 2, t, d].
        symmetric: False leaves L(p1, z2) alone, the paper's ablation.

    Returns:
        Scalar in 0..4, float32 (float64 for float64 inputs).

    Raises:
        jaxtyping.TypeCheckError: the two differ in shape, or their second axis is not 2.

    >>> z = jnp.ones((1, 2, 3, 4))
    >>> float(frame_similarity_loss(z, z)), float(frame_similarity_loss(z, -z))
    (0.0, 4.0)
    """
    z_hat, p_hat = normalize(jax.lax.stop_gradient(z)), normalize(p)
    cos_12 = jnp.einsum("bid,bjd->bij", p_hat[:, 0], z_hat[:, 1])
    cos_21 = jnp.einsum("bid,bjd->bij", p_hat[:, 1], z_hat[:, 0])
    cos = (jnp.mean(cos_12) + jnp.mean(cos_21)) / 2 if symmetric else jnp.mean(cos_12)
    return 2 - 2 * cos


@jaxtyped(typechecker=beartype)
def embedding_std(z: Float[Array | np.ndarray, "*n d"]) -> Float[Array, ""]:
    """Tell a spread-out embedding (about 1) from a collapsed one (about 0).

    Args:
        z: embeddings [..., d].

    Returns:
        Scalar float32: the standard deviation over all vectors of each dimension of z / |z|, averaged over dimensions
        and divided by 1 / sqrt(d), its value for directions spread evenly over the sphere (SimSiam section 4.1).

    >>> float(embedding_std(jnp.ones((8, 4)))) < 1e-3
    True
    """
    d = z.shape[-1]
    z_hat = normalize(z).reshape(-1, d)
    return jnp.mean(jnp.std(z_hat, axis=0)) * d**0.5
