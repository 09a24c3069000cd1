"""The training loop: where options, data, step, checkpoints, guards and logs meet."""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vfs_jax.data.clips import clip_batches
from vfs_jax.distributed import from_first, meet
from vfs_jax.training.checkpoints import Checkpoints
from vfs_jax.training.guards import Termination, Watchdog
from vfs_jax.training.logs import duration
from vfs_jax.training.monitor import Monitor
from vfs_jax.training.options import TrainOptions
from vfs_jax.training.program import make_program
from vfs_jax.training.sharding import make_mesh, put_batch
from vfs_jax.training.state import TrainState

Evaluate = Callable[[dict[str, Any], int], dict[str, float]]


def train(
    options: TrainOptions,
    workdir: Path,
    records: Sequence[Mapping[str, Any]],
    *,
    evaluate: Evaluate | None = None,
) -> TrainState:
    """Train until options.steps, from the newest checkpoint in the workdir where there is one.

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
    meet("train", options.watchdog_seconds)
    mesh = make_mesh()
    program = make_program(options, mesh)
    # The data and the checkpoints come first: where they cannot be used, nobody waits for the compiler.
    checkpoints = Checkpoints(workdir, keep=options.keep_checkpoints)
    state = checkpoints.restore(program.state_shapes) or program.create()
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
    traced = program.trace()
    train_step = traced.lower().compile()
    flops = program.flops(traced)
    if jax.process_index() == 0:
        print(
            f"compiled a step of {flops / 1e9:.3g} GFLOP in {duration(time.monotonic() - clock)}; "
            f"starting after step {start}",
            flush=True,
        )

    monitor = Monitor(options, workdir, start=start, num_records=len(records), step_flops=flops)
    with (
        contextlib.closing(checkpoints),
        contextlib.closing(monitor),
        Watchdog(options.watchdog_seconds) as watchdog,
        Termination() as termination,
    ):

        def evaluate_if_due(step: int) -> None:
            """Evaluate the state, which is saved, on process 0, if it is not evaluated yet; the others wait."""
            if evaluate is None or not _is_due(step, options.eval_every, options):
                return

            def work() -> str:
                if not monitor.is_evaluated(step):
                    variables = jax.tree.map(lambda leaf: leaf.addressable_data(0), state.variables)
                    monitor.evaluation(step, evaluate(variables, step))
                return ""

            watchdog.alive()
            with monitor.paused(), termination.at_once():
                from_first(f"evaluate {step}", work)

        meet("compiled", options.watchdog_seconds)
        if start > 0:  # the run may have been ended while it evaluated
            evaluate_if_due(start)
        for step in range(start + 1, options.steps + 1):
            watchdog.alive()
            with monitor.waiting():
                batch = next(batches)
            stop, unreadable = (np.zeros(len(batch["id"]), dtype) for dtype in (bool, np.int32))
            stop[0], unreadable[0] = termination.asked, monitor.unreadable(batch)
            on_devices = put_batch(mesh, {"views": batch["views"], "stop": stop, "unreadable": unreadable})
            with jax.transfer_guard("disallow"):
                state, metrics = train_step(state, on_devices)
            monitor.add(step, metrics, batch["id"])
            evaluation_is_due = evaluate is not None and _is_due(step, options.eval_every, options)
            if monitor.stop or evaluation_is_due or _is_due(step, options.checkpoint_every, options):
                monitor.finish()
                checkpoints.save(state)
                if monitor.stop and step < options.steps:
                    sys.exit(Termination.STATUS)
                evaluate_if_due(step)
    return state


def _is_due(step: int, every: int, options: TrainOptions) -> bool:
    return every > 0 and (step % every == 0 or step == options.steps)
