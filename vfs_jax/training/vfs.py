"""VFS as a run of the training loop: from options to a program, from clip records to batches."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vfs_jax.data.clips import clip_batches
from vfs_jax.data.record_fields import ClipRecord
from vfs_jax.models import VFS, init_variables
from vfs_jax.models.heads import head_widths
from vfs_jax.training.contrastive import init_queue
from vfs_jax.training.guards import Collapse
from vfs_jax.training.loop import Evaluate, train
from vfs_jax.training.optimizer import cosine, sgd
from vfs_jax.training.options import TrainOptions
from vfs_jax.training.program import Plan, Program, TrainStep, batch_layout, state_layout
from vfs_jax.training.sharding import make_mesh, replicated
from vfs_jax.training.state import TrainState, init_state
from vfs_jax.training.step import make_train_step


def train_vfs(
    options: TrainOptions,
    workdir: Path,
    records: Sequence[ClipRecord],
    *,
    evaluate: Evaluate | None = None,
) -> TrainState:
    """Train VFS on clips; see `vfs_jax.training.loop.train`.

    Args:
        options: of the run.
        workdir: exists, and belongs to these options (the command claims it).
        records: the clips; see `vfs_jax.data.records`.
        evaluate: called with the variables of VFS.

    Returns:
        The state after the last step.

    Raises:
        InputError: data or checkpoints cannot be used, or a guard ended the run.
        SystemExit: SIGTERM came; the state is saved.
    """
    program, plan = make_program(options, make_mesh()), make_plan(options, records)
    return train(program, plan, options, workdir, evaluate=evaluate)


def make_plan(options: TrainOptions, records: Sequence[ClipRecord]) -> Plan:
    """Plan what a run reads and what its log says.

    Args:
        options: of the run.
        records: the clips.
    """
    return Plan(
        steps=options.steps,
        batches=lambda start: clip_batches(
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
            span_seconds=options.span_seconds,
            same_frames=options.same_frames,
        ),
        num_records=len(records),
        batch_size=options.batch_size,
        unit="clips",
        progress="std {embedding_std:.2f}",
        watch=[Collapse(options.collapse_below, options.stop_below).check],
    )


def make_program(options: TrainOptions, mesh: Mesh) -> Program:
    """Lay out the state and the step of a run on a mesh.

    Args:
        options: of the run.
        mesh: from `make_mesh`.

    Returns:
        The program; its batches have "views" uint8 [b, 2, t, h, w, 3], as `clip_batches` gives them.

    Raises:
        InputError: the batch cannot be cut into equal parts for the devices.
    """
    schedule = cosine(options.learning_rate, options.steps)
    optimizer = sgd(schedule, momentum=options.momentum, weight_decay=options.weight_decay, decay_all=options.decay_all)

    def step_of(options: TrainOptions) -> TrainStep:
        return make_train_step(
            VFS(options.depth, dtype=jnp.dtype(options.dtype)),
            seed=options.seed,
            learning_rate=schedule,
            optimizer=optimizer,
            color=options.color_augmentation if options.color else None,
            symmetric=options.symmetric,
            temperature=None if options.negatives == "none" else options.temperature,
            encoder_momentum=options.encoder_momentum,
            accumulate=options.accumulate,
            remat=options.remat,
        )

    def init() -> TrainState:
        variables, queue = init_variables(options.seed, options.depth, options.branch_scale), None
        if options.negatives == "queue":
            width, _ = head_widths(options.depth)
            queue = init_queue(options.seed, variables, size=options.queue_size, width=width)
        return init_state(variables, optimizer.init(variables["params"]), queue)

    views = (2, options.segments // 2, options.image_size, options.image_size, 3)
    return Program(
        mesh=mesh,
        create=jax.jit(init, out_shardings=replicated(mesh)),
        step=step_of(options),
        state_shapes=state_layout(mesh, jax.eval_shape(init)),
        batch_shapes=batch_layout(mesh, options.batch_size, {"views": views}, parts=options.accumulate),
        counted_step=step_of(dataclasses.replace(options, remat=False)) if options.remat else None,
    )
