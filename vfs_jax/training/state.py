"""The training state: one frozen dataclass, returned anew by every step."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from vfs_jax.models.resnet import Variables
from vfs_jax.training.contrastive import Queue


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything a checkpoint holds.

    Attributes:
        step: int32 scalar, the number of steps taken; batches and random keys follow from it.
        params: the parameters of the whole network, frozen parts too, float32.
        batch_stats: the running statistics of its BatchNorms, float32.
        opt_state: the optimizer's.
        skipped: int32 scalar, the number of steps that were not finite and changed nothing.
        queue: of negatives, where the run has one.
    """

    step: jax.Array
    params: optax.Params
    batch_stats: PyTree
    opt_state: optax.OptState
    skipped: jax.Array
    queue: Queue | None = None

    @property
    def variables(self) -> Variables:
        """The variables for the network's `apply`."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_state(variables: Variables, opt_state: optax.OptState, queue: Queue | None = None) -> TrainState:
    """Make the state before the first step.

    Args:
        variables: of the network, {"params": ..., "batch_stats": ...}.
        opt_state: the optimizer's, for those parameters that it trains.
        queue: of negatives, where the run has one.

    Example:
        >>> params = {"kernel": jnp.ones((3, 4))}
        >>> init_state({"params": params, "batch_stats": {}}, optax.sgd(0.1).init(params)).step
        Array(0, dtype=int32)
    """
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, variables["params"], variables["batch_stats"], opt_state, zero, queue)
