"""Plots by Matplotlib: SVG to stand in a page, and PNG at 300 dots an inch for print."""

import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vfs_jax.evaluation.metrics.boxes import PRECISION_THRESHOLDS, SUCCESS_THRESHOLDS
from vfs_jax.evaluation.report.filmstrips import Filmstrip
from vfs_jax.evaluation.report.match_cards import MatchCard
from vfs_jax.evaluation.report.overlays import blend, thumbnail
from vfs_jax.evaluation.report.page import RUN_COLORS, percent, run_colors
from vfs_jax.evaluation.runs.comparison import Chart, Run
from vfs_jax.evaluation.tasks.base import S, ScoredTask, SequenceScore
from vfs_jax.evaluation.tasks.boxes import Got10k, Otb

_WIDTH = 8.0  # inches
_DPI = 300
_GRID = "#e3e7ed"
_GAP = 4  # pixels between tiles
_KEY_FRAMES = 4  # beside a query point, those that hold the most weight
_FINE = np.linspace(0, 1, 101)  # GOT-10k's thresholds


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    figure.savefig(temporary, format="png", dpi=_DPI)
    temporary.replace(path)


def svg(figure: Figure, title: str) -> str:
    """Return a figure as an SVG element whose text is text; the title is what screen readers tell."""
    buffer = io.StringIO()
    plain = {"Title": title, **dict.fromkeys(("Creator", "Date", "Format", "Type"))}
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vfs_jax"}):
        figure.savefig(buffer, format="svg", metadata=plain)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(' target="_blank"', "")  # links lead to places of the page
    return re.sub(r'<g id="[^"]*">', "<g>", text)  # these names come back in every figure


def bars(
    task: ScoredTask[S], runs: Sequence[tuple[Run, str]], names: Sequence[str], links: Collection[str] = ()
) -> Figure:
    """Draw the primary metric of sequences as bars, those of all runs below each other.

    Args:
        task: that was scored.
        runs: each with its color.
        names: of the sequences, from top to bottom.
        links: names that lead to "#sequence-NAME" in a page.
    """
    figure, axes = _axes(0.8 + 0.16 * len(names) * (len(runs) + 0.5))
    thick = 0.8 / len(runs)
    for index, (run, color) in enumerate(runs):
        values = np.array([run.of(name).value for name in names])
        places = np.arange(len(names)) + (index - (len(runs) - 1) / 2) * thick
        drawn = axes.barh(places, 100 * np.nan_to_num(values), thick, color=color, label=run.name)
        axes.bar_label(drawn, [percent(value) for value in values], padding=2, fontsize=6)
    axes.set_yticks(range(len(names)), names)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_url(f"#sequence-{name}" if name in links else None)
    axes.set(xlim=(0, 100), ylim=(len(names) - 0.4, -0.6))
    axes.set_xlabel(f"{task.primary_metric} in percent", fontsize=7)
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=7)
    return figure


def line_chart(chart: Chart) -> Figure:
    """Draw a measure over the values of one setting, which do not lie on a scale."""
    figure, axes = _axes(3.2)
    for (name, values), color in zip(chart.lines.items(), run_colors(len(chart.lines)), strict=True):
        axes.plot(range(len(values)), 100 * np.array(values), "o-", markersize=4, color=color, label=name or None)
    axes.set_xticks(range(len(chart.places)), chart.places, rotation=45 if len(chart.places) > 10 else 0)
    axes.set_xlabel(chart.field, fontsize=7)
    axes.set_ylabel(f"{chart.column} in percent", fontsize=7)
    axes.grid(axis="y", color=_GRID)
    if any(chart.lines):
        axes.legend(frameon=False, fontsize=7)
    return figure


def curves(lines: Iterable[tuple[str, np.ndarray]]) -> Figure:
    """Draw shares over frames 1, 2, ...: (color, values [t]) a curve."""
    figure, axes = _axes(0.9)
    for color, values in lines:
        axes.plot(np.arange(len(values)) + 1, 100 * values, color=color, linewidth=1, clip_on=False)
    axes.set(ylim=(0, 100), yticks=(0, 50, 100))
    axes.margins(x=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=_GRID)
    return figure


def filmstrips(strips: Sequence[Filmstrip]) -> Figure:
    """Draw every run's predictions over the frames of some sequences, the ground truth in white."""
    tiles = [
        [[blend(*pair) for pair in zip(strip.frames, layers, strict=True)] for _, _, layers in strip.rows]
        for strip in strips
    ]
    figure, grid = _panels([_height(rows) for rows in tiles])
    for axes, strip, rows in zip(grid, strips, tiles, strict=True):
        _show_tiles(axes, rows, [run.name for run, _, _ in strip.rows], [str(number) for number in strip.numbers])
        axes.set_title(strip.name, fontsize=7, pad=3)
    return figure


