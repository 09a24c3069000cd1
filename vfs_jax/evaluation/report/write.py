"""The report of an evaluation: one HTML file that opens without a network, several runs side by side."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vfs_jax.evaluation.report import match_cards, page
from vfs_jax.evaluation.report.match_cards import LookCard
from vfs_jax.evaluation.report.matches import Inspector
from vfs_jax.evaluation.report.overlays import overlay, thumb_size
from vfs_jax.evaluation.report.plots import draw_figures
from vfs_jax.evaluation.runs.comparison import Chart, Run, chart_of
from vfs_jax.evaluation.tasks.base import ScoredTask

Published = Sequence[tuple[str, Sequence[float | None]]]
_FRAMES = 6  # a filmstrip
_STRIPS = 12  # sequences with a filmstrip; of more, half are the worst and half the best
_PICTURED = 6  # runs with filmstrips, the first ones
_LOOKED_AT = 4  # runs whose features are shown, the first ones
_LOOK_TEXT = (
    '<p class="soft small">The keys whose labels a point takes, in the frames that it is compared with: the first one '
    "and those before it. A dot's size is its weight; the lines name frame, column and row on the grid, and cosine.</p>"
)


def write_report(
    path: str | os.PathLike[str],
    task: ScoredTask,
    runs: Sequence[Run],
    sequences: Sequence[Any],
    *,
    title: str,
    settings: Mapping[str, object],
    published: Published = (),
    notes: Sequence[str] = (),
    figures: Sequence[str] = (),
    inspector: Inspector | None = None,
) -> None:
    """Write the report, and its figures beside it for print: figures/*.png.

    Args:
        path: the HTML file.
        task: that was evaluated.
        runs: at least one; the first decides the order of the sequences.
        sequences: of the task's data set, with their truth.
        title: of the page.
        settings: how the runs were made, name to value.
        published: rows to show below the runs': (name, the task's columns in percent, None where not published).
        notes: lines to show below the table.
        figures: HTML to show below the notes.
        inspector: looks into the features of the first runs; nothing is shown of them where None.
    """
    order = sorted(sequences, key=lambda sequence: np.nan_to_num(runs[0].of(sequence.name).value, nan=-1.0))
    shown = order if len(order) <= _STRIPS else order[: _STRIPS // 2] + order[-_STRIPS // 2 :]
    pictured = runs[:_PICTURED]
    strips = [_Strip(index, task, sequence, pictured) for index, sequence in enumerate(shown)]
    colors = _colors(runs)
    cards: list[LookCard] = []
    chart = chart_of(task, runs)
    for index, sequence in enumerate(_ends(order, inspector.count if inspector else 0)):
        assert inspector is not None
        looks = [
            (run.name, color, run.settings.temperature, inspector.look(run.name, run.variables, run.settings, sequence))
            for run, color in zip(runs[:_LOOKED_AT], colors, strict=False)
            if run.settings is not None and run.variables is not None
        ]
        if looks and len(sequence) > 1:
            number, point = inspector.frame_of(sequence), inspector.point_of(task, sequence)
            cards.append(LookCard(index, sequence, number, point, looks))
    body = [
        f"<header><h1>{page.text(title)}</h1>",
        f'<p class="soft">{len(sequences)} sequences, {sum(map(len, sequences))} frames. {page.text(task.explanation)} '
        "All in percent.</p></header>",
        '<section class="card">',
        page.table(task.columns, _summary(task, runs, published)),
        *(f'<p class="soft small">{page.text(note)}</p>' for note in notes),
        "</section>",
        *(f'<section class="card">{figure}</section>' for figure in figures),
        *_chart_section(chart),
        f"<h2>{page.text(task.primary_metric)} by sequence, worst first</h2>",
        '<section class="card">',
        _legend(runs),
        page.bars(
            (
                sequence.name,
                f"sequence-{sequence.name}",
                [(color, run.of(sequence.name).value) for run, color in zip(runs, colors, strict=True)],
            )
            for sequence in order
        ),
        "</section>",
        f"<h2>{'Sequences, worst first' if len(shown) == len(order) else 'The worst and the best sequences'}</h2>",
        f'<p class="soft small">White is the truth, numbers are those of the frame ({page.text(task.frame_value)}). '
        "Point at a picture to see the frame alone.</p>",
        *(strip.html() for strip in strips),
        *(["<h2>What a point is compared with</h2>", _LOOK_TEXT] if cards else []),
        *(card.html() for card in cards),
        "<h2>How it was made</h2>",
        '<section class="card">',
        page.facts(settings),
        "</section>",
        *(
            f'<section class="card"><h3>{page.swatch(color)}{page.text(run.name)}</h3>{page.facts(run.facts)}</section>'
            for run, color in zip(runs, colors, strict=True)
        ),
    ]
    style = "\n".join(
        [match_cards.STYLE if cards else "", *(each.style() for each in strips), *(each.style() for each in cards)]
    )
    text = page.page(title, body, style=style, script=match_cards.SCRIPT if cards else "")
    temporary = Path(path).with_suffix(".tmp")  # renamed when whole
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    draw_figures(Path(path).parent / "figures", task, pictured, order, chart, cards)


def _ends(order: Sequence[Any], count: int) -> list[Any]:
    """Return some of the ordered sequences: the first, the last, the second, the last but one ..."""
    there = [index // 2 if index % 2 == 0 else len(order) - 1 - index // 2 for index in range(len(order))]
    return [order[index] for index in there[:count]]


def _chart_section(chart: Chart | None) -> list[str]:
    if chart is None:
        return []
    colored = list(zip(chart.lines.items(), page.RUN_COLORS * len(chart.lines), strict=False))
    legend = (f"<span>{page.swatch(color)}{page.text(name)}</span>" for (name, _), color in colored if name)
    title = f"{chart.column} by {chart.field}"
    lines = [(color, values) for (_, values), color in colored]
    return [
        f"<h2>{page.text(title)}</h2>",
        '<section class="card">',
        f'<p class="legend small">{"".join(legend)}</p>',
        page.chart(chart.places, lines, title=title),
        "</section>",
    ]


def _colors(runs: Sequence[Run]) -> list[str]:
    return [page.RUN_COLORS[index % len(page.RUN_COLORS)] for index in range(len(runs))]


def _legend(runs: Sequence[Run]) -> str:
    entries = (
        f"<span>{page.swatch(c)}{page.text(run.name)}</span>" for run, c in zip(runs, _colors(runs), strict=True)
    )
    return f'<p class="legend small">{"".join(entries)}</p>'


def _summary(task: ScoredTask, runs: Sequence[Run], published: Published) -> Iterator[tuple[str, Sequence[float], str]]:
    for run, color in zip(runs, _colors(runs), strict=True):
        yield page.swatch(color) + page.text(run.name), [run.summary[column] for column in task.columns], ""
    for name, values in published:
        yield page.text(name), [np.nan if value is None else value / 100 for value in values], "published"


class _Strip:
    """Frames of one sequence, evenly spaced, with the truth and the results of every run."""

    def __init__(self, index: int, task: ScoredTask, sequence: Any, runs: Sequence[Run]):
        self.index, self.task, self.sequence, self.runs = index, task, sequence, runs
        count = min(_FRAMES, len(sequence))
        self.numbers = np.unique(np.round(np.linspace(0, len(sequence) - 1, count)).astype(int))
        self.frames = [sequence.frame(number) for number in self.numbers]

    def style(self) -> str:
        """Return the frames, stored once and shared by all rows."""
        rules = []
        for column, frame in enumerate(self.frames):
            h, w = frame.shape[:2]
            uri = page.data_uri(cv2.resize(frame, thumb_size(h, w), interpolation=cv2.INTER_AREA), quality=78)
            rules.append(f".f{self.index}-{column} {{ background-image: url({uri}); aspect-ratio: {w} / {h}; }}")
        return "\n".join(rules)

    def html(self) -> str:
        """Return the card of the sequence."""
        name = self.sequence.name
        scored = [(run, color, run.of(name)) for run, color in zip(self.runs, _colors(self.runs), strict=True)]
        truths = [self.task.ground_truth(self.sequence, number) for number in self.numbers]
        scores = " · ".join(f"{page.swatch(color)}{page.percent(score.value)}" for _, color, score in scored)
        out = [
            f'<section class="card" id="sequence-{page.text(name)}">',
            f'<div class="head"><h3>{page.text(name)}</h3><span class="small">{scores}</span></div>',
            f'<div class="strip" style="grid-template-columns: 92px repeat({len(self.numbers)}, 1fr)"><span></span>',
            *(f'<span class="when">frame {number}</span>' for number in self.numbers),
            '<span class="label">truth</span>',
            *(self._cell(column, truth, None, np.nan) for column, truth in enumerate(truths)),
        ]
        for run, color, score in scored:
            out.append(f'<span class="label" style="color:{color}">{page.text(run.name)}</span>')
            results = self.task.predictions(run.results, self.sequence, self.numbers)
            for column, (number, result, truth) in enumerate(zip(self.numbers, results, truths, strict=True)):
                value = score.curve[number - 1] if 0 < number <= len(score.curve) else np.nan
                out.append(self._cell(column, result, truth, value))
        lines = [(color, score.curve) for _, color, score in scored]
        label = f"{self.task.frame_value} over the frames of {name}"
        return "".join([*out, "</div>", page.curves(lines, first=1, label=label), "</section>"])

    def _cell(self, column: int, result: np.ndarray, truth: np.ndarray | None, value: float) -> str:
        picture = page.data_uri(overlay(result, truth, self.frames[column].shape[:2]))
        number = "" if np.isnan(value) else f"<em>{page.percent(value)}</em>"
        return f'<div class="cell f{self.index}-{column}"><img alt="" src="{picture}">{number}</div>'
