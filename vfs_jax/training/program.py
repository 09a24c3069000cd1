"""What the loop is given: a program (state, step, shapes on a mesh) and a plan (batches, length, words of the log)."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh
from jax.typing import DTypeLike
from jaxtyping import PyTree

from vfs_jax.errors import InputError
from vfs_jax.training.flops import count_flops
from vfs_jax.training.sharding import batch_sharding, replicated
from vfs_jax.training.state import TrainState

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]
HostBatch = Mapping[str, Any]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]

# Arrays of every batch, [b], by which any process tells all: "stop", that they shall stop, and "unreadable", which sums
# up to the number of unreadable records of a pass.
MESSAGES: dict[str, DTypeLike] = {"stop": jnp.bool, "unreadable": jnp.int32}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """What runs on the devices.

    Attributes:
        mesh: the devices.
        create: makes the state before the first step, in its place.
        step: (state, batch) -> (state, metrics), pure. The metrics hold what `skip_unless_finite` adds.
        state_shapes: the state as ShapeDtypeStructs with shardings; see `state_layout`.
        batch_shapes: a global batch likewise, with the messages; see `batch_layout`.
        counted_step: the step without what it computes twice to save memory; None where that is the step itself.
    """

    mesh: Mesh
    create: Callable[[], TrainState]
    step: TrainStep
    state_shapes: TrainState
    batch_shapes: dict[str, jax.ShapeDtypeStruct]
    counted_step: TrainStep | None = None

    def trace(self) -> jax.stages.Traced:
        """Return the step, ready to be counted and lowered."""
        return self._trace(self.step)

    def lower(self) -> jax.stages.Lowered:
        """Return the step, ready to be compiled."""
        return self.trace().lower()

    def flops(self, traced: jax.stages.Traced) -> int:
        """Count the floating-point operations of a step over all devices; see `count_flops`.

        What is computed twice to save memory counts once.

        Args:
            traced: what `trace` gave.
        """
        return count_flops((traced if self.counted_step is None else self._trace(self.counted_step)).jaxpr)

    def _trace(self, step: TrainStep) -> jax.stages.Traced:
        return compile_train_step(step, self.mesh).trace(self.state_shapes, self.batch_shapes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run reads, how long it is, and what its log calls things.

    Attributes:
        steps: how many the run has.
        batches: called with the steps taken so far; gives this process's rows of the batches from there on, without
            end. Each is a dict of the arrays that the program takes, "id", the names of its records, and "unreadable",
            a list of "id: why" of what had to be replaced.
        num_records: of the data set.
        batch_size: records in a global batch.
        unit: what a batch is made of, for the log: "clips" gives clips_per_second.
        progress: what the progress line shows besides loss, rate and speed: a format string of metrics.
        watch: each is called with every finished step and its metrics.
    """

    steps: int
    batches: Callable[[int], Iterator[HostBatch]]
    num_records: int
    batch_size: int
    unit: str
    progress: str
    watch: Sequence[Callable[[int, Mapping[str, float]], None]] = ()


def skip_unless_finite(before: TrainState, after: TrainState, metrics: Metrics) -> tuple[TrainState, Metrics]:
    """End a step: where its loss or gradient is not finite it leaves the state as it was, and is counted.

    Args:
        before: the state that the step was given.
        after: the state with what the step has updated; its step and skipped are still those of before.
        metrics: scalars; "loss" and "gradient_norm" decide.

    Returns:
        The state, one step on, and the metrics with "finite" and "skipped", the non-finite steps so far.
    """
    finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"])
    kept = jax.tree.map(
        # Counters go on, so that the schedule stays in step.
        lambda new, old: jnp.where(finite, new, old) if jnp.issubdtype(new.dtype, jnp.floating) else new,
        after,
        before,
    )
    skipped = before.skipped + jnp.logical_not(finite).astype(jnp.int32)
    return (
        dataclasses.replace(kept, step=before.step + 1, skipped=skipped),
        metrics | {"finite": finite, "skipped": skipped},
    )


def compile_train_step(step: TrainStep, mesh: Mesh) -> jax.stages.Wrapped:
    """Jit a step for a mesh: state and metrics replicated, batch cut over the devices, the old state's memory reused.

    The step sees the global batch, so that what it computes does not depend on the number of devices.

    Args:
        step: (state, batch) -> (state, metrics).
        mesh: from `make_mesh`.

    Returns:
        The jitted function. Its batch has the arrays of MESSAGES too, and its metrics "stop" bool and "unreadable"
        int32. The state that it is given can not be used again.
    """

    def with_messages(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        state, metrics = step(state, batch)
        return state, metrics | {"stop": jnp.any(batch["stop"]), "unreadable": jnp.sum(batch["unreadable"])}

    return jax.jit(
        with_messages,
        in_shardings=(replicated(mesh), batch_sharding(mesh)),
        out_shardings=(replicated(mesh), replicated(mesh)),
        donate_argnums=0,
    )


def state_layout(mesh: Mesh, state: PyTree) -> PyTree:
    """Return a state's shapes, from `jax.eval_shape`, with a whole copy on every device."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)),
        state,
    )


def batch_layout(
    mesh: Mesh | AbstractMesh, batch_size: int, arrays: Mapping[str, tuple[int, ...]], *, parts: int = 1
) -> dict[str, jax.ShapeDtypeStruct]:
    """Lay out a global batch on a mesh.

    Args:
        mesh: the devices.
        batch_size: rows of every array.
        arrays: the shape of one row of each, all uint8.
        parts: into how many the batch is cut, one after the other.

    Returns:
        The shapes of the arrays and of the messages, cut along the first axis.

    Raises:
        InputError: the batch cannot be cut into equal parts for the devices.
    """
    if batch_size % (mesh.size * parts):
        times = f" times accumulate={parts}" if parts > 1 else ""
        raise InputError(f"batch_size={batch_size}: must be a multiple of {mesh.size} devices{times}")
    shapes = {name: ((batch_size, *row), jnp.uint8) for name, row in arrays.items()}
    shapes |= {name: ((batch_size,), dtype) for name, dtype in MESSAGES.items()}
    return {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=batch_sharding(mesh))
        for name, (shape, dtype) in shapes.items()
    }
