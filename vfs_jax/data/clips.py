"""Clip records to batches of two views, a pure function of the seed and the step."""

import dataclasses
import functools
import sys
from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np

from vfs_jax.data.background import load_in_background
from vfs_jax.data.images import decode_jpeg
from vfs_jax.data.record_fields import ClipRecord
from vfs_jax.data.sampling import draw_span, sample_frames
from vfs_jax.data.transforms import random_resized_crop
from vfs_jax.errors import InputError

# How many records are tried in place of one that cannot be read, before the run is given up.
_TRIES = 10


class ClipBatch(TypedDict):
    """One process's part of a batch; see `clip_batches`."""

    views: np.ndarray
    id: list[str]
    unreadable: list[str]


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, num_records: int) -> np.ndarray:
    """Return the order in which one pass visits the records: int64 [num_records]."""
    return np.random.default_rng((seed, 0, epoch)).permutation(num_records)


@dataclasses.dataclass(frozen=True)
class ClipBatches(Sequence[ClipBatch]):
    """The endless sequence of one process's batches: item i is step start_step + i, whoever asks for it and whenever.

    Position k of the run (k = step * batch_size + row) reads record k % n of pass k // n in that pass's order, with a
    random generator of its own, so that batches do not depend on workers, restarts or the number of processes. A batch
    may lie across the edge of two passes. Each process loads a contiguous part of every global batch.

    See `clip_batches` for the arguments.
    """

    records: Sequence[ClipRecord]
    batch_size: int
    segments: int
    image_size: int
    min_area: float
    seed: int
    start_step: int
    process_index: int
    process_count: int
    span_seconds: float = 0.0
    same_frames: float = 0.0

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> ClipBatch:  # type: ignore[override]  # slices have no use here
        rows = self.batch_size // self.process_count
        start = (self.start_step + index) * self.batch_size + self.process_index * rows
        size = self.image_size
        views = np.empty((rows, self.segments, size, size, 3), np.uint8)
        ids, unreadable = [], []
        for row in range(rows):
            record_id, failed = self._load(start + row, views[row])
            ids.append(record_id)
            unreadable += failed
        return {
            "views": views.reshape(rows, 2, self.segments // 2, size, size, 3),
            "id": ids,
            "unreadable": unreadable,
        }

    def _load(self, position: int, out: np.ndarray) -> tuple[str, list[str]]:
        """Fill out [segments, size, size, 3] with one clip; returns its id and what had to be passed over for it."""
        rng = np.random.default_rng((self.seed, 1, position))
        epoch, row = divmod(position, len(self.records))
        index = int(_order(self.seed, epoch, len(self.records))[row])
        failed: list[str] = []
        for _ in range(_TRIES):
            name = f"record {index}"
            try:
                record = self.records[index]
                name = str(record["id"])
                chosen = [record["frames"][frame] for frame in self._draw(rng, record)]
                for s, frame in enumerate(chosen):
                    random_resized_crop(rng, decode_jpeg(frame), self.image_size, min_area=self.min_area, out=out[s])
                return name, failed
            except (OSError, ValueError, RuntimeError) as error:
                failed.append(f"{name}: {error}")
                index = int(rng.integers(len(self.records)))
        raise InputError(f"{_TRIES} records in a row cannot be read; verify the data ({'; '.join(failed)})")

    def _draw(self, rng: np.random.Generator, record: ClipRecord) -> np.ndarray:
        """Draw the numbers of the frames of both views [segments]."""
        first, end = 0, len(record["frames"])
        if self.span_seconds:
            first, end = draw_span(rng, record["times"], self.span_seconds)
        frames = first + sample_frames(rng, end - first, self.segments)
        if self.same_frames and rng.uniform() < self.same_frames:
            frames = np.tile(frames[: self.segments // 2], 2)
        return frames


def check_segments(segments: int) -> None:
    """Raise InputError where the sampled frames of a clip cannot be shared between two views."""
    if segments < 2 or segments % 2:
        raise InputError(f"segments={segments}: must be even, since each of the two views takes half of the frames")


def clip_batches(
    records: Sequence[ClipRecord],
    *,
    batch_size: int,
    segments: int,
    image_size: int,
    min_area: float = 0.2,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    span_seconds: float = 0.0,
    same_frames: float = 0.0,
) -> Iterator[ClipBatch]:
    """Read, decodes, crops and mirrors clips in the background and hand them out batch by batch, without end.

    Only the sampled frames are decoded. View 1 holds the first half of the sampled frames, view 2 the second
    (VFS section 3.1); every frame has a crop of its own.

    Args:
        records: clips with "id" and "frames" (a list of JPEG bytes); pickled to the workers where there are any.
        batch_size: clips in a global batch.
        segments: frames sampled from a clip, even; each view has half of them.
        image_size: side of the crops in pixels.
        min_area: least share of a frame that a crop covers.
        seed: of the order of the records, the sampled frames and the crops.
        start_step: step of the first batch handed out.
        process_index: which part of every global batch to load.
        process_count: into how many parts global batches are cut.
        num_workers: worker processes; 0 works with threads of this process.
        span_seconds: the frames of a clip are sampled from a part of it that long, drawn anew each time; 0 takes all of
            it, as the release does.
        same_frames: share of the clips whose view 2 shows the frames of view 1 once more, in crops of their own.

    Yields:
        Dicts of "views" uint8 [b, 2, segments / 2, image_size, image_size, 3] with b = batch_size / process_count, "id"
        list of b str, and "unreadable", a list of what could not be read ("id: why") and was replaced by other records,
        the same ones whenever this batch is loaded. A function of (seed, step) alone.

    Raises:
        InputError: there are no records; or the sizes do not divide: segments by 2, batch_size by process_count.
    """
    if len(records) == 0:
        raise InputError("there are no clips to train on; prepare some videos first")
    check_segments(segments)
    if batch_size < 1 or batch_size % process_count:
        raise InputError(f"batch_size={batch_size}: must be a positive multiple of the {process_count} processes")
    batches = ClipBatches(
        *(records, batch_size, segments, image_size, min_area, seed, start_step, process_index, process_count),
        *(span_seconds, same_frames),
    )
    return load_in_background(batches, num_workers)
