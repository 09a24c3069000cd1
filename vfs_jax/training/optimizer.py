"""SGD as the release trains with it."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike


def cosine(learning_rate: float, steps: int) -> optax.Schedule:
    """Fall from `learning_rate` at step 0 to 0 at step `steps`, by half a cosine, anew at every step.

    learning_rate * (1 + cos(pi * step / steps)) / 2, float32.

    >>> schedule = cosine(0.05, 100)
    >>> [round(float(schedule(step)), 6) for step in (0, 50, 100)]
    [0.05, 0.025, 0.0]
    """

    def schedule(step: ArrayLike) -> jax.Array:
        return 0.5 * learning_rate * (1 + jnp.cos(jnp.pi / steps * jnp.asarray(step).astype(jnp.float32)))

    return schedule


def sgd(
    learning_rate: optax.ScalarOrSchedule, *, momentum: float, weight_decay: float, decay_all: bool = True
) -> optax.GradientTransformation:
    """Stochastic gradient descent in torch's formulation, which the release uses.

    The decay is added to the gradient of ALL parameters, biases and BatchNorm weights too, in front of the momentum:
    v <- momentum * v + (g + weight_decay * w), w <- w - learning_rate * v.

    >>> params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    >>> optimizer = sgd(1.0, momentum=0.0, weight_decay=0.25, decay_all=False)
    >>> updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    >>> {name: float(update.mean()) for name, update in updates.items()}
    {'bias': 0.0, 'kernel': -0.25}

    Args:
        learning_rate: a number, or a function of the step.
        momentum: the share of the velocity that is kept.
        weight_decay: the share of the parameters that is added to their gradients.
        decay_all: whether of all of them; of kernels alone, not of biases and BatchNorms, where it is False.

    Returns:
        The optax transformation.
    """
    mask = None if decay_all else _is_kernel
    return optax.chain(optax.add_decayed_weights(weight_decay, mask), optax.sgd(learning_rate, momentum))


def _is_kernel(params: optax.Params) -> optax.Params:
    """Tell of each parameter whether it is a matrix or more; biases and BatchNorms are vectors."""
    return jax.tree.map(lambda param: param.ndim > 1, params)
