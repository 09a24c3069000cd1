"""Interactive cards of the report: click a point of a frame to see its best keys, and the features as colors."""

import base64
import json
from collections.abc import Sequence

import cv2
import numpy as np

from vfs_jax.evaluation.report import page
from vfs_jax.evaluation.report.matches import Look
from vfs_jax.evaluation.report.overlays import thumbnail
from vfs_jax.evaluation.tasks.base import LabeledSequence

_KEY_WIDTH = 200  # pixels of a key frame's picture; the frame that is clicked is three times as wide

STYLE = """
.matches { display: grid; grid-template-columns: minmax(260px, 2fr) 3fr; gap: 18px; align-items: start; }
.query { cursor: crosshair; touch-action: none; } .query:focus { outline: 2px solid var(--accent); }
.query i { position: absolute; width: 14px; height: 14px; margin: -7px; border: 2px solid #fff; border-radius: 50%;
  box-shadow: 0 0 0 1.5px #000; pointer-events: none; }
.keys { display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: 5px; margin: 4px 0 14px; }
.keys .cell { opacity: .45; } .keys .cell.hit { opacity: 1; }
.keys i { position: absolute; border-radius: 50%; border: 1.5px solid #fff; box-shadow: 0 0 0 1px #000; }
.colors { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 5px; margin: 4px 0 14px; }
.colors img { width: 100%; display: block; border-radius: 4px; image-rendering: pixelated; }
.list { margin: 0 0 12px; font-size: 12px; color: var(--soft); font-variant-numeric: tabular-nums; }
"""

# Each run's keys lie in its element: frame index + 1 (0 for none), row * cols + col, and score (0..65535), see _packed.
SCRIPT = """
const ARRAYS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };
const unpack = text => new ARRAYS[text[0]](Uint8Array.from(atob(text.slice(1)), c => c.charCodeAt(0)).buffer);
for (const card of document.querySelectorAll('.matches')) {
  const query = card.querySelector('.query'), mark = query.querySelector('i'), told = card.querySelector('.told');
  const runs = [...card.querySelectorAll('.run')].map(element => {
    const data = element.dataset;
    return { element, rows: +data.rows, cols: +data.cols, k: +data.k, temperature: +data.temperature,
      color: data.color, frames: JSON.parse(data.frames),
      frame: unpack(data.frame), place: unpack(data.place), score: unpack(data.score) };
  });
  const keysOf = (run, x, y) => {
    const row = Math.min(run.rows - 1, Math.floor(y * run.rows));
    const col = Math.min(run.cols - 1, Math.floor(x * run.cols));
    const keys = [];
    for (let n = 0; n < run.k; n++) {
      const at = (row * run.cols + col) * run.k + n;
      if (run.frame[at] === 0) continue;
      keys.push({ frame: run.frames[run.frame[at] - 1], row: Math.floor(run.place[at] / run.cols),
        col: run.place[at] % run.cols, score: run.score[at] / 65535 * 2 - 1 });
    }
    const exps = keys.map(key => Math.exp((key.score - keys[0].score) / run.temperature));
    const sum = exps.reduce((a, b) => a + b, 0);
    keys.forEach((key, n) => { key.weight = exps[n] / sum; });
    return { row, col, keys };
  };
  const show = (x, y) => {
    card.dataset.x = x; card.dataset.y = y;
    mark.style.left = 100 * x + '%'; mark.style.top = 100 * y + '%';
    told.textContent = `x ${Math.floor(x * +card.dataset.width)}, y ${Math.floor(y * +card.dataset.height)}`;
    for (const run of runs) {
      const { row, col, keys } = keysOf(run, x, y);
      run.element.dataset.cell = JSON.stringify([row, col]);
      run.element.dataset.keys = JSON.stringify(keys);
      for (const cell of run.element.querySelectorAll('.keys .cell')) {
        cell.querySelectorAll('i').forEach(dot => dot.remove());
        const here = keys.filter(key => key.frame === +cell.dataset.frame);
        cell.classList.toggle('hit', here.length > 0);
        for (const key of here) {
          const dot = document.createElement('i'), size = 5 + 14 * Math.sqrt(key.weight);
          dot.style.cssText = `width:${size}px;height:${size}px;margin:${-size / 2}px;background:${run.color};` +
            `left:${100 * (key.col + .5) / run.cols}%;top:${100 * (key.row + .5) / run.rows}%`;
          dot.title = `cosine ${key.score.toFixed(3)}, weight ${key.weight.toFixed(3)}`;
          cell.append(dot);
        }
      }
      run.element.querySelector('.list').textContent = keys.map(
        key => `frame ${key.frame} (${key.col}, ${key.row}) ${key.score.toFixed(2)}`).join(' · ');
    }
  };
  const move = event => {
    const box = query.getBoundingClientRect(), inside = v => Math.min(Math.max(v, 0), 0.999999);
    show(inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height));
  };
  query.addEventListener('pointerdown', event => { query.setPointerCapture(event.pointerId); move(event); });
  query.addEventListener('pointermove', event => { if (event.buttons) move(event); });
  query.addEventListener('keydown', event => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const inside = v => Math.min(Math.max(v, 0), 0.999999);
    show(inside(+card.dataset.x + step[0] / runs[0].cols), inside(+card.dataset.y + step[1] / runs[0].rows));
  });
  show(+card.dataset.x, +card.dataset.y);
}
"""


