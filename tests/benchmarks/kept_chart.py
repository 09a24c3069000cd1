"""Draw what benchmarks have kept: a panel for each benchmark on each machine, a bar for each figure, the newest last.

python tests/benchmarks/kept_chart.py docs/benchmarks.json docs/benchmarks.svg
"""

import json
import sys
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt

BAR = 0.22  # inches


def draw(figures: Path, chart: Path) -> None:
    """Draw the figures of a file.

    Args:
        figures: the file that `kept.keep` wrote.
        chart: where to draw; the same figures give the same bytes.
    """
    panels: dict[str, list[dict]] = {}
    for entry in json.loads(figures.read_text()):
        benchmark, _, entry["side"] = entry["name"].partition(": ")
        panels.setdefault(f"{benchmark}: {entry['unit']}, {entry['machine']}", []).append(entry)
    sides = list(dict.fromkeys(entry["side"] for entries in panels.values() for entry in entries))
    heights = [len(entries) + 2.5 for entries in panels.values()]
    with plt.rc_context({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 8}):
        figure, axes = plt.subplots(
            len(panels),
            figsize=(9, BAR * sum(heights)),
            height_ratios=heights,
            layout="constrained",
            squeeze=False,
        )
        for axis, (title, entries) in zip(axes.flat, panels.items(), strict=True):
            labels = [f"{entry['side']}, {entry['commit']} ({entry['date']})" for entry in entries]
            colors = [f"C{sides.index(entry['side']) % 10}" for entry in entries]
            values = [entry["figure"] for entry in entries]
            bars = axis.barh(range(len(entries)), values, color=colors)
            axis.bar_label(bars, [f"{each:,.0f}" if each >= 1000 else f"{each:.4g}" for each in values], padding=3)
            axis.set_yticks(range(len(entries)), labels)
            axis.set_title(textwrap.fill(title, 80), loc="left", fontsize=8, fontweight="bold")
            axis.set_xticks([])
            axis.margins(x=0.1)
            axis.invert_yaxis()
            axis.spines[["top", "right", "bottom"]].set_visible(False)
        figure.savefig(chart, metadata={"Date": None} if chart.suffix == ".svg" else None)
        plt.close(figure)


if __name__ == "__main__":
    draw(*map(Path, sys.argv[1:]))
