"""Pieces of a self-contained HTML page: its frame and style, embedded images, bars and curves as inline SVG."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

# One color a run; after Okabe and Ito, told apart by color-blind readers too.
RUN_COLORS = ("#0f6cbd", "#d9730d", "#1a936f", "#9b51c4", "#b8860b", "#c2395d")

_STYLE = """
:root { --ink: #1c2430; --soft: #5d6878; --line: #e3e7ed; --paper: #ffffff; --ground: #f5f7fa; --accent: #0f6cbd; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 40px 28px 64px; }
header { margin-bottom: 28px; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 8px; }
h2 { font-size: 19px; letter-spacing: -0.01em; margin: 40px 0 12px; }
h3 { font-size: 16px; margin: 0; }
p { margin: 0 0 10px; max-width: 78ch; }
.soft { color: var(--soft); }
.small { font-size: 13px; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin: 0 0 16px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; font-size: 13px; color: var(--soft); padding: 4px 10px 8px; }
td { text-align: right; padding: 7px 10px; border-top: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.best { font-weight: 700; }
tr.published td { color: var(--soft); }
.swatch { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 8px; }
.legend > span { margin-right: 18px; white-space: nowrap; }
.bars { display: grid; grid-template-columns: max-content 1fr; gap: 6px 16px; align-items: center; }
.bars a { color: inherit; text-decoration: none; } .bars a:hover { color: var(--accent); }
.bar { position: relative; height: 13px; margin: 2px 0; background: #eef1f5; border-radius: 3px; }
.bar i { position: absolute; inset: 0 auto 0 0; border-radius: 3px; }
.bar b { position: absolute; right: 6px; top: 0; font: 600 11px/13px system-ui, sans-serif; color: var(--soft); }
.head { display: flex; justify-content: space-between; align-items: baseline; gap: 16px; margin-bottom: 12px; }
.strip { display: grid; gap: 6px; align-items: center; }
.label { font-size: 13px; font-weight: 600; overflow-wrap: anywhere; line-height: 1.25; }
.cell { position: relative; background-size: cover; border-radius: 5px; overflow: hidden;
  -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.cell img { position: absolute; inset: 0; width: 100%; height: 100%; transition: opacity .15s; }
.cell:hover img { opacity: 0; }
.cell em { position: absolute; left: 5px; bottom: 4px; padding: 0 5px; border-radius: 3px;
  background: rgba(18, 24, 33, .72); color: #fff; font: 600 11px/16px system-ui, sans-serif; }
.when { font-size: 12px; color: var(--soft); text-align: center; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 20px; margin: 0; font-size: 13px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
@media print { body { background: #fff; } .card { break-inside: avoid; } }
"""


def page(title: str, body: Iterable[str], *, style: str = "", script: str = "") -> str:
    """Return the whole page; `style` is added to its own style sheet, `script` runs when all of it is there."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n"
        + (f"<script>{script}</script>\n" if script else "")
        + "</body>\n</html>\n"
    )


def text(value: object) -> str:
    """Text, safe inside elements and attributes."""
    return html.escape(str(value))


def percent(value: float) -> str:
    """Return a share as percent with one decimal; a dash where there is none."""
    return "–" if np.isnan(value) else f"{100 * value:.1f}"


def swatch(color: str) -> str:
    """Return a small square of color, for legends."""
    return f'<span class="swatch" style="background:{color}"></span>'


def data_uri(image: np.ndarray, *, quality: int | None = None) -> str:
    """Return an image as a data URI: JPEG where a quality is given, else PNG.

    Args:
        image: uint8 [h, w, 3] or, for PNG, [h, w, 4].
        quality: of the JPEG, 1..95.
    """
    buffer = io.BytesIO()
    if quality is None:
        # Masks hold a handful of colors: 32 of them with transparency make a PNG of one or two kB.
        Image.fromarray(image).quantize(32, method=Image.Quantize.FASTOCTREE).save(buffer, "PNG", optimize=True)
    else:
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
    kind = "png" if quality is None else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def table(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[float], str]]) -> str:
    """Return a table of percentages with the best value of every column bold.

    Args:
        columns: titles of the value columns; in those that end in "Decay" the least value is the best.
        rows: (first cell as HTML, values as shares, class of the row: "" for rows that compete).
    """
    rows = list(rows)
    competing = [values for _, values, kind in rows if not kind]
    best: list[float] = []
    for index, column in enumerate(columns):
        found = [values[index] for values in competing if not np.isnan(values[index])]
        pick = min if column.endswith("Decay") else max
        best.append(pick(found) if len(found) > 1 else np.nan)
    out = ["<table><tr><th></th>", *(f"<th>{text(column)}</th>" for column in columns), "</tr>"]
    for first, values, kind in rows:
        out.append(f'<tr class="{kind}"><td>{first}</td>')
        for value, top in zip(values, best, strict=True):
            out.append(f'<td class="{"best" if not kind and value == top else ""}">{percent(value)}</td>')
        out.append("</tr>")
    return "".join([*out, "</table>"])


def bars(rows: Iterable[tuple[str, str, Sequence[tuple[str, float]]]]) -> str:
    """Horizontal bars from 0 to 100%.

    Args:
        rows: (name, link target within the page, (color, share) a bar).
    """
    out = ['<div class="bars">']
    for name, target, values in rows:
        out.append(f'<a href="#{text(target)}">{text(name)}</a><div>')
        for color, value in values:
            width = 0 if np.isnan(value) else 100 * min(max(value, 0), 1)
            fill = f'<i style="width:{width:.2f}%;background:{color}"></i>'
            out.append(f'<div class="bar">{fill}<b>{percent(value)}</b></div>')
        out.append("</div>")
    return "".join([*out, "</div>"])


def chart(labels: Sequence[str], lines: Iterable[tuple[str, Sequence[float]]], *, title: str) -> str:
    """Return lines of shares over named places, which do not lie on a scale, between the least and the greatest share.

    Args:
        labels: of the places, from left to right.
        lines: (color, a share at each place) a line; NaN leaves a gap.
        title: what is drawn, told to screen readers.
    """
    drawn = [(color, np.asarray(values, float)) for color, values in lines]
    width, height, left, bottom = 1180, 260, 44, 34
    known = np.concatenate([values[~np.isnan(values)] for _, values in drawn])
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    low, high = max(low - 0.02, 0.0), min(high + 0.02, 1.0)

    def x(place: int) -> float:
        return left + (width - left - 30) * (place + 0.5) / len(labels)

    def y(value: float) -> float:
        return 8 + (height - bottom - 8) * (1 - (value - low) / (high - low))

    out = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(title)}">']
    for share in np.linspace(low, high, 5):
        out.append(f'<line x1="{left}" x2="{width - 6}" y1="{y(share):.1f}" y2="{y(share):.1f}" stroke="#e3e7ed"/>')
        out.append(f'<text x="{left - 6}" y="{y(share) + 4:.1f}" text-anchor="end">{100 * share:.1f}</text>')
    for place, label in enumerate(labels):
        out.append(f'<text x="{x(place):.1f}" y="{height - 12}" text-anchor="middle">{text(label)}</text>')
    for color, values in drawn:
        there = [(x(place), y(value)) for place, value in enumerate(values) if not np.isnan(value)]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in there)
        out.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{color}"></circle>' for a, b in there]
    return "".join([*out, "</svg>"])


def curves(lines: Iterable[tuple[str, np.ndarray]], *, first: int = 0, label: str = "") -> str:
    """Curves of shares over frames, 0..100% over the whole height.

    Args:
        lines: (color, values [t]) a curve.
        first: frame number of the first value.
        label: what is drawn, told to screen readers and on the axis.
    """
    width, height, left, bottom = 1180, 110, 34, 16
    lines = [(color, values) for color, values in lines if len(values)]
    frames = max((len(values) for _, values in lines), default=1)

    def x(frame: float) -> float:
        return left + (width - left - 6) * frame / max(frames - 1, 1)

    def y(value: float) -> float:
        return 6 + (height - bottom - 6) * (1 - min(max(value, 0), 1))

    out = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(label)}">']
    for share in (0, 0.5, 1):
        out.append(f'<line x1="{left}" x2="{width - 6}" y1="{y(share)}" y2="{y(share)}" stroke="#e3e7ed"/>')
        out.append(f'<text x="{left - 6}" y="{y(share) + 4}" text-anchor="end">{100 * share:.0f}</text>')
    for frame in sorted({0, (frames - 1) // 2, frames - 1}):
        out.append(f'<text x="{x(frame):.1f}" y="{height - 2}" text-anchor="middle">{frame + first}</text>')
    for color, values in lines:
        points = " ".join(f"{x(frame):.1f},{y(value):.1f}" for frame, value in enumerate(values) if not np.isnan(value))
        out.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.8"/>')
    return "".join([*out, "</svg>"])


def facts(values: Mapping[str, object]) -> str:
    """Return a list of names and values."""
    return "".join(["<dl>", *(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in values.items()), "</dl>"])
