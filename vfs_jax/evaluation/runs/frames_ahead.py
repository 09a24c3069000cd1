"""Read the frames of a sequence before they are asked for, in batches as they are encoded."""

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from vfs_jax.evaluation.propagation.features import FrameBatch, prepare_frame
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.tasks.base import LabeledSequence

# Frames of a sequence that are read at a time, in two batches at least: one is read while the other is encoded.
FRAMES_AHEAD = 8


class FramesAhead:
    """Batches of a sequence's frames, in time order, the next of which a pool reads already.

    A frame is decoded, resized and laid into its batch by one thread. What goes wrong is raised with its batch.
    """

    def __init__(self, pool: ThreadPoolExecutor, sequence: LabeledSequence, layout: Layout, batch_frames: int):
        """Begin to read.

        Args:
            pool: whose threads read.
            sequence: whose frames are read.
            layout: of the sequence.
            batch_frames: frames of a batch; the last batch repeats the last frame.
        """
        self._pool, self._sequence, self._layout, self._size = pool, sequence, layout, batch_frames
        self._starts = iter(range(0, len(sequence), batch_frames))
        self._pending: deque[tuple[FrameBatch, list[Future[None]]]] = deque()
        for start in itertools.islice(self._starts, max(2, -(-FRAMES_AHEAD // batch_frames))):
            self._begin(start)

    def __iter__(self) -> Iterator[FrameBatch]:
        """Give the batches, and begin to read another one for each."""
        while self._pending:
            batch, reading = self._pending.popleft()
            for future in reading:
                future.result()
            for start in itertools.islice(self._starts, 1):
                self._begin(start)
            count = len(batch.numbers)
            batch.frames[count:] = batch.frames[count - 1]
            yield batch

    def _begin(self, start: int) -> None:
        numbers = range(start, min(start + self._size, len(self._sequence)))
        frames = self._layout.room_for(self._size)
        reading = [self._pool.submit(self._read, number, frames[number - start]) for number in numbers]
        self._pending.append((FrameBatch(frames, numbers), reading))

    def _read(self, number: int, place: np.ndarray) -> None:
        place[...] = prepare_frame(self._sequence.frame(number), self._layout)
