"""From the options of a run to its compiled step."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vfs_jax.errors import InputError
from vfs_jax.training.flops import count_flops
from vfs_jax.training.optimizer import cosine, sgd
from vfs_jax.training.options import TrainOptions
from vfs_jax.training.sharding import batch_sharding, replicated
from vfs_jax.training.state import TrainState, init_state
from vfs_jax.training.step import TrainStep, compile_train_step, make_train_step


@dataclasses.dataclass(frozen=True)
class Program:
    """What runs on the devices.

    Attributes:
        options: of the run.
        mesh: its devices.
        create: makes the state before the first step, in its place.
        state_shapes: the state as ShapeDtypeStructs with shardings.
        batch_shapes: a global batch likewise; see `make_train_step`.
    """

    options: TrainOptions
    mesh: Mesh
    create: Callable[[], TrainState]
    state_shapes: TrainState
    batch_shapes: dict[str, jax.ShapeDtypeStruct]

    def trace(self) -> jax.stages.Traced:
        """Return the step, ready to be counted and lowered."""
        return self._trace(self.options)

    def lower(self) -> jax.stages.Lowered:
        """Return the step, ready to be compiled."""
        return self.trace().lower()

    def flops(self, traced: jax.stages.Traced) -> int:
        """Return floating-point operations of a step over all devices; see `count_flops`.

        What is computed twice to save memory counts once.

        Args:
            traced: what `trace` gave.
        """
        if self.options.remat:
            traced = self._trace(dataclasses.replace(self.options, remat=False))
        return count_flops(traced.jaxpr)

    def _trace(self, options: TrainOptions) -> jax.stages.Traced:
        step = _make_step(options, *_make_optimizer(options))
        return compile_train_step(step, self.mesh).trace(self.state_shapes, self.batch_shapes)


def make_program(options: TrainOptions, mesh: Mesh) -> Program:
    """Lay out the state and the step of a run on a mesh.

    Raises:
        InputError: the batch cannot be cut into equal parts for the devices.
    """
    if options.batch_size % (mesh.size * options.accumulate):
        raise InputError(
            f"--config.batch_size={options.batch_size}: must be a multiple of {mesh.size} devices times "
            f"accumulate={options.accumulate}"
        )
    _, optimizer = _make_optimizer(options)
    queue_size = options.queue_size if options.negatives == "queue" else 0
    create = jax.jit(
        lambda: init_state(options.seed, options.depth, optimizer, queue_size=queue_size),
        out_shardings=replicated(mesh),
    )
    state_shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)), jax.eval_shape(create)
    )
    size = options.image_size
    views = (options.batch_size, 2, options.segments // 2, size, size, 3)
    shapes = {"views": (views, jnp.uint8), "stop": (views[:1], jnp.bool), "unreadable": (views[:1], jnp.int32)}
    batch_shapes = {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=batch_sharding(mesh))
        for name, (shape, dtype) in shapes.items()
    }
    return Program(options, mesh, create, state_shapes, batch_shapes)


def _make_optimizer(options: TrainOptions) -> tuple[optax.Schedule, optax.GradientTransformation]:
    schedule = cosine(options.learning_rate, options.steps)
    return schedule, sgd(schedule, momentum=options.momentum, weight_decay=options.weight_decay)


def _make_step(options: TrainOptions, schedule: optax.Schedule, optimizer: optax.GradientTransformation) -> TrainStep:
    return make_train_step(
        depth=options.depth,
        seed=options.seed,
        learning_rate=schedule,
        optimizer=optimizer,
        color=options.color_augmentation if options.color else None,
        symmetric=options.symmetric,
        temperature=None if options.negatives == "none" else options.temperature,
        encoder_momentum=options.encoder_momentum,
        dtype=jnp.dtype(options.dtype),
        accumulate=options.accumulate,
        remat=options.remat,
    )
