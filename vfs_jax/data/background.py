"""Loading in the background: batches made ahead of time, by threads or by worker processes that end with this one."""

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from typing import TypeVar

import grain
from absl import flags

B = TypeVar("B")


def load_in_background(batches: Sequence[B], num_workers: int) -> Iterator[B]:
    """Hand out the items of a sequence in order, while the next ones are made.

    Args:
        batches: any item may be asked for at any time; pickled to the workers where there are any.
        num_workers: worker processes; 0 works with threads of this process.

    >>> [batch for batch in load_in_background([3, 1, 2], num_workers=0)]
    [3, 1, 2]
    """
    if num_workers and not flags.FLAGS.is_parsed():  # grain's worker processes read absl's global flags
        flags.FLAGS.mark_as_parsed()
    threads = min(4, os.cpu_count() or 1)
    dataset = (
        grain.MapDataset.source(batches)
        .to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads))
        .mp_prefetch(grain.MultiprocessingOptions(num_workers=num_workers), worker_init_fn=_end_with_parent)
    )
    return iter(dataset)


def _end_with_parent(index: int, count: int) -> None:
    """End this worker process when the one that reads from it is gone; after a kill it would wait for ever."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
