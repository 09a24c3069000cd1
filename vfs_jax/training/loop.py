"""The training loop: where options, data, step, checkpoints, guards and logs meet."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfs_jax.data.clips import clip_batches
from vfs_jax.errors import InputError
from vfs_jax.training.checkpoints import Checkpoints
from vfs_jax.training.flops import step_flops
from vfs_jax.training.guards import Termination, Watchdog
from vfs_jax.training.logs import duration
from vfs_jax.training.monitor import Monitor
from vfs_jax.training.optimizer import cosine, sgd
from vfs_jax.training.options import TrainOptions
from vfs_jax.training.sharding import batch_sharding, make_mesh, put_batch, replicated
from vfs_jax.training.state import TrainState, init_state
from vfs_jax.training.step import compile_train_step, make_train_step

Evaluate = Callable[[dict[str, Any], int], dict[str, float]]


def train(
    options: TrainOptions,
    workdir: Path,
    records: Sequence[Mapping[str, Any]],
    *,
    evaluate: Evaluate | None = None,
) -> TrainState:
    """Trains until options.steps, from the newest checkpoint in the workdir where there is one.

    All processes of a run call this together; process 0 logs and evaluates.

    Args:
      options: of the run.
      workdir: exists, and belongs to these options (the command claims it).
      records: the clips; see `vfs_jax.data.records`.
      evaluate: called as evaluate(variables, step) every options.eval_every steps and after the last one; what it
        returns is logged.

    Returns:
      The state after the last step.

    Raises:
      InputError: data or checkpoints cannot be used, or a guard ended the run.
      SystemExit: SIGTERM came; the state is saved.
    """
    mesh = make_mesh()
    if options.batch_size % (mesh.size * options.accumulate):
        raise InputError(
            f"--config.batch_size={options.batch_size}: must be a multiple of {mesh.size} devices times "
            f"accumulate={options.accumulate}"
        )
    schedule = cosine(options.learning_rate, options.steps)
    optimizer = sgd(schedule, momentum=options.momentum, weight_decay=options.weight_decay)
    step_function = make_train_step(
        depth=options.depth,
        seed=options.seed,
        learning_rate=schedule,
        optimizer=optimizer,
        color=options.color_augmentation if options.color else None,
        symmetric=options.symmetric,
        dtype=jnp.dtype(options.dtype),
        accumulate=options.accumulate,
        remat=options.remat,
    )
    create = jax.jit(lambda: init_state(options.seed, options.depth, optimizer), out_shardings=replicated(mesh))
    state_shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)), jax.eval_shape(create)
    )
    # The data and the checkpoints come first: where they cannot be used, nobody waits for the compiler.
    checkpoints = Checkpoints(workdir, keep=options.keep_checkpoints)
    state = checkpoints.restore(state_shapes) or create()
    start = int(state.step)
    batches = clip_batches(
        records,
        batch_size=options.batch_size,
        segments=options.segments,
        image_size=options.image_size,
        min_area=options.min_area,
        seed=options.seed,
        start_step=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=options.num_workers,
    )
    clock = time.monotonic()
    lowered = compile_train_step(step_function, mesh).lower(state_shapes, _batch_shapes(options, mesh))
    train_step = lowered.compile()
    if jax.process_index() == 0:
        work = f"{step_flops(lowered) / 1e9:.3g} GFLOP"
        print(
            f"compiled a step of {work} in {duration(time.monotonic() - clock)}; starting after step {start}",
            flush=True,
        )

    monitor = Monitor(options, workdir, start=start, num_records=len(records), step_flops=step_flops(lowered))
    with Watchdog(options.watchdog_seconds) as watchdog, Termination() as termination:

        def evaluate_if_due(step: int) -> None:
            """Evaluates the state, which is saved, on process 0; the others wait in their next step."""
            if evaluate is None or not _is_due(step, options.eval_every, options) or jax.process_index() != 0:
                return
            watchdog.alive()
            with monitor.paused(), termination.at_once():
                variables = jax.tree.map(lambda leaf: leaf.addressable_data(0), state.variables)
                monitor.evaluation(step, evaluate(variables, step))

        if start > 0 and not monitor.is_evaluated(start):  # the run was ended while it evaluated
            evaluate_if_due(start)
        for step in range(start + 1, options.steps + 1):
            watchdog.alive()
            with jax.transfer_guard("disallow"):
                with monitor.waiting():
                    batch = next(batches)
                stop = np.full(len(batch["id"]), termination.asked)
                state, metrics = train_step(state, put_batch(mesh, {"views": batch["views"], "stop": stop}))
            monitor.add(step, metrics, batch)
            evaluation_is_due = evaluate is not None and _is_due(step, options.eval_every, options)
            if monitor.stop or evaluation_is_due or _is_due(step, options.checkpoint_every, options):
                monitor.finish()
                checkpoints.save(state)
                if monitor.stop and step < options.steps:
                    sys.exit(Termination.STATUS)
                evaluate_if_due(step)
    monitor.close()
    checkpoints.close()
    return state


def _is_due(step: int, every: int, options: TrainOptions) -> bool:
    return every > 0 and (step % every == 0 or step == options.steps)


def _batch_shapes(options: TrainOptions, mesh: jax.sharding.Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    size = options.image_size
    views = (options.batch_size, 2, options.segments // 2, size, size, 3)
    return {
        "views": jax.ShapeDtypeStruct(views, jnp.uint8, sharding=batch_sharding(mesh)),
        "stop": jax.ShapeDtypeStruct(views[:1], jnp.bool, sharding=batch_sharding(mesh)),
    }
