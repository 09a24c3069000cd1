"""The training loop: where the configuration, the data, the step, the checkpoints and the logs meet."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from vfs_jax.data.clips import clip_batches
from vfs_jax.training import optimizer as optimizers
from vfs_jax.training.checkpoints import Checkpoints
from vfs_jax.training.logs import MetricLog, Progress
from vfs_jax.training.sharding import make_mesh, put_batch, replicated
from vfs_jax.training.state import TrainState, init_state
from vfs_jax.training.step import compile_train_step, make_train_step

# What may be changed when a run is continued: it does not touch the numbers that the run computes.
FREE_FIELDS = ("checkpoint_every", "keep_checkpoints", "log_every", "num_workers")


def train(
    config: ml_collections.ConfigDict,
    workdir: Path,
    records: Sequence[Mapping[str, Any]],
    *,
    evaluate: Callable[[dict[str, Any], int], dict[str, float]] | None = None,
) -> TrainState:
    """Trains until config.steps, from the newest checkpoint in the workdir where there is one.

    Args:
      config: as the files in configs/ define it.
      workdir: exists, and belongs to this configuration (apps claim it).
      records: the clips; see `vfs_jax.data.records`.
      evaluate: called as evaluate(variables, step) after the last step; what it returns is logged.

    Returns:
      The state after the last step.

    Raises:
      InputError: the data or the checkpoints cannot be used.
    """
    mesh = make_mesh()
    schedule = optimizers.cosine(config.learning_rate, config.steps)
    optimizer = optimizers.sgd(schedule, momentum=config.momentum, weight_decay=config.weight_decay)
    step_function = make_train_step(
        depth=config.depth,
        seed=config.seed,
        learning_rate=schedule,
        optimizer=optimizer,
        color=config.color_augmentation.to_dict() if config.color else None,
        dtype=jnp.dtype(config.dtype),
    )
    train_step = compile_train_step(step_function, mesh)
    create = jax.jit(lambda: init_state(config.seed, config.depth, optimizer), out_shardings=replicated(mesh))

    checkpoints = Checkpoints(workdir, keep=config.keep_checkpoints)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)), jax.eval_shape(create)
    )
    state = checkpoints.restore(shapes) or create()
    start = int(state.step)
    batches = clip_batches(
        records,
        batch_size=config.batch_size,
        segments=config.segments,
        image_size=config.image_size,
        min_area=config.min_area,
        seed=config.seed,
        start_step=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=config.num_workers,
    )
    log = MetricLog(workdir, start_step=start)
    progress = Progress(config.steps)
    clock = time.monotonic()
    logged, waited = start, 0.0
    for step in range(start + 1, config.steps + 1):
        asked = time.monotonic()
        views = put_batch(mesh, next(batches)["views"])
        waited += time.monotonic() - asked
        state, metrics = train_step(state, views)
        if step % config.log_every == 0 or step == config.steps:
            numbers = {name: float(value) for name, value in jax.device_get(metrics).items()}
            seconds = time.monotonic() - clock
            numbers |= {
                "steps_per_second": (step - logged) / seconds,
                "clips_per_second": (step - logged) * config.batch_size / seconds,
                "data_wait": waited / seconds,
            }
            log.write(step, numbers)
            progress.show(step, numbers)
            clock, logged, waited = time.monotonic(), step, 0.0
        if step % config.checkpoint_every == 0 or step == config.steps:
            checkpoints.save(state)
    if evaluate is not None:
        log.write(config.steps, evaluate(state.variables, config.steps))
    log.close()
    checkpoints.close()
    return state
