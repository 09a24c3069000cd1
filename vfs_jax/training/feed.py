"""Batches on their way to the devices: the next ones are loaded and travel while a step computes."""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from vfs_jax.training.program import Batch, HostBatch

# Batches on the devices beside those of the steps in flight. A GPU's copies may queue behind the steps that were given
# to it before (XLA's client has one stream a GPU for both): with one batch ahead every step would wait for its own.
AHEAD = 2


@dataclasses.dataclass(frozen=True)
class PlacedBatch:
    """One process's part of a batch.

    Attributes:
        arrays: on the devices or under way to them.
        ids: of its records.
        unreadable: "id: why" of records that had to be replaced.
        loaded: when it had been loaded, by time.monotonic.
        placed: when its arrays had been handed to JAX, which may copy them still.
    """

    arrays: Batch
    ids: list[str]
    unreadable: list[str]
    loaded: float
    placed: float


class Feed:
    """Batches in their order, the next AHEAD of which a thread loads and places before they are asked for.

    Nothing is stored of how far it has come: a run that goes on starts from the steps that were taken. JAX reads the
    arrays of a batch in the background, so nobody may write them again.

    Args:
        batches: taken from by that thread alone.
        place: gives a batch's arrays to the devices.

    Example:
        >>> batches = [{"x": [x], "id": [f"clip{x}"], "unreadable": []} for x in range(9)]
        >>> feed = Feed(iter(batches), lambda batch: {"x": -batch["x"][0]})
        >>> next(feed).arrays, next(feed).ids
        ({'x': 0}, ['clip1'])
        >>> feed.close()
    """

    def __init__(self, batches: Iterator[HostBatch], place: Callable[[HostBatch], Batch]):
        self._batches = batches
        self._place = place
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._coming: collections.deque[Future[PlacedBatch]] = collections.deque()
        for _ in range(AHEAD):
            self._load_another()

    def __iter__(self) -> Iterator[PlacedBatch]:
        return self

    def __next__(self) -> PlacedBatch:
        """Wait for the next batch. What went wrong while it was loaded or placed is raised here, at its turn."""
        self._load_another()
        return self._coming.popleft().result()

    def close(self) -> None:
        """End the thread, after the batch that it is at."""
        self._thread.shutdown(cancel_futures=True)

    def _load_another(self) -> None:
        self._coming.append(self._thread.submit(self._load))

    def _load(self) -> PlacedBatch:
        batch = next(self._batches)
        loaded = time.monotonic()
        return PlacedBatch(self._place(batch), batch["id"], batch["unreadable"], loaded, placed=time.monotonic())
