"""Runs and their comparison: one table, and paired bootstrap intervals of the differences over sequences."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vfs_jax.data.text import to_json, write_text
from vfs_jax.evaluation.encoders import Encoder
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.runs.costs import Cost
from vfs_jax.evaluation.tasks.base import ScoredTask, SequenceScore, write_csv

_RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: one network under one settings object, over all sequences of a task.

    Attributes:
        name: differs from those of the runs beside it.
        results: folder that holds the results of the sequences.
        scores: of all sequences with ground truth.
        summary: the task's columns over all sequences.
        facts: other values to report (weights, checksum, seconds a frame ...), by name.
        weights: name of its weights; several runs may share them.
        changes: settings in which it differs from the runs beside it, by name.
        encoder: of its features; the report inspects them where this and `settings` are there.
        settings: of its propagation.
        cost: of its propagation.
    """

    name: str
    results: Path
    scores: Sequence[SequenceScore]
    summary: Mapping[str, float]
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)
    weights: str = ""
    changes: Mapping[str, object] = dataclasses.field(default_factory=dict)
    encoder: Encoder | None = None
    settings: Settings | None = None
    cost: Cost | None = None

    def of(self, sequence: str) -> SequenceScore:
        """Return the score of one sequence."""
        return next(score for score in self.scores if score.name == sequence)


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much a run scores above another one: the value, and the bounds of its 95% confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it in percent: +3.1 [+1.0, +5.2]."""
        return f"{100 * self.value:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


def paired_difference(
    task: ScoredTask, scores: Sequence[SequenceScore], baseline: Sequence[SequenceScore], *, seed: int = 0
) -> Difference:
    """Return the difference in the task's first column, with the interval that resampled sequences give.

    The same sequences are drawn for both runs (with replacement, as many as there are, 1000 times), so that what makes
    a sequence hard for both cancels; the interval runs from the 2.5th to the 97.5th percentile.

    Args:
        task: of the scores.
        scores: of the run.
        baseline: of the run it is compared with, the same sequences in the same order.
        seed: of the drawing.

    Returns:
        The difference and its interval, shares.

    Raises:
        ValueError: the runs are of different sequences.
    """
    if [score.name for score in scores] != [score.name for score in baseline]:
        raise ValueError("the runs are of different sequences")
    column = task.columns[0]

    def difference(indices: Sequence[int] | np.ndarray) -> float:
        first, second = ([run[index] for index in indices] for run in (scores, baseline))
        return task.summary(first)[column] - task.summary(second)[column]

    rng = np.random.default_rng(seed)
    drawn = [difference(rng.integers(0, len(scores), len(scores))) for _ in range(_RESAMPLES)]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return Difference(difference(range(len(scores))), float(low), float(high))


def write_comparison(folder: Path, task: ScoredTask, runs: Sequence[Run]) -> list[str]:
    """Write table.csv, scores and cost of each run, and differences.csv: how far the later runs are from the first.

    Args:
        folder: for the two.
        task: of the runs.
        runs: at least two, of the same sequences.

    Returns:
        The differences with their intervals, a line each.
    """
    rows = [{"Run": run.name, "Weights": run.weights, **run.changes, **run.summary, **_costs(run)} for run in runs]
    write_csv(folder / "table.csv", list(dict.fromkeys(name for row in rows for name in row)), rows)
    differences = _differences(task, runs)
    columns = ["Run", "Baseline", "Column", "Difference", "Low", "High"]
    write_csv(folder / "differences.csv", columns, [dict(zip(columns, row, strict=True)) for row in differences])
    return [
        f"{name} against {first}: {column} {Difference(*values)} (95% interval, paired bootstrap over sequences)"
        for name, first, column, *values in differences
    ]


def write_results(path: Path, task: ScoredTask, runs: Sequence[Run], config: Mapping[str, object]) -> None:
    """Write all there is to know of runs as JSON: settings, scores of every sequence and frame, costs, differences.

    Numbers are shares at full precision; null stands for what is not a number.
    """
    columns = ["run", "baseline", "column", "difference", "low", "high"]
    content = {
        "task": task.name,
        "config": config,
        "runs": [
            {
                "name": run.name,
                "weights": run.weights,
                "facts": run.facts,
                "settings": None if run.settings is None else dataclasses.asdict(run.settings),
                "summary": run.summary,
                "cost": None if run.cost is None else dataclasses.asdict(run.cost),
                "sequences": [
                    {"name": score.name, "value": score.value, "rows": score.rows, "curve": score.curve.tolist()}
                    for score in run.scores
                ],
            }
            for run in runs
        ],
        "differences": [dict(zip(columns, row, strict=True)) for row in _differences(task, runs)],
    }
    write_text(path, to_json(content, indent=1) + "\n")


def _differences(task: ScoredTask, runs: Sequence[Run]) -> list[tuple[str, str, str, float, float, float]]:
    """Return (run, first run, column, difference, low, high) of every run but the first."""
    first, *others = runs
    rows = []
    for other in others:
        found = paired_difference(task, other.scores, first.scores)
        rows.append((other.name, first.name, task.columns[0], found.value, found.low, found.high))
    return rows


def _costs(run: Run) -> dict[str, object]:
    return {} if run.cost is None else run.cost.row()


@dataclasses.dataclass(frozen=True)
class Chart:
    """The task's first column by one setting in which runs differ.

    Attributes:
        field: name of the setting.
        column: of the task.
        places: the setting's values, as text.
        lines: a share at each place (NaN where there is no run) for runs that agree in everything else, by a name that
            tells weights and other settings.
    """

    field: str
    column: str
    places: tuple[str, ...]
    lines: dict[str, list[float]]


def chart_of(task: ScoredTask, runs: Sequence[Run]) -> Chart | None:
    """Chart runs by the first setting in which some of them differ; None where they all agree."""
    fields = list(dict.fromkeys(field for run in runs for field in run.changes))
    field = next((name for name in fields if len({str(run.changes.get(name)) for run in runs}) > 1), None)
    if field is None:
        return None
    places = tuple(dict.fromkeys(str(run.changes.get(field)) for run in runs))
    several = len({run.weights for run in runs}) > 1
    lines: dict[str, list[float]] = {}
    for run in runs:
        others = [f"{name} {value}" for name, value in run.changes.items() if name != field]
        line = lines.setdefault(", ".join([*([run.weights] if several else []), *others]), [np.nan] * len(places))
        line[places.index(str(run.changes.get(field)))] = run.summary[task.columns[0]]
    return Chart(field, task.columns[0], places, lines)
