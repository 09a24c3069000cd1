"""Filmstrips of the report: frames of a sequence, with the ground truth and every run's prediction over them."""

from collections.abc import Sequence

import numpy as np

from vfs_jax.evaluation.report import page
from vfs_jax.evaluation.report.overlays import overlay, thumbnail
from vfs_jax.evaluation.runs.comparison import Run
from vfs_jax.evaluation.tasks.base import S, ScoredTask

_FRAMES = 6  # at most, evenly spaced


class Filmstrip:
    """Evenly spaced frames of one sequence, and what runs predict in them.

    Attributes:
        name: of the sequence.
        numbers: of the frames, int [n].
        frames: the frames at a thumbnail's size, RGB uint8 [h, w, 3] each.
        rows: every run, its color, and its predictions, beside the ground truth where there is one, RGBA uint8 [h, w,
            4] a frame.
    """

    def __init__(self, index: int, task: ScoredTask[S], sequence: S, runs: Sequence[tuple[Run, str]]):
        """Read the frames and draw the labels.

        Args:
            index: of the strip in the page.
            task: that was evaluated.
            sequence: of the task's data set.
            runs: each with its color.
        """
        self._index, self.name, self._size = index, sequence.name, sequence.size
        self._scored = sequence.has_ground_truth
        count = min(_FRAMES, len(sequence))
        self.numbers = np.unique(np.round(np.linspace(0, len(sequence) - 1, count)).astype(int))
        self.frames = [thumbnail(sequence.frame(number)) for number in self.numbers]
        ground_truth: list[np.ndarray | None] = [None] * len(self.numbers)
        if self._scored:
            ground_truth = [task.ground_truth(sequence, number) for number in self.numbers]
        self._ground_truth = [overlay(labels, None, sequence.size) for labels in ground_truth if labels is not None]
        self.rows: list[tuple[Run, str, list[np.ndarray]]] = []
        for run, color in runs:
            predictions = task.predictions(run.results, sequence, self.numbers)
            pairs = zip(predictions, ground_truth, strict=True)
            self.rows.append((run, color, [overlay(*pair, sequence.size) for pair in pairs]))

    def style(self) -> str:
        """Return the frames as a style sheet: stored once, shared by all rows."""
        height, width = self._size
        return "\n".join(
            f".f{self._index}-{column} {{ background-image: url({page.data_uri(frame, quality=78)}); "
            f"aspect-ratio: {width} / {height}; }}"
            for column, frame in enumerate(self.frames)
        )

    def html(self, curves: str = "") -> str:
        """Return the card of the sequence, with its curves below the frames."""
        name, scores, truth = self.name, "", []
        if self._scored:
            values = (f"{page.swatch(color)}{page.percent(run.of(name).value)}" for run, color, _ in self.rows)
            scores, truth = " · ".join(values), ['<span class="label">ground truth</span>']
        out = [
            f'<section class="card" id="sequence-{page.text(name)}">',
            f'<div class="head"><h3>{page.text(name)}</h3><span class="small">{scores}</span></div>',
            f'<div class="strip" style="grid-template-columns: 92px repeat({len(self.numbers)}, 1fr)"><span></span>',
            *(f'<span class="when">frame {number}</span>' for number in self.numbers),
            *truth,
            *(self._cell(column, layer, np.nan) for column, layer in enumerate(self._ground_truth)),
        ]
        for run, color, layers in self.rows:
            curve = run.of(name).curve if self._scored else ()
            out.append(f'<span class="label" style="color:{color}">{page.text(run.name)}</span>')
            for column, (number, layer) in enumerate(zip(self.numbers, layers, strict=True)):
                out.append(self._cell(column, layer, curve[number - 1] if 0 < number <= len(curve) else np.nan))
        return "".join([*out, "</div>", curves, "</section>"])

    def _cell(self, column: int, layer: np.ndarray, value: float) -> str:
        number = "" if np.isnan(value) else f"<em>{page.percent(value)}</em>"
        return f'<div class="cell f{self._index}-{column}"><img alt="" src="{page.data_uri(layer)}">{number}</div>'
