"""Evaluation of a list of videos into a folder: what is finished is kept, so that an interrupted run goes on."""

import csv
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from vfs_jax.evaluation.label_tasks import Settings
from vfs_jax.evaluation.task import Task
from vfs_jax.models.resnet import Variables

_A = TypeVar("_A")
_B = TypeVar("_B")
_AHEAD = 8  # frames decoded ahead of the network, and results waiting to be written


def finished(task: Task, folder: Path, sequence: Any) -> bool:
    """Whether a run's folder holds all results of a sequence."""
    return task.output(folder / task.folder, sequence).exists()


def propagate_sequence(
    task: Task,
    variables: Variables,
    sequence: Any,
    folder: Path,
    settings: Settings,
    *,
    on_frame: Callable[[], object] = lambda: None,
) -> None:
    """Propagates through one sequence while frames are read ahead and results are written behind.

    The sequence's results appear under their name when all are written; FOLDER/timings.csv gets a line.

    Args:
      task: what is propagated and written.
      variables: of a ResNet.
      sequence: of the task's data set.
      folder: of the run.
      settings: of the propagation.
      on_frame: called when a frame is done.
    """
    begin = time.perf_counter()
    work = folder / f".{task.folder}.partial"
    shutil.rmtree(work, ignore_errors=True)
    partial, final = task.output(work, sequence), task.output(folder / task.folder, sequence)
    with ThreadPoolExecutor(2) as readers, ThreadPoolExecutor(2) as writers:
        frames = _ahead(readers, sequence.frame, range(len(sequence)))
        jobs = task.write(variables, sequence, frames, partial, settings)
        for _ in _ahead(writers, lambda job: job(), jobs):
            on_frame()
    _append_timing(folder / "timings.csv", sequence.name, len(sequence), time.perf_counter() - begin)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial.rename(final)  # last: what is finished is whole, and timed
    shutil.rmtree(work)


def _ahead(pool: ThreadPoolExecutor, function: Callable[[_A], _B], items: Iterable[_A]) -> Iterator[_B]:
    """function(item) for every item, in order, with at most _AHEAD of them under way or waiting."""
    pending: deque[Future[_B]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > _AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _append_timing(path: Path, name: str, frames: int, seconds: float) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(["Sequence", "Frames", "Seconds"])
        writer.writerow([name, frames, f"{seconds:.3f}"])


def read_timings(folder: Path) -> dict[str, tuple[int, float]]:
    """Frames and seconds of every finished sequence of a run, by name."""
    path = folder / "timings.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["Sequence"]: (int(row["Frames"]), float(row["Seconds"])) for row in csv.DictReader(file)}
