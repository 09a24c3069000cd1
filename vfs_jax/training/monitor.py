"""The monitor of a run: it reads the metrics of every step one step late, asks the guards, and logs."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import jax

from vfs_jax.training import guards
from vfs_jax.training.feed import PlacedBatch
from vfs_jax.training.flops import utilization
from vfs_jax.training.idle import CAUSES, Flight, IdleWatch
from vfs_jax.training.logs import Progress, RunLog
from vfs_jax.training.options import LoopOptions
from vfs_jax.training.program import Metrics, Plan


class Monitor:
    """Takes the metrics of every step.

    Reading metrics waits for their step. They are read when the next step is under way, so that the devices always have
    work, and the host is never more than one step ahead.

    Attributes:
        stop: whether a process has asked all to stop, in a step that is finished; all learn it at the same step.
    """

    def __init__(self, plan: Plan, options: LoopOptions, workdir: Path, *, start: int, step_flops: float):
        """Open the logs.

        Args:
            plan: what is read, and what it is called.
            options: limits of the guards, and how often to log.
            workdir: where to.
            start: steps taken so far.
            step_flops: floating-point operations of one step over all devices.
        """
        self.stop = False
        self._plan = plan
        self._options = options
        self._step_flops = step_flops
        self._log = RunLog(workdir, start_step=start) if jax.process_index() == 0 else None
        self._progress = Progress(plan.steps, unit=plan.unit, detail=plan.progress)
        bad_batches = workdir / f"nonfinite-{jax.process_index()}.json"
        self._nonfinite = guards.NonFinite(bad_batches, options.max_bad_steps)
        self._unreadable = guards.Unreadable(plan.num_records, options.max_unreadable)
        self._pending: tuple[int, Metrics, list[str], Future[Flight]] | None = None
        self._logged = start
        self._since = time.monotonic()
        self._watch = IdleWatch()
        self._idle = dict.fromkeys(CAUSES, 0.0)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time within, in which no step is in flight, out of the speed and of the idle time."""
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        self._since += seconds
        self._watch.leave_out(seconds)

    def unreadable(self, step: int, messages: list[str]) -> int:
        """Count the records that this process could not read in a pass over the data, those of a batch included.

        Args:
            step: that takes the batch; its first record tells the pass.
            messages: of the batch, "id: why".
        """
        return self._unreadable.count(messages, (step - 1) * self._plan.batch_size // self._plan.num_records)

    def add(self, step: int, metrics: Metrics, batch: PlacedBatch) -> None:
        """Take a step that was just dispatched, and finish the one before.

        Args:
            step: its number, the first is 1.
            metrics: of the step, still being computed.
            batch: that this process gave it.

        Raises:
            InputError: a guard ends the run.
        """
        flight = self._watch.add(batch.loaded, batch.placed, batch.arrays, metrics)
        self.finish()
        self._pending = step, metrics, batch.ids, flight

    def finish(self) -> None:
        """Wait for the last step that was added, check it and log it.

        Raises:
            InputError: a guard ends the run.
        """
        if self._pending is None:
            return
        step, metrics, ids, watched = self._pending
        self._pending = None
        flight = watched.result()
        for cause, seconds in flight.idle.items():
            self._idle[cause] += seconds
        numbers = {name: value.item() for name, value in jax.device_get(metrics).items()}
        self.stop |= numbers.pop("stop")
        self._unreadable.check(numbers["unreadable"])
        self._nonfinite.check(step, numbers.pop("finite"), ids)
        for watch in self._plan.watch:
            watch(step, numbers)
        if step % self._options.log_every == 0 or step == self._plan.steps:
            self._write(step, flight.ended, numbers)

    def evaluation(self, step: int, scores: dict[str, float]) -> None:
        """Log the scores of the weights after a step."""
        if self._log:
            self._log.evaluation(step, scores)

    def is_evaluated(self, step: int) -> bool:
        """Tell whether the weights after a step are evaluated, maybe by an earlier start of this run."""
        return self._log is not None and step in self._log.evaluated

    def close(self) -> None:
        """Close the logs and end the watch."""
        self._watch.close()
        if self._log:
            self._log.close()

    def _write(self, step: int, ended: float, numbers: dict[str, float]) -> None:
        seconds = ended - self._since
        rate = (step - self._logged) / seconds
        numbers |= {
            "steps_per_second": rate,
            f"{self._plan.unit}_per_second": rate * self._plan.batch_size,
            "device_idle": sum(self._idle.values()) / seconds,
            **{f"idle_for_{cause}": waited / seconds for cause, waited in self._idle.items()},
            "flops_per_second": rate * self._step_flops,
        }
        share = utilization(rate * self._step_flops, self._options.peak_flops)
        if share is not None:
            numbers["mfu"] = share
        if self._log:
            self._log.metrics(step, numbers)
            self._progress.show(step, numbers)
        self._since, self._logged, self._idle = ended, step, dict.fromkeys(CAUSES, 0.0)
