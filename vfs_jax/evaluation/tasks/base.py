"""What every task offers, and the tables that are written of its scores."""

import csv
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from jaxtyping import Array

from vfs_jax.errors import InputError
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import Settings


@dataclasses.dataclass(frozen=True)
class SequenceScore:
    """What a task finds out about one sequence.

    Attributes:
        name: of the sequence.
        value: its primary metric, a share 0..1, NaN where nothing counts.
        curve: a share a frame, from frame 1 on.
        rows: lines of the task's table of details.
        details: what the task's `summary` needs.
    """

    name: str
    value: float
    curve: np.ndarray
    rows: Sequence[Mapping[str, object]]
    details: Any


class ScoredTask(Protocol):
    """One task whose results can be scored and shown, whoever made them.

    Attributes:
        folder: of a run's folder, which holds the results.
        table: name of the table of details.
        columns: of the summary.
        primary_metric: what `SequenceScore.value` is.
        frame_value: what `SequenceScore.curve` holds.
        explanation: of the columns, a sentence or two.
    """

    folder: ClassVar[str]
    table: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    primary_metric: ClassVar[str]
    frame_value: ClassVar[str]
    explanation: ClassVar[str]

    def open(self, data: str, *, split: str, year: int, sequences: Sequence[str]) -> list[Any]:
        """Return the sequences of a data set."""

    def output(self, results: Path, sequence: Any) -> Path:
        """Return the folder or file that holds the results of one sequence."""

    def score(self, results: Path, sequence: Any) -> SequenceScore:
        """Score the results of one sequence."""

    def summary(self, scores: Sequence[SequenceScore]) -> dict[str, float]:
        """Return the columns over all sequences."""

    def ground_truth(self, sequence: Any, index: int) -> np.ndarray:
        """Return the truth of a frame, to draw: a mask uint8 [h, w], points (x, y) [n, 2] in pixels, or a box [4]."""

    def predictions(self, results: Path, sequence: Any, indices: Iterable[int]) -> list[np.ndarray]:
        """Return what was found in some frames, likewise."""


class Task(ScoredTask, Protocol):
    """One label-propagation task."""

    def write(
        self, features: Iterable[Array], sequence: Any, output: Path, settings: Settings, layout: Layout
    ) -> Iterator[Callable[[], object]]:
        """Propagate along the features of one sequence; yields a job a frame that writes something below `output`."""


def existing_file(path: Path) -> Path:
    """Return the path; raises InputError where there is no such file of results."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; every frame that counts needs its result")
    return path


def write_tables(folder: Path, task: ScoredTask, scores: Sequence[SequenceScore]) -> None:
    """Write global.csv and the task's table of details (rows in column Sequence), at full precision."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "global.csv", task.columns, [task.summary(scores)])
    write_csv(folder / task.table, ["Sequence", *task.columns], [row for score in scores for row in score.rows])


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table, floats as repr: they read back the same."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def format_table(task: ScoredTask, scores: Sequence[SequenceScore]) -> str:
    """Return the table to print, in percent: the lines of the table of details, and one for all."""
    rows: list[Mapping[str, object]] = [row for score in scores for row in score.rows]
    rows.append({"Sequence": "all", **task.summary(scores)})
    first = max(len(str(row["Sequence"])) for row in rows)
    widths = [max(len(column), 6) for column in task.columns]
    lines = [" ".join([" " * first, *(f"{c:>{w}}" for c, w in zip(task.columns, widths, strict=True))])]
    for row in rows:
        values = (f"{100 * float(str(row[c])):{w}.1f}" for c, w in zip(task.columns, widths, strict=True))
        lines.append(" ".join([f"{row['Sequence']!s:{first}}", *values]))
    return "\n".join(lines)


def results_folder(results: str | os.PathLike[str], task: ScoredTask) -> Path:
    """Return where a folder of results holds those of the sequences.

    In the task's own folder where there is one, as vfs-eval writes, else in RESULTS itself.

    Raises:
        InputError: there is no such folder.
    """
    root = Path(results)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder of results")
    return root / task.folder if (root / task.folder).is_dir() else root
