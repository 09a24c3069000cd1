"""Filmstrips of the report: frames of a sequence, with the ground truth and every run's prediction over them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vfs_jax.evaluation.report import page
from vfs_jax.evaluation.report.overlays import overlay, thumbnail
from vfs_jax.evaluation.runs.comparison import Run
from vfs_jax.evaluation.tasks.base import ScoredTask

_FRAMES = 6  # at most, evenly spaced


class Filmstrip:
    """Evenly spaced frames of one sequence, and what runs predict in them.

    Attributes:
        sequence: the sequence.
        numbers: of the frames, int [n].
        frames: the frames at a thumbnail's size, RGB uint8 [h, w, 3] each.
    """

    def __init__(self, index: int, task: ScoredTask, sequence: Any, runs: Sequence[tuple[Run, str]]):
        """Read the frames.

        Args:
            index: of the strip in the page.
            task: that was evaluated.
            sequence: with its ground truth.
            runs: each with its color.
        """
        self._index, self._task, self.sequence, self._runs = index, task, sequence, runs
        count = min(_FRAMES, len(sequence))
        self.numbers = np.unique(np.round(np.linspace(0, len(sequence) - 1, count)).astype(int))
        frames = [sequence.frame(number) for number in self.numbers]
        self._size = frames[0].shape[0], frames[0].shape[1]
        self.frames = [thumbnail(frame) for frame in frames]
        self._ground_truth = [task.ground_truth(sequence, number) for number in self.numbers]

    def rows(self) -> Iterator[tuple[Run, str, list[np.ndarray]]]:
        """Yield every run, its color, and its overlays, RGBA uint8 [h, w, 4], one a frame."""
        for run, color in self._runs:
            predictions = self._task.predictions(run.results, self.sequence, self.numbers)
            pairs = zip(predictions, self._ground_truth, strict=True)
            yield run, color, [overlay(*pair, self._size) for pair in pairs]

    def style(self) -> str:
        """Return the frames as a style sheet: stored once, shared by all rows."""
        height, width = self._size
        return "\n".join(
            f".f{self._index}-{column} {{ background-image: url({page.data_uri(frame, quality=78)}); "
            f"aspect-ratio: {width} / {height}; }}"
            for column, frame in enumerate(self.frames)
        )

    def html(self, curves: str) -> str:
        """Return the card of the sequence, with its curves below the frames."""
        name = self.sequence.name
        scores = " · ".join(f"{page.swatch(color)}{page.percent(run.of(name).value)}" for run, color in self._runs)
        out = [
            f'<section class="card" id="sequence-{page.text(name)}">',
            f'<div class="head"><h3>{page.text(name)}</h3><span class="small">{scores}</span></div>',
            f'<div class="strip" style="grid-template-columns: 92px repeat({len(self.numbers)}, 1fr)"><span></span>',
            *(f'<span class="when">frame {number}</span>' for number in self.numbers),
            '<span class="label">ground truth</span>',
            *(
                self._cell(column, overlay(labels, None, self._size), np.nan)
                for column, labels in enumerate(self._ground_truth)
            ),
        ]
        for run, color, layers in self.rows():
            curve = run.of(name).curve
            out.append(f'<span class="label" style="color:{color}">{page.text(run.name)}</span>')
            for column, (number, layer) in enumerate(zip(self.numbers, layers, strict=True)):
                out.append(self._cell(column, layer, curve[number - 1] if 0 < number <= len(curve) else np.nan))
        return "".join([*out, "</div>", curves, "</section>"])

    def _cell(self, column: int, layer: np.ndarray, value: float) -> str:
        number = "" if np.isnan(value) else f"<em>{page.percent(value)}</em>"
        return f'<div class="cell f{self._index}-{column}"><img alt="" src="{page.data_uri(layer)}">{number}</div>'
