"""The report of mask propagation: one HTML file that opens without a network, several runs side by side."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from vfs_jax.data.video_labels import MaskSequence, read_frame, read_index_mask
from vfs_jax.evaluation import page
from vfs_jax.evaluation.metrics import davis

# Brighter than the DAVIS palette, whose dark red and green drown in a photograph.
LABEL_COLORS = np.array(
    [[230, 57, 70], [42, 157, 143], [244, 185, 66], [69, 123, 230], [186, 85, 211], [255, 127, 80], [0, 190, 220]],
    np.uint8,
)
_THUMB_WIDTH = 300  # pixels, about twice what is shown: sharp on dense screens
_FRAMES = 6  # a filmstrip
_STRIPS = 12  # sequences with a filmstrip; of more, half are the worst and half the best


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of the report.

    Attributes:
      name: shown everywhere.
      masks: folder that holds SEQUENCE/00000.png.
      scores: of all objects of all sequences.
      facts: what else to tell (weights, checksum, seconds a frame ...), name to value.
    """

    name: str
    masks: Path
    scores: Sequence[davis.ObjectScore]
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def frame_values(self, sequence: str) -> np.ndarray:
        """J&F of every frame that counts, mean over the objects: [t - 2]."""
        values = [(score.region + score.contour) / 2 for score in self.scores if score.sequence == sequence]
        return np.mean(values, axis=0) if values else np.zeros(0)

    def score(self, sequence: str) -> float:
        """J&F-Mean of one sequence, mean over its objects; NaN where no frame counts."""
        values = self.frame_values(sequence)
        return float(values.mean()) if len(values) else np.nan


