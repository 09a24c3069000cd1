"""Success and precision plots in the style of the field, and scores by attribute."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from vfs_jax.errors import InputError
from vfs_jax.evaluation.metrics.boxes import PRECISION_THRESHOLDS, SUCCESS_THRESHOLDS
from vfs_jax.evaluation.report.page import RUN_COLORS
from vfs_jax.evaluation.tasks.base import SequenceScore, write_csv
from vfs_jax.evaluation.tasks.boxes import Got10k, Otb

_FINE = np.linspace(0, 1, 101)  # GOT-10k's thresholds


def write_plots(folder: Path, task: Otb, runs: Mapping[str, Sequence[SequenceScore]]) -> list[Path]:
    """Draw the curves of one or several runs, best first in the legend.

    Args:
        folder: gets success_plots.png and, but for GOT-10k, precision_plots.png.
        task: that was scored.
        runs: the scores of each, by its name.

    Returns:
        the files.
    """
    if isinstance(task, Got10k):
        overlaps = {name: np.concatenate([score.details for score in scores]) for name, scores in runs.items()}
        lines = {name: (np.mean(o[:, None] > _FINE, axis=0), float(o.mean())) for name, o in overlaps.items()}
        title = "Success plots on GOT-10k"
        return [_plot(folder / "success_plots.png", title, "Overlap threshold", "Success rate", _FINE, lines)]
    means = {name: task.curves(scores) for name, scores in runs.items()}
    success = {name: (mean.success_curve, mean.success) for name, mean in means.items()}
    precision = {name: (mean.precision_curve, mean.precision) for name, mean in means.items()}
    title, axis = "Success plots of OPE", "Overlap threshold"
    other, error = "Precision plots of OPE", "Location error threshold (pixels)"
    return [
        _plot(folder / "success_plots.png", title, axis, "Success rate", SUCCESS_THRESHOLDS, success),
        _plot(folder / "precision_plots.png", other, error, "Precision", PRECISION_THRESHOLDS, precision),
    ]


def _plot(
    path: Path, title: str, x: str, y: str, thresholds: np.ndarray, lines: Mapping[str, tuple[np.ndarray, float]]
) -> Path:
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axes = figure.subplots()
    for index, (name, (curve, score)) in enumerate(sorted(lines.items(), key=lambda item: -item[1][1])):
        style = ("-", "--", "-.", ":")[index // len(RUN_COLORS) % 4]
        color = RUN_COLORS[index % len(RUN_COLORS)]
        axes.plot(thresholds, curve, style, color=color, linewidth=2, label=f"{name} [{score:.3f}]")
    axes.set(title=title, xlabel=x, ylabel=y, xlim=(thresholds[0], thresholds[-1]), ylim=(0, 1))
    axes.grid(True, alpha=0.4)
    axes.legend(loc="best", fontsize=9)
    figure.savefig(path, dpi=160)
    return path


def read_attributes(folder: Path, sequences: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Return which sequences have which attribute.

    Args:
        folder: holds SEQUENCE.txt, a 0 or 1 for each attribute, as the benchmarks give them ("anno/att").
        sequences: names; those of two targets ("Jogging.1") may also be in files "Jogging-1.txt".
        names: of the attributes, in the files' order; numbers where empty.

    Returns:
        The sequences of each attribute that some sequence has.

    Raises:
        InputError: a file is missing or holds something else.
    """
    found: dict[str, list[str]] = {}
    for sequence in sequences:
        files = [folder / f"{name}.txt" for name in (sequence, sequence.replace(".", "-"))]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            raise InputError(f"{files[0]}: no such file; every sequence needs its attributes")
        words = file.read_text().replace(",", " ").split()
        if not words or set(words) - {"0", "1"} or (names and len(words) != len(names)):
            raise InputError(f"{file}: holds {' '.join(words)!r}, {len(names) or 'some'} values 0 or 1 expected")
        for index, word in enumerate(words):
            if word == "1":
                found.setdefault(names[index] if names else f"attribute {index + 1}", []).append(sequence)
    return found


def attribute_rows(
    task: Otb, scores: Sequence[SequenceScore], attributes: Mapping[str, Sequence[str]]
) -> list[dict[str, object]]:
    """Return a row an attribute: its name, how many sequences have it, and the task's columns over these."""
    by_name = {score.name: score for score in scores}
    return [
        {"Attribute": name, "Sequences": len(members), **task.summary([by_name[member] for member in members])}
        for name, members in sorted(attributes.items())
    ]


def write_attributes(path: Path, task: Otb, rows: Sequence[Mapping[str, object]]) -> None:
    """Write the table of attributes, at full precision."""
    write_csv(path, ["Attribute", "Sequences", *task.columns], rows)
