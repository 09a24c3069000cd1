"""InfoNCE, the variant with negatives: other clips of the batch, and a queue of a slower network's embeddings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from beartype import beartype
from jaxtyping import Array, Float, PyTree, jaxtyped

from vfs_jax.models.resnet import Variables
from vfs_jax.training.losses import normalize


@jaxtyped(typechecker=beartype)
def contrastive_loss(
    z: Float[Array | np.ndarray, "b 2 t d"],
    p: Float[Array | np.ndarray, "b 2 t d"],
    *,
    temperature: float,
    queue: Float[Array | np.ndarray, "k d"] | None = None,
    symmetric: bool = True,
) -> Float[Array, ""]:
    """Tell the frames of the own clip's other view from the frames of other clips (InfoNCE).

    Frames are paired as in `frame_similarity_loss`. For frame i of a clip's view 1 and frame j of its view 2 the loss
    is -log(exp(s) / (exp(s) + sum over negatives n of exp(s_n))), with s = cos(p1_i, z2_j) / temperature and
    s_n = cos(p1_i, n) / temperature. The negatives are view 2's frames of all other clips of the batch, and the queue.

    Args:
        z: projections [b, 2, t, d]; no gradient flows into them.
        p: predictions [b, 2, t, d].
        temperature: above 0.
        queue: more negatives [k, d], of length 1.
        symmetric: whether view 2 predicts view 1 too; the two losses are averaged.

    Returns:
        Scalar, the mean over clips and pairs, float32 (float64 for float64 inputs).

    Raises:
        jaxtyping.TypeCheckError: the shapes do not fit.
        ValueError: there is nothing to tell apart: one clip and no queue.

    The settings of the paper's variant were not released; this is the usual InfoNCE (van den Oord et
    al. 2018; with a queue He et al., MoCo, 2020).

    >>> z = jnp.eye(4)[:, None, None, :] * jnp.ones((1, 2, 1, 1))  # four clips, all at right angles
    >>> round(float(contrastive_loss(z, z, temperature=1.0)), 4)  # log(1 + 3 / e)
    0.7437
    """
    if z.shape[0] == 1 and queue is None:
        raise ValueError("one clip has no negatives: there must be more, or a queue")
    z_hat, p_hat = normalize(jax.lax.stop_gradient(z)), normalize(p)
    others = ~np.eye(z.shape[0], dtype=bool)[:, None, :, None]

    def direction(query: Array, key: Array) -> Array:
        """Return the mean loss of query [b, t, d] against key [b, t, d]."""
        scores = jnp.einsum("bid,cjd->bicj", query, key) / temperature
        positive = jnp.einsum("bid,bjd->bij", query, key) / temperature
        negative = jnp.where(others, scores, -jnp.inf).reshape(*scores.shape[:2], -1)
        if queue is not None:
            past = jnp.einsum("bid,kd->bik", query, jax.lax.stop_gradient(jnp.asarray(queue))) / temperature
            negative = jnp.concatenate([negative, past], axis=-1)
        # -log(exp(s) / (exp(s) + sum exp(n))) = log(1 + exp(logsumexp(n) - s))
        return jnp.mean(jax.nn.softplus(jax.nn.logsumexp(negative, axis=-1, keepdims=True) - positive))

    loss = direction(p_hat[:, 0], z_hat[:, 1])
    return (loss + direction(p_hat[:, 1], z_hat[:, 0])) / 2 if symmetric else loss


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Queue:
    """A network that follows the trained one slowly, and its latest projections (MoCo).

    Attributes:
        params: running mean of the trained network's parameters.
        batch_stats: the running statistics of its BatchNorms.
        embeddings: [k, d], of length 1, the newest first.
    """

    params: optax.Params
    batch_stats: PyTree
    embeddings: jax.Array

    def follow(self, params: optax.Params, batch_stats: PyTree, z: jax.Array, momentum: float) -> "Queue":
        """Return the queue after a step.

        Args:
            params: of the trained network, after the step.
            batch_stats: of the slow network, after it has seen the batch.
            z: the slow network's projections of the batch [b, 2, t, d]; they push out the oldest.
            momentum: the share of the slow network's parameters that stays.
        """
        slow = jax.tree.map(lambda old, new: momentum * old + (1 - momentum) * new, self.params, params)
        newest = normalize(z).reshape(-1, z.shape[-1]).astype(self.embeddings.dtype)
        embeddings = jnp.concatenate([newest, self.embeddings])[: self.embeddings.shape[0]]
        return Queue(slow, batch_stats, embeddings)


def init_queue(seed: int, variables: Variables, *, size: int, width: int) -> Queue:
    """Make the queue before the first step: a copy of the network, and random directions that stand in for a past.

    Args:
        seed: of the directions.
        variables: of the trained network, {"params": ..., "batch_stats": ...}.
        size: of the queue.
        width: of the embeddings.
    """
    key = jax.random.fold_in(jax.random.key(seed), 1)
    directions = normalize(jax.random.normal(key, (size, width)))
    return Queue(variables["params"], variables["batch_stats"], directions)
