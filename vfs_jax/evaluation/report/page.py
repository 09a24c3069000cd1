"""Pieces of a self-contained HTML page: its style, colors, embedded images and tables."""

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
svg text { font-family: system-ui, sans-serif !important; fill: var(--soft); }
svg a text { fill: var(--accent); }
.plots { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; } .plots img { width: 100%; }
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


def run_colors(count: int) -> list[str]:
    """Return a color for each of so many runs; the colors repeat."""
    return [RUN_COLORS[index % len(RUN_COLORS)] for index in range(count)]


def card(*content: str) -> str:
    """Return a card, the white box of the page."""
    return "".join(['<section class="card">', *content, "</section>"])


def text(value: object) -> str:
    """Escape a value, as text, for elements and attributes."""
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
    if quality is not None:
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    # Masks hold a handful of colors: 32 of them with transparency make a PNG of one or two kB.
    Image.fromarray(image).quantize(32, method=Image.Quantize.FASTOCTREE).save(buffer, "PNG", optimize=True)
    return png_uri(buffer.getvalue())


def png_uri(content: bytes) -> str:
    """Return the content of a PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def table(
    columns: Sequence[str], rows: Iterable[tuple[str, Sequence[float], str]], *, beside: Sequence[Sequence[str]] = ()
) -> str:
    """Return a table of percentages with the best value of every column bold.

    Args:
        columns: titles of the value columns; in those that end in "Decay" the least value is the best.
        rows: (first cell as HTML, values as shares, class of the row: "" for rows that compete).
        beside: further columns as text, each a title and a cell for each of the first rows.
    """
    rows = list(rows)
    competing = [values for _, values, kind in rows if not kind]
    best: list[float] = []
    for index, column in enumerate(columns):
        known = [values[index] for values in competing if not np.isnan(values[index])]
        pick = min if column.endswith("Decay") else max
        best.append(pick(known) if len(known) > 1 else np.nan)
    titles = [*columns, *(column[0] for column in beside)]
    out = ["<table><tr><th></th>", *(f"<th>{text(title)}</th>" for title in titles), "</tr>"]
    for number, (first, values, kind) in enumerate(rows, start=1):
        out.append(f'<tr class="{kind}"><td>{first}</td>')
        for value, top in zip(values, best, strict=True):
            out.append(f'<td class="{"best" if not kind and value == top else ""}">{percent(value)}</td>')
        out += [f"<td>{text(column[number]) if number < len(column) else ''}</td>" for column in beside]
        out.append("</tr>")
    return "".join([*out, "</table>"])


def facts(values: Mapping[str, object]) -> str:
    """Return a list of names and values."""
    return "".join(["<dl>", *(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in values.items()), "</dl>"])
