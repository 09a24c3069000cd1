"""The report's pictures for print: PNG at 300 dots an inch, drawn by Matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vfs_jax.evaluation.report.match_cards import LookCard
from vfs_jax.evaluation.report.overlays import draw_over
from vfs_jax.evaluation.report.page import RUN_COLORS
from vfs_jax.evaluation.runs.comparison import Chart, Run
from vfs_jax.evaluation.tasks.base import ScoredTask

_DPI = 300
_FRAMES = 5  # of a filmstrip
_BARS = 40  # sequences of the bar chart; of more, the worst ones


def draw_figures(
    folder: Path,
    task: ScoredTask,
    runs: Sequence[Run],
    order: Sequence[Any],
    chart: Chart | None,
    cards: Sequence[LookCard],
) -> None:
    """Draw bars.png, filmstrips.png, chart.png where settings differ, and attention-SEQUENCE.png.

    Args:
        folder: for the figures.
        task: that was evaluated.
        runs: to be shown.
        order: the sequences, worst first.
        chart: of the runs.
        cards: looks into the features.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _save(_bars(task, runs, order[:_BARS]), folder / "bars.png")
    _save(_filmstrips(task, runs, [order[0], order[-1]] if len(order) > 1 else order), folder / "filmstrips.png")
    if chart is not None:
        _save(_chart(chart), folder / "chart.png")
    for card in cards:
        _save(_attention(card), folder / f"attention-{card.sequence.name.replace('/', '-')}.png")


def _save(figure: Figure, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    figure.savefig(temporary, format="png", dpi=_DPI, bbox_inches="tight")
    temporary.replace(path)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _bars(task: ScoredTask, runs: Sequence[Run], order: Sequence[Any]) -> Figure:
    figure = _figure(6.5, 0.8 + 0.16 * len(order) * (len(runs) + 0.5))
    axes = figure.subplots()
    thick = 0.8 / len(runs)
    for index, run in enumerate(runs):
        values = [100 * run.of(sequence.name).value for sequence in order]
        places = np.arange(len(order)) + (index - (len(runs) - 1) / 2) * thick
        axes.barh(places, np.nan_to_num(values), thick, color=RUN_COLORS[index % len(RUN_COLORS)], label=run.name)
    axes.set_yticks(range(len(order)), [sequence.name for sequence in order], fontsize=7)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"{task.primary_metric} in percent")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)
    return figure


def _chart(chart: Chart) -> Figure:
    figure = _figure(6.5, 3.2)
    axes = figure.subplots()
    for index, (name, values) in enumerate(chart.lines.items()):
        color = RUN_COLORS[index % len(RUN_COLORS)]
        axes.plot(range(len(values)), 100 * np.array(values), "o-", markersize=4, color=color, label=name or None)
    axes.set_xticks(range(len(chart.places)), chart.places, rotation=45 if len(chart.places) > 10 else 0, fontsize=8)
    axes.set_xlabel(chart.field)
    axes.set_ylabel(f"{chart.column} in percent")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e7ed")
    if any(chart.lines):
        axes.legend(frameon=False, fontsize=7)
    return figure


def _filmstrips(task: ScoredTask, runs: Sequence[Run], sequences: Sequence[Any]) -> Figure:
    """Return the truth in white, a row for each sequence and run."""
    shape = len(sequences) * len(runs), _FRAMES
    figure = _figure(6.5, 0.25 + 0.85 * shape[0])
    grid = figure.subplots(*shape, squeeze=False)
    for number, sequence in enumerate(sequences):
        frames = np.unique(np.round(np.linspace(0, len(sequence) - 1, _FRAMES)).astype(int))
        for row, run in enumerate(runs, start=number * len(runs)):
            found = task.predictions(run.results, sequence, frames)
            for axes in grid[row][len(frames) :]:
                axes.set_axis_off()
            for axes, index, result in zip(grid[row], frames, found, strict=False):
                axes.imshow(draw_over(sequence.frame(index), result, task.ground_truth(sequence, index)))
                axes.set_xticks([])
                axes.set_yticks([])
                axes.set_title(f"{index}", fontsize=6, pad=1)
            grid[row][0].set_ylabel(f"{sequence.name}\n{run.name}", fontsize=6)
    return figure


def _attention(card: LookCard) -> Figure:
    """Draw a query point, each run's best keys in the frames that hold most of them, and the feature colors."""
    figure = _figure(6.5, 1.2 * len(card.looks) + 0.2)
    grid = figure.subplots(len(card.looks), 6, squeeze=False)
    height, width = card.sequence.size
    for line, (name, color, _, look) in zip(grid, card.looks, strict=True):
        rows, cols, _ = look.scores.shape
        row, col = (
            min(int((place + 0.5) / side * count), count - 1)
            for place, side, count in zip(card.point[::-1], (height, width), (rows, cols), strict=True)
        )
        line[0].imshow(card.sequence.frame(card.number))
        line[0].plot(*card.point, "o", markersize=5, markerfacecolor="none", markeredgecolor="white")
        line[0].set_title(f"frame {card.number}", fontsize=6, pad=1)
        line[0].set_ylabel(name, fontsize=6)
        keys = [
            (look.frames[key[0]], key, w) for key, w in zip(look.where[row, col], look.weights[row, col], strict=True)
        ]
        held: dict[int, float] = {}
        for frame, key, weight in keys:
            if key[0] >= 0:
                held[frame] = held.get(frame, 0.0) + float(weight)
        for axes, frame in zip(line[1:5], sorted(sorted(held, key=lambda each: -held[each])[:4]), strict=False):
            axes.imshow(card.sequence.frame(frame))
            for number, key, weight in keys:
                if number == frame and key[0] >= 0:
                    place = (key[2] + 0.5) / cols * width - 0.5, (key[1] + 0.5) / rows * height - 0.5
                    axes.plot(
                        *place,
                        "o",
                        markersize=1.5 + 5 * weight**0.5,
                        color=color,
                        markeredgecolor="white",
                        markeredgewidth=0.4,
                    )
            axes.set_title(f"frame {frame}: {100 * held[frame]:.0f}%", fontsize=6, pad=1)
            axes.set_xlim(-0.5, width - 0.5)
            axes.set_ylim(height - 0.5, -0.5)
        line[5].imshow(look.colors[-1], extent=(0, width, height, 0))
        line[5].set_title("features as colors", fontsize=6, pad=1)
        for axes in line:
            axes.set_xticks([])
            axes.set_yticks([])
        for axes in line[1 + min(len(held), 4) : 5]:
            axes.set_axis_off()
    return figure