def write_report(
    path: str | os.PathLike[str],
    runs: Sequence[Run],
    sequences: Sequence[MaskSequence],
    *,
    title: str,
    settings: Mapping[str, object],
    published: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Writes the report.

    Args:
      path: the HTML file.
      runs: at least one; the first decides the order of the sequences.
      sequences: with a true mask a frame.
      title: of the page.
      settings: how the runs were made, name to value.
      published: rows to show below the runs': name to the official columns in percent, NaN where not published.
    """
    order = sorted(sequences, key=lambda sequence: np.nan_to_num(runs[0].score(sequence.name), nan=-1.0))
    shown = order if len(order) <= _STRIPS else order[: _STRIPS // 2] + order[-_STRIPS // 2 :]
    strips = [_Strip(index, sequence, runs) for index, sequence in enumerate(shown)]
    colors = _colors(runs)
    body = [
        f"<header><h1>{page.text(title)}</h1>",
        f'<p class="soft">{len(sequences)} sequences, {sum(map(len, sequences))} frames. J: overlap of regions, '
        "F: accuracy of contours, J&amp;F: their mean; all in percent, first and last frame left out.</p></header>",
        '<section class="card">',
        page.table(davis.COLUMNS, _summary(runs, published or {})),
        "</section>",
        "<h2>J&amp;F by sequence, worst first</h2>",
        '<section class="card">',
        _legend(runs),
        page.bars(
            (
                sequence.name,
                f"sequence-{sequence.name}",
                [(color, run.score(sequence.name)) for run, color in zip(runs, colors, strict=True)],
            )
            for sequence in order
        ),
        "</section>",
        f"<h2>{'Sequences, worst first' if len(shown) == len(order) else 'The worst and the best sequences'}</h2>",
        '<p class="soft small">White lines are the true contours, numbers J&amp;F of the frame. '
        "Point at a picture to see the frame alone.</p>",
        *(strip.html() for strip in strips),
        "<h2>How it was made</h2>",
        '<section class="card">',
        page.facts(settings),
        "</section>",
        *(
            f'<section class="card"><h3>{page.swatch(color)}{page.text(run.name)}</h3>{page.facts(run.facts)}</section>'
            for run, color in zip(runs, colors, strict=True)
        ),
    ]
    style = "\n".join(strip.style() for strip in strips)
    Path(path).write_text(page.page(title, body, style=style), encoding="utf-8")


def _colors(runs: Sequence[Run]) -> list[str]:
    return [page.RUN_COLORS[index % len(page.RUN_COLORS)] for index in range(len(runs))]


def _legend(runs: Sequence[Run]) -> str:
    entries = (
        f"<span>{page.swatch(c)}{page.text(run.name)}</span>" for run, c in zip(runs, _colors(runs), strict=True)
    )
    return f'<p class="legend small">{"".join(entries)}</p>'


def _summary(
    runs: Sequence[Run], published: Mapping[str, Sequence[float]]
) -> Iterator[tuple[str, Sequence[float], str]]:
    for run, color in zip(runs, _colors(runs), strict=True):
        row = davis.global_row(run.scores)
        yield page.swatch(color) + page.text(run.name), [row[column] for column in davis.COLUMNS], ""
    for name, values in published.items():
        yield page.text(name), [value / 100 for value in values], "published"


class _Strip:
    """Frames of one sequence, evenly spaced, with the true masks and those of every run."""

    def __init__(self, index: int, sequence: MaskSequence, runs: Sequence[Run]):
        self.index, self.sequence, self.runs = index, sequence, runs
        count = min(_FRAMES, len(sequence))
        self.numbers = np.unique(np.round(np.linspace(0, len(sequence) - 1, count)).astype(int))

    def style(self) -> str:
        """The frames, stored once and shared by all rows."""
        rules = []
        for column, number in enumerate(self.numbers):
            frame = read_frame(self.sequence.frames[number])
            h, w = frame.shape[:2]
            frame = cv2.resize(frame, _thumb_size(h, w), interpolation=cv2.INTER_AREA)
            uri = page.data_uri(frame, quality=78)
            rules.append(f".f{self.index}-{column} {{ background-image: url({uri}); aspect-ratio: {w} / {h}; }}")
        return "\n".join(rules)

    def html(self) -> str:
        """The card of the sequence."""
        name, runs = self.sequence.name, self.runs
        colors = _colors(runs)
        truths = [self.sequence.mask(number) for number in self.numbers]
        scores = " · ".join(f"{page.swatch(c)}{page.percent(r.score(name))}" for r, c in zip(runs, colors, strict=True))
        out = [
            f'<section class="card" id="sequence-{page.text(name)}">',
            f'<div class="head"><h3>{page.text(name)}</h3><span class="small">{scores}</span></div>',
            f'<div class="strip" style="grid-template-columns: 92px repeat({len(self.numbers)}, 1fr)"><span></span>',
            *(f'<span class="when">frame {number}</span>' for number in self.numbers),
            '<span class="label">truth</span>',
            *(self._cell(column, truth, None, np.nan) for column, truth in enumerate(truths)),
        ]
        for run, color in zip(runs, colors, strict=True):
            out.append(f'<span class="label" style="color:{color}">{page.text(run.name)}</span>')
            values = run.frame_values(name)
            for column, (number, truth) in enumerate(zip(self.numbers, truths, strict=True)):
                mask = read_index_mask(run.masks / name / f"{self.sequence.frames[number].stem}.png")
                value = values[number - 1] if 0 < number <= len(values) else np.nan
                out.append(self._cell(column, mask, truth, value))
        lines = [(color, run.frame_values(name)) for run, color in zip(runs, colors, strict=True)]
        out += ["</div>", page.curves(lines, first=1, label=f"J&F over the frames of {name}"), "</section>"]
        return "".join(out)

    def _cell(self, column: int, mask: np.ndarray, truth: np.ndarray | None, value: float) -> str:
        overlay = page.data_uri(_overlay(mask, truth))
        number = "" if np.isnan(value) else f"<em>{page.percent(value)}</em>"
        return f'<div class="cell f{self.index}-{column}"><img alt="" src="{overlay}">{number}</div>'


def _thumb_size(h: int, w: int) -> tuple[int, int]:
    """Width and height of a thumbnail, in OpenCV's order."""
    return _THUMB_WIDTH, max(round(h * _THUMB_WIDTH / w), 1)


def _overlay(mask: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    """Labels as translucent colours with solid outlines, and the truth's contours in white: RGBA uint8 [h, w, 4]."""
    size = _thumb_size(*mask.shape)
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    out = np.zeros((*mask.shape, 4), np.uint8)
    for label in np.unique(mask[mask > 0]):
        color = LABEL_COLORS[(label - 1) % len(LABEL_COLORS)]
        inside = mask == label
        out[inside] = (*color, 125)
        out[inside & ~cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)] = (*color, 255)
    if truth is not None:
        truth = cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST)
        for label in np.unique(truth[truth > 0]):
            out[davis.contour(truth == label)] = 255
    return out
