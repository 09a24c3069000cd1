"""Interface of a task: how its data set is opened, its results written, scored and drawn; and tables of scores."""

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

import numpy as np

from vfs_jax.data.text import write_text
from vfs_jax.errors import InputError

if TYPE_CHECKING:  # scoring does without JAX, which takes a second to import
    from jaxtyping import Array

    from vfs_jax.evaluation.propagation.padding import Layout
    from vfs_jax.evaluation.propagation.settings import Settings


class LabeledSequence(Protocol):
    """One labeled video of a data set, whatever its labels are; `len` is the number of frames.

    Attributes:
        name: of the sequence, fit for a path below a folder.
        size: height and width of the frames.
        has_ground_truth: whether there is something to score against.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def size(self) -> tuple[int, int]: ...  # noqa: D102

    @property
    def has_ground_truth(self) -> bool: ...  # noqa: D102

    def __len__(self) -> int: ...

    def frame(self, index: int) -> np.ndarray:
        """Return one frame, RGB uint8 [h, w, 3]."""

    def cut(self, frames: int | None) -> Self:
        """Return the first frames alone; None keeps all."""


S = TypeVar("S", bound=LabeledSequence)


@dataclasses.dataclass(frozen=True)
class SequenceScore:
    """The score of one sequence.

    Attributes:
        name: of the sequence.
        value: its primary metric, a share 0..1, NaN where nothing counts.
        curve: a share a frame, from frame 1 on.
        rows: lines of the task's table of details.
        details: of the task, for its `summary`.
    """

    name: str
    value: float
    curve: np.ndarray
    rows: Sequence[Mapping[str, object]]
    details: Any


class ScoredTask(Protocol[S]):
    """A task whose results can be scored and drawn, whoever made them.

    Attributes:
        name: in commands and configs.
        folder: name of the folder of results in that of a run.
        table: name of the table of details.
        columns: of the summary.
        primary_metric: the measure that `SequenceScore.value` is.
        frame_value: the measure that `SequenceScore.curve` is.
        explanation: of the columns, a sentence or two.
    """

    name: ClassVar[str]
    folder: ClassVar[str]
    table: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    primary_metric: ClassVar[str]
    frame_value: ClassVar[str]
    explanation: ClassVar[str]

    def open(self, data: str, *, split: str, sequences: Sequence[str] = ()) -> list[S]:
        """Open a data set.

        Args:
            data: its folder or file.
            split: its list of sequences; "" where it has none.
            sequences: names of those to open; all of the split where empty.

        Raises:
            InputError: something is missing, unreadable or does not fit; the message names the file.
        """

    def output(self, results: Path, sequence: S) -> Path:
        """Return the folder or file in a folder of results that holds those of one sequence."""

    def score(self, results: Path, sequence: S) -> SequenceScore:
        """Score the results of one sequence; raises InputError where they are missing or do not fit."""

    def summary(self, scores: Sequence[SequenceScore]) -> dict[str, float]:
        """Return the value of every column over all sequences."""

    def ground_truth(self, sequence: S, index: int) -> np.ndarray:
        """Return the true labels of a frame: a mask uint8 [h, w], points (x, y) [n, 2] in pixels, or a box [4]."""

    def predictions(self, results: Path, sequence: S, indices: Iterable[int]) -> list[np.ndarray]:
        """Read the predicted labels of some frames, of the kind of `ground_truth`."""


class Task(ScoredTask[S], Protocol[S]):
    """A label-propagation task."""

    def write(
        self, features: "Iterable[Array]", sequence: S, output: Path, settings: "Settings", layout: "Layout"
    ) -> Iterator[Callable[[], object]]:
        """Propagate the first frame's labels along a sequence.

        Args:
            features: a frame each, in time order, as `iterate_features` gives them.
            sequence: with its first labels.
            output: the folder or file that gets the results.
            settings: of the propagation.
            layout: the sizes of the sequence.

        Yields:
            A job a frame: it waits for the device, then writes something at or below `output`.
        """


def existing_file(path: Path) -> Path:
    """Return the path of a file of results that is there; raises InputError where it is not."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; every frame that counts needs its result")
    return path


def write_tables(folder: Path, task: ScoredTask[S], scores: Sequence[SequenceScore]) -> None:
    """Write global.csv and the task's table of details (rows in column Sequence), at full precision."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "global.csv", task.columns, [task.summary(scores)])
    write_csv(folder / task.table, ["Sequence", *task.columns], [row for score in scores for row in score.rows])


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table, floats as repr: they read back the same."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def format_table(task: ScoredTask[S], scores: Sequence[SequenceScore]) -> str:
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


def results_folder(results: str | os.PathLike[str], task: ScoredTask[S]) -> Path:
    """Find the folder that holds the results of the sequences.

    In the task's own folder where there is one, as vfs-eval writes, else in RESULTS itself.

    Raises:
        InputError: there is no such folder.
    """
    root = Path(results)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder of results")
    return root / task.folder if (root / task.folder).is_dir() else root
