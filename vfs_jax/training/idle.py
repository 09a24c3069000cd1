"""Idle devices: the time in which no step is in flight on them, shared out among what the next step waits for."""

import dataclasses
import time
from concurrent.futures import Future, ThreadPoolExecutor

import jax
from jaxtyping import PyTree

CAUSES = ("records", "transfer", "host")


@dataclasses.dataclass(frozen=True)
class Milestones:
    """When a step got what it needs, in seconds of one clock, in this order.

    Attributes:
        loaded: its batch had been read and decoded.
        placed: its batch had been handed to JAX.
        dispatched: the step too.
        arrived: its batch had been seen on the devices.
    """

    loaded: float
    placed: float
    dispatched: float
    arrived: float


@dataclasses.dataclass(frozen=True)
class Flight:
    """A step that is over.

    Attributes:
        ended: when its outputs were there, by time.monotonic.
        idle: seconds between the end of the step before and its own start, by CAUSES.
    """

    ended: float
    idle: dict[str, float]


def idle_time(free: float, step: Milestones) -> dict[str, float]:
    """Share out the time between two steps.

    Args:
        free: when the devices had finished the step before.
        step: the next one.

    Returns:
        Seconds in which nothing was in flight, by CAUSES: until the batch was loaded, while it travelled, and while
        the loop was about something else.

    >>> idle_time(10.0, Milestones(loaded=12.0, placed=13.0, dispatched=13.5, arrived=14.5))
    {'records': 2.0, 'transfer': 2.0, 'host': 0.5}
    >>> idle_time(20.0, Milestones(loaded=12.0, placed=13.0, dispatched=13.5, arrived=20.0))
    {'records': 0.0, 'transfer': 0.0, 'host': 0.0}
    """
    waited = dict.fromkeys(CAUSES, 0.0)
    milestones = (step.loaded, step.placed, step.dispatched, step.arrived)
    for cause, reached in zip(("records", "transfer", "host", "transfer"), milestones, strict=True):
        waited[cause] += max(0.0, reached - free)
        free = max(free, reached)
    return waited


class IdleWatch:
    """Watches steps from a thread of its own, which alone waits for them, so that the loop is not held up.

    A step counts as in flight from when it is dispatched, its batch is on the devices and the step before has ended,
    until its outputs are there. What the devices themselves wait for within a step (other processes, the memory, the
    launch of a kernel) is not seen.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="idle")
        self._free = time.monotonic()

    def leave_out(self, seconds: float) -> None:
        """Do not count so many of the seconds since the last step; to be called while none is in flight."""
        self._free += seconds

    def add(self, loaded: float, placed: float, batch: PyTree, outputs: PyTree) -> Future[Flight]:
        """Watch a step that was just dispatched.

        Args:
            loaded: see `Milestones`.
            placed: see `Milestones`.
            batch: the arrays that it reads.
            outputs: arrays that it computes.

        Returns:
            Its flight, once it is over.
        """
        return self._thread.submit(self._watch, loaded, placed, time.monotonic(), batch, outputs)

    def close(self) -> None:
        """End the thread, after the steps that it watches."""
        self._thread.shutdown()

    def _watch(self, loaded: float, placed: float, dispatched: float, batch: PyTree, outputs: PyTree) -> Flight:
        jax.block_until_ready(batch)
        idle = idle_time(self._free, Milestones(loaded, placed, dispatched, time.monotonic()))
        jax.block_until_ready(outputs)
        self._free = time.monotonic()
        return Flight(self._free, idle)