class MatchCard:
    """The card of one sequence: the frame to click, and every run's best keys and feature colors."""

    def __init__(
        self,
        index: int,
        sequence: LabeledSequence,
        number: int,
        point: tuple[float, float],
        looks: Sequence[tuple[str, str, float, Look]],
    ):
        """Take what the card shows.

        Args:
            index: of the card in the page.
            sequence: of the data set.
            number: of the frame.
            point: (x, y) in pixels of the frame, the first one's center at 0, where the card begins.
            looks: (name, color, temperature of the softmax, matches) of every run.
        """
        self.sequence, self.number, self.point, self.looks = sequence, number, point, looks
        self._index = index
        self._frames = sorted({frame for _, _, _, look in looks for frame in look.frames})

    def style(self) -> str:
        """Return the frames as a style sheet: stored once, shared by all runs."""
        height, width = self.sequence.size
        rules = []
        for number in [*self._frames, self.number]:
            wide = _KEY_WIDTH * (3 if number == self.number else 1)
            uri = page.data_uri(thumbnail(self.sequence.frame(number), width=wide), quality=75)
            rules.append(
                f".k{self._index}-{number} {{ background-image: url({uri}); aspect-ratio: {width} / {height}; }}"
            )
        return "\n".join(rules)

    def html(self) -> str:
        """Return the card."""
        name, (height, width) = page.text(self.sequence.name), self.sequence.size
        x, y = (self.point[0] + 0.5) / width, (self.point[1] + 0.5) / height
        out = [
            f'<section class="card" id="matches-{name}"><div class="head"><h3>{name}, frame {self.number}</h3>'
            '<span class="small soft">click a point, or move it by the arrow keys</span></div>',
            f'<div class="matches" data-x="{x:.6f}" data-y="{y:.6f}" data-width="{width}" data-height="{height}">',
            f'<div><div class="cell query k{self._index}-{self.number}" tabindex="0" role="img" '
            f'aria-label="frame {self.number}"><i></i></div><p class="when told"></p></div><div>',
            *(self._run(*each) for each in self.looks),
            "</div></div></section>",
        ]
        return "".join(out)

    def _run(self, name: str, color: str, temperature: float, look: Look) -> str:
        rows, cols, k = look.scores.shape
        there = look.where[..., 0] >= 0
        data = {
            "run": name,
            "color": color,
            "rows": rows,
            "cols": cols,
            "k": k,
            "temperature": temperature,
            "frames": json.dumps(look.frames),
            "frame": _packed(np.where(there, look.where[..., 0] + 1, 0)),
            "place": _packed(np.where(there, look.where[..., 1] * cols + look.where[..., 2], 0)),
            "score": _packed(np.round((np.where(there, np.clip(look.scores, -1, 1), 0) + 1) / 2 * 65535)),
        }
        cells = "".join(
            f'<div class="cell k{self._index}-{number}" data-frame="{number}"><em>{number}</em></div>'
            for number in sorted({*look.frames})
        )
        shown = np.unique(np.round(np.linspace(0, len(look.colored) - 1, 5)).astype(int))
        colors = "".join(
            f'<img alt="frame {look.colored[index]}" title="frame {look.colored[index]}" '
            f'src="{self._picture(look.colors[index])}">'
            for index in shown
        )
        attributes = " ".join(f'data-{key}="{page.text(value)}"' for key, value in data.items())
        return (
            f'<div class="run" {attributes}><div class="label" style="color:{color}">{page.text(name)}</div>'
            f'<div class="keys">{cells}</div><p class="list"></p>'
            f'<div class="when">features as colors (three main directions), frames '
            f"{', '.join(str(look.colored[index]) for index in shown)}</div>"
            f'<div class="colors">{colors}</div></div>'
        )

    def _picture(self, colors: np.ndarray) -> str:
        """Return the colors of features [rows, cols, 3] as a picture of the frame's aspect."""
        return page.data_uri(thumbnail(colors, self.sequence.size, interpolation=cv2.INTER_NEAREST), quality=85)


def _packed(numbers: np.ndarray) -> str:
    """Pack whole numbers for the page: the bytes that each takes, 1, 2 or 4, then all of them in base64."""
    size = np.min_scalar_type(int(numbers.max())).itemsize
    return f"{size}{base64.b64encode(numbers.astype(f'<u{size}').tobytes()).decode()}"
