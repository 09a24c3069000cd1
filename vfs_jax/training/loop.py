"""The training loop, of any network: where program, data, checkpoints, guards and logs meet."""

import contextlib
import functools
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from vfs_jax.distributed import from_first, meet
from vfs_jax.models.resnet import Variables
from vfs_jax.training.checkpoints import Checkpoints
from vfs_jax.training.feed import Feed
from vfs_jax.training.guards import Termination, Watchdog
from vfs_jax.training.logs import duration
from vfs_jax.training.monitor import Monitor
from vfs_jax.training.options import LoopOptions
from vfs_jax.training.program import MESSAGES, Batch, HostBatch, Plan, Program
from vfs_jax.training.sharding import put_batch
from vfs_jax.training.state import TrainState

Evaluate = Callable[[Variables, int], dict[str, float]]


def train(
    program: Program,
    plan: Plan,
    options: LoopOptions,
    workdir: Path,
    *,
    evaluate: Evaluate | None = None,
) -> TrainState:
    """Train until plan.steps, from the newest checkpoint in the workdir where there is one.

    All processes of a run call this together; process 0 logs and evaluates.

    Args:
        program: what runs on the devices.
        plan: what is read, and for how long.
        options: how the run is saved, logged and guarded.
        workdir: exists, and belongs to this run (the command claims it).
        evaluate: called as evaluate(variables, step) every options.eval_every steps and after the last one; what it
            returns is logged.

    Returns:
        The state after the last step.

    Raises:
        InputError: data or checkpoints cannot be used, or a guard ended the run.
        SystemExit: SIGTERM came; the state is saved.
    """
    meet("train", options.watchdog_seconds)
    # The data and the checkpoints come first: where they cannot be used, nobody waits for the compiler.
    checkpoints = Checkpoints(workdir, keep=options.keep_checkpoints)
    state = checkpoints.restore(program.state_shapes) or program.create()
    start = int(state.step)
    batches = itertools.islice(plan.batches(start), max(0, plan.steps - start))
    feed = Feed(batches, functools.partial(place_records, program))
    # The same ones serve step after step: a copy to a GPU, however small, may wait for the steps in flight.
    messages = functools.lru_cache(maxsize=2)(functools.partial(place_messages, program))
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

    def is_due(step: int, every: int) -> bool:
        return every > 0 and (step % every == 0 or step == plan.steps)

    monitor = Monitor(plan, options, workdir, start=start, step_flops=flops)
    with (
        contextlib.closing(checkpoints),
        Watchdog(options.watchdog_seconds) as watchdog,  # its time runs while the threads below end
        contextlib.closing(monitor),
        contextlib.closing(feed),
        Termination() as termination,
    ):

        def evaluate_if_due(step: int) -> None:
            """Evaluate the state, which is saved, on process 0, if it is not evaluated yet; the others wait."""
            if evaluate is None or not is_due(step, options.eval_every):
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
        for step in range(start + 1, plan.steps + 1):
            watchdog.alive()
            batch = next(feed)
            arrays = {**batch.arrays, **messages(termination.asked, monitor.unreadable(step, batch.unreadable))}
            with jax.transfer_guard("disallow"):
                state, metrics = train_step(state, arrays)
            monitor.add(step, metrics, batch)
            evaluation_is_due = evaluate is not None and is_due(step, options.eval_every)
            if monitor.stop or evaluation_is_due or is_due(step, options.checkpoint_every):
                monitor.finish()
                checkpoints.save(state)
                if monitor.stop and step < plan.steps:
                    sys.exit(Termination.STATUS)
                evaluate_if_due(step)
    return state


def place_records(program: Program, batch: HostBatch) -> Batch:
    """Place the arrays of a batch that the program takes, without the messages, which a process knows only later."""
    return put_batch(program.mesh, {name: batch[name] for name in program.batch_shapes if name not in MESSAGES})


def place_messages(program: Program, stop: bool, unreadable: int) -> Batch:
    """Place what this process tells all: MESSAGES, in the first of its rows."""
    rows = program.batch_shapes["stop"].shape[0] // jax.process_count()
    messages = {name: np.zeros(rows, dtype) for name, dtype in MESSAGES.items()}
    messages["stop"][0], messages["unreadable"][0] = stop, unreadable
    return put_batch(program.mesh, messages)