def matches(card: MatchCard) -> Figure:
    """Draw a query point, each run's best keys in the frames that hold most of their weight, and the feature colors."""
    frame = thumbnail(card.sequence.frame(card.number))
    height, width = frame.shape[:2]
    scale = np.array([width, height]) / card.sequence.size[::-1]
    figure, grid = _panels([_height([[frame] * (_KEY_FRAMES + 2)])] * len(card.looks))
    for axes, (name, color, _, look) in zip(grid, card.looks, strict=True):
        rows, cols, _ = look.scores.shape
        cell = np.array([cols, rows]) / (width, height)  # cells of the grid a pixel
        query = (np.array(card.point) + 0.5) * scale
        col, row = np.minimum(query * cell, (cols - 1, rows - 1)).astype(int)
        there = look.where[row, col, :, 0] >= 0
        keys, weights = look.where[row, col][there], look.weights[row, col][there]
        numbers = np.array(look.frames)[keys[:, 0]]
        held: Counter[int] = Counter()
        for number, weight in zip(numbers.tolist(), weights.tolist(), strict=True):
            held[number] += weight
        shown = sorted(number for number, _ in held.most_common(_KEY_FRAMES))
        tiles = [frame, *(thumbnail(card.sequence.frame(number)) for number in shown)]
        tiles += [np.full_like(frame, 255)] * (_KEY_FRAMES - len(shown))
        tiles.append(thumbnail(look.colors[-1], card.sequence.size, interpolation=cv2.INTER_NEAREST))
        labels = [f"frame {number}: {100 * held[number]:.0f}%" for number in shown]
        labels += [""] * (_KEY_FRAMES - len(shown))
        _show_tiles(axes, [tiles], [name], [f"frame {card.number}", *labels, "features as colors"])
        axes.plot(*query - 0.5, "o", markersize=5, markerfacecolor="none", markeredgecolor="white")
        for number, key, weight in zip(numbers, keys, weights, strict=True):
            if number in shown:
                x, y = (key[:0:-1] + 0.5) / cell - 0.5
                x += (1 + shown.index(number)) * (width + _GAP)
                size = 1.5 + 5 * weight**0.5
                axes.plot(x, y, "o", markersize=size, color=color, markeredgecolor="white", markeredgewidth=0.4)
    return figure


def write_plots(folder: Path, task: Otb, runs: Mapping[str, Sequence[SequenceScore]]) -> list[Path]:
    """Draw the success and precision curves of one or several runs, best first in the legend, as the field does.

    Args:
        folder: gets success_plots.png and, but for GOT-10k, precision_plots.png.
        task: that was scored.
        runs: the scores of each, by its name.

    Returns:
        the files.
    """
    success, precision = folder / "success_plots.png", folder / "precision_plots.png"
    overlap, share = "Overlap threshold", "Success rate"
    if isinstance(task, Got10k):
        overlaps = {name: np.concatenate([score.details for score in scores]) for name, scores in runs.items()}
        lines = {name: (np.mean(o[:, None] > _FINE, axis=0), float(o.mean())) for name, o in overlaps.items()}
        return [_plot(success, "Success plots on GOT-10k", overlap, share, _FINE, lines)]
    means = {name: task.curves(scores) for name, scores in runs.items()}
    successes = {name: (mean.success_curve, mean.success) for name, mean in means.items()}
    precisions = {name: (mean.precision_curve, mean.precision) for name, mean in means.items()}
    error = "Location error threshold (pixels)"
    return [
        _plot(success, "Success plots of OPE", overlap, share, SUCCESS_THRESHOLDS, successes),
        _plot(precision, "Precision plots of OPE", error, "Precision", PRECISION_THRESHOLDS, precisions),
    ]


def _plot(
    path: Path, title: str, x: str, y: str, thresholds: np.ndarray, lines: Mapping[str, tuple[np.ndarray, float]]
) -> Path:
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axes = figure.subplots()
    best_first = sorted(lines.items(), key=lambda item: -item[1][1])
    for index, ((name, (curve, score)), color) in enumerate(zip(best_first, run_colors(len(lines)), strict=True)):
        style = ("-", "--", "-.", ":")[index // len(RUN_COLORS) % 4]
        axes.plot(thresholds, curve, style, color=color, linewidth=2, label=f"{name} [{score:.3f}]")
    axes.set(title=title, xlabel=x, ylabel=y, xlim=(thresholds[0], thresholds[-1]), ylim=(0, 1))
    axes.grid(True, alpha=0.4)
    axes.legend(loc="best", fontsize=9)
    save(figure, path)
    return path


def _axes(height: float) -> tuple[Figure, Axes]:
    """Return a figure with one plot without a frame."""
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
    return figure, axes


def _panels(heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels of these heights in inches below each other."""
    figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
    return figure, figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0].tolist()


def _height(rows: Sequence[Sequence[np.ndarray]]) -> float:
    """Return the height in inches of tiles that fill a figure's width, with their names."""
    height, width = rows[0][0].shape[:2]
    return 0.3 + _WIDTH * len(rows) * height / (len(rows[0]) * width)


def _show_tiles(
    axes: Axes, rows: Sequence[Sequence[np.ndarray]], row_names: Sequence[str], column_names: Sequence[str]
) -> None:
    """Show images of one size, RGB uint8 [h, w, 3], side by side; their pixels are the axes' units."""
    height, width = (side + _GAP for side in rows[0][0].shape[:2])
    gap = ((0, _GAP), (0, _GAP), (0, 0))
    axes.imshow(np.vstack([np.hstack([np.pad(tile, gap, constant_values=255) for tile in row]) for row in rows]))
    axes.set_yticks((np.arange(len(rows)) + 0.5) * height, row_names, rotation=90, va="center", fontsize=6)
    axes.set_xticks((np.arange(len(rows[0])) + 0.5) * width, column_names, fontsize=6)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
