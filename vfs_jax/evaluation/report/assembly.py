"""The report of an evaluation put together: one HTML file that opens without a network, runs side by side."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vfs_jax.data.text import write_text
from vfs_jax.evaluation.report import match_cards, page, plots
from vfs_jax.evaluation.report.filmstrips import Filmstrip
from vfs_jax.evaluation.report.match_cards import MatchCard
from vfs_jax.evaluation.report.matches import Inspector
from vfs_jax.evaluation.runs.comparison import Run, chart_of
from vfs_jax.evaluation.tasks.attributes import score_attributes
from vfs_jax.evaluation.tasks.base import S, ScoredTask

Published = Sequence[tuple[str, Sequence[float | None]]]
_Colored = tuple[Run, str]  # a run and its color
_STRIPS = 12  # sequences with a filmstrip; of more, half are the worst and half the best
_PICTURED = 6  # runs with filmstrips, the first ones
_MATCHED = 4  # runs whose matches are shown, the first ones
_PRINTED_BARS = 40  # sequences of the bars for print; of more, the worst ones
_MATCHES_TEXT = (
    '<p class="soft small">The keys whose labels a point takes, in the frames that it is compared with: the first one '
    "and those before it. A dot's size is its weight; the lines name frame, column and row on the grid, and cosine.</p>"
)


def write_report(
    path: str | os.PathLike[str],
    task: ScoredTask[S],
    runs: Sequence[Run],
    sequences: Sequence[S],
    *,
    title: str,
    settings: Mapping[str, object],
    published: Published = (),
    notes: Sequence[str] = (),
    pictures: Sequence[Path] = (),
    attributes: Mapping[str, Sequence[str]] | None = None,
    inspector: Inspector | None = None,
) -> None:
    """Write the report, and its figures beside it for print: figures/*.png.

    Args:
        path: the HTML file.
        task: that was evaluated.
        runs: at least one; the first decides the order of the sequences.
        sequences: of the task's data set; those without ground truth are shown, and have no score.
        title: of the page.
        settings: how the runs were made, name to value.
        published: rows to show below the runs': (name, the task's columns in percent, None where not published).
        notes: lines to show below the table.
        pictures: PNG files to show below the notes, two a line.
        attributes: the sequences of each attribute, to show the scores by.
        inspector: finds the matches of the first runs; none are shown where None.
    """
    colored = list(zip(runs, page.run_colors(len(runs)), strict=True))
    scored = [sequence for sequence in sequences if sequence.has_ground_truth]
    unscored = [sequence for sequence in sequences if not sequence.has_ground_truth]
    order = sorted(scored, key=lambda sequence: np.nan_to_num(runs[0].of(sequence.name).value, nan=-1.0))
    shown = order if len(order) <= _STRIPS else order[: _STRIPS // 2] + order[-_STRIPS // 2 :]
    pictured = colored[:_PICTURED]
    strips = [Filmstrip(index, task, sequence, pictured) for index, sequence in enumerate(shown)]
    others = [Filmstrip(len(strips) + index, task, each, pictured) for index, each in enumerate(unscored[:_STRIPS])]
    cards = _match_cards(task, colored[:_MATCHED], order, unscored, inspector) if inspector else []
    chart = chart_of(task, runs)
    names = [sequence.name for sequence in order]

    figures = {"bars": plots.bars(task, pictured, names[:_PRINTED_BARS])}
    figures["filmstrips"] = plots.filmstrips([strips[0], strips[-1]] if len(strips) > 1 else strips)
    figures |= {f"attention-{card.sequence.name.replace('/', '-')}": plots.matches(card) for card in cards}
    body = [
        f"<header><h1>{page.text(title)}</h1>",
        f'<p class="soft">{len(scored)} sequences, {sum(map(len, scored))} frames. {page.text(task.explanation)} '
        "All in percent.</p></header>",
        page.card(
            page.table(task.columns, _summary(task, colored, published), beside=_costs(runs)),
            *(f'<p class="soft small">{page.text(note)}</p>' for note in notes),
        ),
    ]
    if pictures:
        images = (f'<img alt="" src="{page.png_uri(picture.read_bytes())}">' for picture in pictures)
        body.append(page.card('<div class="plots">', *images, "</div>"))
    if attributes:
        tables = ((run.name, page.table(task.columns, _by_attribute(task, run, attributes))) for run in runs)
        body += [page.card(f"<h3>{page.text(name)} by attribute (sequences)</h3>", table) for name, table in tables]
    if chart is not None:
        name = f"{chart.column} by {chart.field}"
        figures["chart"] = plots.line_chart(chart)
        body += [f"<h2>{page.text(name)}</h2>", page.card(plots.svg(figures["chart"], name))]
    name = f"{task.primary_metric} by sequence, worst first"
    body += [
        f"<h2>{page.text(name)}</h2>",
        page.card(plots.svg(plots.bars(task, colored, names, links={sequence.name for sequence in shown}), name)),
        f"<h2>{'Sequences, worst first' if len(shown) == len(order) else 'The worst and the best sequences'}</h2>",
        '<p class="soft small">White is the ground truth, numbers are those of the frame '
        f"({page.text(task.frame_value)}). Point at a picture to see the frame alone.</p>",
    ]
    for strip in strips:
        lines = [(color, run.of(strip.name).curve) for run, color in pictured]
        curves = plots.svg(plots.curves(lines), f"{task.frame_value} over the frames of {strip.name}")
        body.append(strip.html(curves))
    if others:
        body += ["<h2>Sequences whose first frame alone is labeled</h2>", *(strip.html() for strip in others)]
    if cards:
        body += ["<h2>What a point is compared with</h2>", _MATCHES_TEXT, *(card.html() for card in cards)]
    body += [
        "<h2>How it was made</h2>",
        page.card(page.facts(settings)),
        *(page.card(f"<h3>{_name(run, color)}</h3>", page.facts(run.facts)) for run, color in colored),
    ]
    style = [
        match_cards.STYLE if cards else "",
        *(each.style() for each in strips + others),
        *(each.style() for each in cards),
    ]
    text = page.page(title, body, style="\n".join(style), script=match_cards.SCRIPT if cards else "")
    write_text(path, text)
    for name, figure in figures.items():
        plots.save(figure, Path(path).parent / "figures" / f"{name}.png")


def _match_cards(
    task: ScoredTask[S], runs: Sequence[_Colored], order: Sequence[S], unscored: Sequence[S], inspector: Inspector
) -> list[MatchCard]:
    """Return cards of the first, the last, the second ... of the ordered sequences, and of as many without score."""
    ends = [order[index // 2 if index % 2 == 0 else len(order) - 1 - index // 2] for index in range(len(order))]
    cards = []
    for index, sequence in enumerate([*unscored[: inspector.count], *ends[: inspector.count]]):
        looks = [
            (run.name, color, run.settings.temperature, inspector.look(run.name, run.encoder, run.settings, sequence))
            for run, color in runs
            if run.settings is not None and run.encoder is not None
        ]
        if looks and len(sequence) > 1:
            number, point = inspector.frame_of(sequence), inspector.point_of(task, sequence)
            cards.append(MatchCard(index, sequence, number, point, looks))
    return cards


def _summary(
    task: ScoredTask[S], runs: Sequence[_Colored], published: Published
) -> Iterator[tuple[str, Sequence[float], str]]:
    for run, color in runs:
        yield _name(run, color), [run.summary[column] for column in task.columns], ""
    for name, values in published:
        yield page.text(name), [np.nan if value is None else value / 100 for value in values], "published"


def _costs(runs: Sequence[Run]) -> list[list[str]]:
    """Return what the runs cost as columns beside their scores."""
    costs = [run.cost for run in runs if run.cost is not None]
    if len(costs) < len(runs):
        return []
    return [
        ["Parameters", *("–" if each.parameters is None else f"{each.parameters / 1e6:.1f}\u00a0M" for each in costs)],
        ["s a frame", *(f"{each.seconds_per_frame:.3f}" for each in costs)],
        ["Memory", *(f"{each.peak_memory_mb / 1e3:.2f}\u00a0GB" for each in costs)],
    ]


def _by_attribute(
    task: ScoredTask[S], run: Run, attributes: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, Sequence[float], str]]:
    for score in score_attributes(task, run.scores, attributes):
        name = f"{page.text(score.name)} ({score.sequences})"
        yield name, [score.values[column] for column in task.columns], "published"


def _name(run: Run, color: str) -> str:
    return page.swatch(color) + page.text(run.name)
