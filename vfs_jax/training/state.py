"""What training changes: one frozen dataclass, returned anew by every step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vfs_jax.models import init_variables
from vfs_jax.models.heads import head_widths
from vfs_jax.training.contrastive import Queue, init_queue


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything a checkpoint holds.

    Attributes:
        step: int32 scalar, the number of steps taken; batches and random keys follow from it.
        params: the parameters of the whole VFS network, float32.
        batch_stats: the running statistics of its BatchNorms, float32.
        opt_state: the optimizer's.
        skipped: int32 scalar, the number of steps that were not finite and changed nothing.
        queue: of negatives, where the run has one.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    skipped: jax.Array
    queue: Queue | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """The variables for `VFS.apply`."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_state(seed: int, depth: int, optimizer: optax.GradientTransformation, *, queue_size: int = 0) -> TrainState:
    """Return the state before the first step, with the network's initial weights of that seed.

    Args:
        seed: of the weights.
        depth: of the ResNet.
        optimizer: the one whose state is kept.
        queue_size: of the queue of negatives; 0 for none.

    Returns:
        A state at step 0. May be traced: jit it with out_shardings to create it where it is to live.

    >>> jax.eval_shape(lambda: init_state(0, 18, optax.sgd(0.1))).step
    ShapeDtypeStruct(shape=(), dtype=int32)
    """
    variables = init_variables(seed, depth)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(variables["params"]),
        skipped=jnp.zeros((), jnp.int32),
        queue=init_queue(seed, variables, size=queue_size, width=head_widths(depth)[0]) if queue_size else None,
    )
