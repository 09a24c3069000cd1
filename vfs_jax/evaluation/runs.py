"""Evaluation of a list of videos into a folder: what is finished is kept, so that an interrupted run goes on."""

import csv
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Array

from vfs_jax.data.video_labels import MaskSequence, read_frame, write_index_mask
from vfs_jax.evaluation.label_tasks import Settings, propagate_masks
from vfs_jax.models.resnet import Variables

_A = TypeVar("_A")
_B = TypeVar("_B")
_AHEAD = 8  # frames decoded ahead of the network, and masks waiting to be written


def finished(folder: Path, sequence: MaskSequence) -> bool:
    """Whether a run's folder holds all masks of a sequence."""
    return (folder / "masks" / sequence.name).is_dir()


def write_masks(
    variables: Variables,
    sequence: MaskSequence,
    folder: Path,
    settings: Settings,
    *,
    on_frame: Callable[[], object] = lambda: None,
) -> None:
    """Propagates the first mask of a sequence and writes FOLDER/masks/SEQUENCE/00000.png, ...

    The sequence's folder appears under its name when all its masks are written; FOLDER/timings.csv gets a line.

    Args:
      variables: of a ResNet.
      sequence: with at least a first mask.
      folder: of the run.
      settings: of the propagation.
      on_frame: called after every written mask.
    """
    start = time.perf_counter()
    final = folder / "masks" / sequence.name
    partial = final.with_name(f".{sequence.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)

    def write(path: Path, mask: Array | np.ndarray) -> None:
        write_index_mask(path, np.asarray(mask))  # waits for the device
        on_frame()

    with ThreadPoolExecutor(2) as readers, ThreadPoolExecutor(2) as writers:
        frames = _ahead(readers, read_frame, sequence.frames)
        masks = propagate_masks(variables, frames, sequence.mask(0), settings)
        jobs = ((partial / f"{frame.stem}.png", mask) for frame, mask in zip(sequence.frames, masks, strict=True))
        for _ in _ahead(writers, lambda job: write(*job), jobs):
            pass
    _append_timing(folder / "timings.csv", sequence, time.perf_counter() - start)  # first: what is finished is timed
    partial.rename(final)


def _ahead(pool: ThreadPoolExecutor, function: Callable[[_A], _B], items: Iterable[_A]) -> Iterator[_B]:
    """function(item) for every item, in order, with at most _AHEAD of them under way or waiting."""
    pending: deque[Future[_B]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > _AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _append_timing(path: Path, sequence: MaskSequence, seconds: float) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(["Sequence", "Frames", "Seconds"])
        writer.writerow([sequence.name, len(sequence), f"{seconds:.3f}"])


def read_timings(folder: Path) -> dict[str, tuple[int, float]]:
    """Frames and seconds of every finished sequence of a run, by name."""
    path = folder / "timings.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["Sequence"]: (int(row["Frames"]), float(row["Seconds"])) for row in csv.DictReader(file)}
