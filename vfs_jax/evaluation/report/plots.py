"""Plots by Matplotlib: SVG to stand in a page, and PNG at 300 dots an inch for print."""

import io
import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vfs_jax.evaluation.metrics.boxes import PRECISION_THRESHOLDS, SUCCESS_THRESHOLDS
from vfs_jax.evaluation.report.filmstrips import Filmstrip
from vfs_jax.evaluation.report.match_cards import MatchCard
from vfs_jax.evaluation.report.overlays import THUMB_WIDTH, blend, thumbnail
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
    rows = []
    for strip in strips:
        for run, _, layers in strip.rows:
            tiles = [blend(*pair) for pair in zip(strip.frames, layers, strict=True)]
            rows.append((f"{strip.name}\n{run.name}", list(zip(map(str, strip.numbers), tiles, strict=True))))
    return _mosaic(rows)


def matches(card: MatchCard) -> Figure:
    """Draw a query point, each run's best keys in the frames that hold most of their weight, and the feature colors."""
    size = card.sequence.size
    query = (np.array(card.point) + 0.5) / size[::-1]  # a share of the frame, as all places here
    rows = []
    for name, color, _, look in card.looks:
        grid = np.array(look.scores.shape[1::-1])
        col, row = np.minimum(query * grid, grid - 1).astype(int)
        keys: dict[int, list[tuple[np.ndarray, float]]] = {}
        for (index, *place), weight in zip(look.where[row, col], look.weights[row, col].tolist(), strict=True):
            if index >= 0:
                keys.setdefault(look.frames[index], []).append(((np.array(place[::-1]) + 0.5) / grid, weight))
        held = {frame: sum(weight for _, weight in dots) for frame, dots in keys.items()}
        tiles = [(f"frame {card.number}", _dotted(card.sequence.frame(card.number), [(query, 0.3)]))]
        for frame in sorted(sorted(held, key=held.__getitem__)[-_KEY_FRAMES:]):
            tiles.append((f"frame {frame}: {held[frame]:.0%}", _dotted(card.sequence.frame(frame), keys[frame], color)))
        tiles.append(("features as colors", thumbnail(look.colors[-1], size, interpolation=cv2.INTER_NEAREST)))
        rows.append((name, tiles))
    return _mosaic(rows)


def _dotted(frame: np.ndarray, dots: Sequence[tuple[np.ndarray, float]], color: str | None = None) -> np.ndarray:
    """Return a frame's thumbnail with dots at (x, y), as shares of the frame, whose area is their weight."""
    out = thumbnail(frame)
    for place, weight in dots:
        x, y = np.floor(place * out.shape[1::-1]).astype(int).tolist()
        radius = 3 + round(8 * weight**0.5)
        if color is not None:
            cv2.circle(out, (x, y), radius, [255 * share for share in to_rgb(color)], cv2.FILLED, cv2.LINE_AA)
        cv2.circle(out, (x, y), radius, (255, 255, 255), 1, cv2.LINE_AA)
    return out


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


def _mosaic(rows: Sequence[tuple[str, Sequence[tuple[str, np.ndarray]]]]) -> Figure:
    """Lay out rows of thumbnails, RGB uint8, beside their names."""
    tops = [0, *itertools.accumulate(tiles[0][1].shape[0] + _GAP for _, tiles in rows)]
    canvas = np.full((tops[-1], max(len(tiles) for _, tiles in rows) * (THUMB_WIDTH + _GAP), 3), 255, np.uint8)
    figure = Figure(figsize=(_WIDTH, 0.2 + _WIDTH * canvas.shape[0] / canvas.shape[1]), layout="constrained")
    axes = figure.subplots()
    dark = {"facecolor": "#121821", "alpha": 0.7, "linewidth": 0, "pad": 1}
    for top, (_, tiles) in zip(tops, rows, strict=False):
        for left, (name, tile) in zip(range(0, canvas.shape[1], THUMB_WIDTH + _GAP), tiles, strict=False):
            canvas[top : top + tile.shape[0], left : left + THUMB_WIDTH] = tile
            axes.text(left + 6, top + tile.shape[0] - 8, name, color="white", fontsize=5, bbox=dark)
    axes.imshow(canvas)
    axes.set_xticks([])
    axes.set_yticks(np.add(tops[:-1], tops[1:]) / 2, [name for name, _ in rows], rotation=90, va="center", fontsize=6)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
