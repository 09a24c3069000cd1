"""The last step of launch/real_proof.sh: two baselines without a network, one table and one chart of all results.

  python launch/real_proof.py DAVIS OUT [--max_frames=N]

DAVIS is a folder of the DAVIS 2017 layout, OUT what the steps before wrote into. It gets baselines/, results.md and
curve.png; the table is over all seeds that OUT holds.
"""

import argparse
import csv
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from vfs_jax.data.images import write_index_mask
from vfs_jax.data.mask_datasets import MaskSequence
from vfs_jax.evaluation.encoders import of_network
from vfs_jax.evaluation.propagation.features import prepare_frame
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.runs import propagation as runs
from vfs_jax.evaluation.tasks.base import write_tables
from vfs_jax.evaluation.tasks.masks import Davis
from vfs_jax.models import ResNet, normalize_images

STAGES = ("res3", "res4", "res5")
SETTINGS = Settings()
Rows = dict[str, dict[str, float]]  # measures of each sequence, and of "all"


def copied_masks(sequence: MaskSequence, out: Path) -> None:
    """Write the first frame's mask as the result of every frame."""
    first = sequence.mask(0)
    for path in sequence.frames:
        write_index_mask(out / f"{path.stem}.png", first)


def patch_masks(sequence: MaskSequence, out: Path) -> None:
    """Propagate as VFS does, with the colors of the 8x8 pixels of each grid cell in place of a network's features."""
    layout = runs.layouts_of([sequence], SETTINGS, of_network(ResNet(18), {}), max_sizes=1)[sequence.name]

    def patches() -> Iterator[Array]:
        rows, cols = layout.grid(SETTINGS.output)
        for index in range(len(sequence)):
            image = normalize_images(prepare_frame(sequence.frame(index), layout))
            padding = ((0, 8 * rows - image.shape[0]), (0, 8 * cols - image.shape[1]), (0, 0))
            whole = jnp.pad(image, padding, mode="edge").reshape(rows, 8, cols, 8, 3)
            yield jnp.moveaxis(whole, 1, 2).reshape(rows, cols, -1)

    out.rmdir()  # the task makes it
    for job in Davis().write(patches(), sequence, out, SETTINGS, layout):
        job()


def measure(folder: Path, sequences: Sequence[MaskSequence], write: Callable[[MaskSequence, Path], None]) -> None:
    """Write masks and tables of a baseline, unless they are there."""
    task = Davis()
    if (folder / "global.csv").exists():
        return
    for sequence in sequences:
        out = task.output(folder / task.folder, sequence)
        if not out.exists():
            partial = folder / "partial" / sequence.name
            partial.mkdir(parents=True, exist_ok=True)
            write(sequence, partial)
            out.parent.mkdir(exist_ok=True)
            partial.rename(out)
    write_tables(folder, task, [task.score(folder / task.folder, sequence) for sequence in sequences])


def read_rows(folder: Path) -> Rows:
    """Read J&F, J and F in percent, of every sequence and of all, from a run's tables."""
    rows: Rows = {}
    for name in ("per_object.csv", "global.csv"):
        with (folder / name).open(newline="") as file:
            for row in csv.DictReader(file):
                sequence = row.get("Sequence", "all").removesuffix("_1")
                rows[sequence] = {measure: 100 * float(row[f"{measure}-Mean"]) for measure in ("J&F", "J", "F")}
    return rows


def mean_rows(tables: Sequence[Rows]) -> Rows:
    """Average the measures over seeds."""
    return {
        name: {measure: statistics.mean(table[name][measure] for table in tables) for measure in measures}
        for name, measures in tables[0].items()
    }


def read_lines(path: Path) -> list[dict[str, float]]:
    """Read the lines of a log; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def results(out: Path, tables: dict[str, Rows], seeds: Sequence[int]) -> str:
    """Lay out in Markdown: the six sequences, tennis against step, tracking, time and the embedding's spread."""
    names = [name for name in next(iter(tables.values())) if name != "all"]
    lines = [
        f"Mean of {len(names)} sequences, {len(seeds)} seed(s): {', '.join(map(str, seeds))}.",
        "",
        f"| features | J&F | J | F | {' | '.join(names)} |",
        f"| --- | --- | --- | --- |{' --- |' * len(names)}",
    ]
    for label, rows in tables.items():
        values = [rows["all"][measure] for measure in ("J&F", "J", "F")] + [rows[name]["J&F"] for name in names]
        lines.append(f"| {label} | {' | '.join(f'{value:.1f}' for value in values)} |")
    gain = tables["trained res4"]["all"]["J&F"] - tables["random res4"]["all"]["J&F"]
    lines += ["", f"Trained minus random: {gain:+.1f} points J&F", ""]

    for seed in seeds:
        log, scores = (
            read_lines(out / f"train-{seed}/metrics.jsonl"),
            read_lines(out / f"train-{seed}/evaluation.jsonl"),
        )
        starts = [0.0, *(entry["step"] for entry in log)]
        seconds = sum(
            (entry["step"] - start) / entry["steps_per_second"] for start, entry in zip(starts, log, strict=False)
        )
        tennis = ", ".join(f"{100 * entry['J&F-Mean']:.1f} after {entry['step']:.0f}" for entry in scores)
        random = read_rows(out / f"tennis-{seed}")["all"]["J&F"]
        lines += [
            f"Seed {seed}: {log[-1]['step']:.0f} steps in {seconds / 60:.0f} min, evaluation not counted; loss "
            f"{log[0]['loss']:.2f} to {log[-1]['loss']:.2f}; standard deviation of the embedding at least "
            f"{min(entry['embedding_std'] for entry in log):.2f} of an even spread. "
            f"Tennis, J&F: {random:.1f} with random weights, {tennis} steps.",
            "",
        ]

    lines += ["| boxes by raw features | Crossing, success | Soccer, success |", "| --- | --- | --- |"]
    for seed in seeds:
        for kind in (f"random-{seed}", f"train-{seed}"):
            with (out / f"otb-{seed}" / kind / "per_sequence.csv").open(newline="") as file:
                success = {row["Sequence"]: 100 * float(row["Success"]) for row in csv.DictReader(file)}
            lines.append(f"| {kind} | {success['Crossing']:.1f} | {success['Soccer']:.1f} |")
    return "\n".join(lines) + "\n"


def draw(out: Path, tables: dict[str, Rows], seeds: Sequence[int], path: Path) -> None:
    """Draw tennis against step beside the six sequences' bars."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
    for seed in seeds:
        scores = read_lines(out / f"train-{seed}/evaluation.jsonl")
        steps = [0.0, *(entry["step"] for entry in scores)]
        values = [read_rows(out / f"tennis-{seed}")["all"]["J&F"], *(100 * entry["J&F-Mean"] for entry in scores)]
        left.plot(steps, values, "o-", label=f"seed {seed}")
    left.set(title="tennis, res4", xlabel="step", ylabel="J&F")
    left.legend()
    shown = ("first mask copied", "RGB patches", "random res4", "trained res4")
    names = [*(name for name in tables[shown[0]] if name != "all"), "all"]
    for number, label in enumerate(shown):
        heights = [tables[label][name]["J&F"] for name in names]
        right.bar(np.arange(len(names)) + 0.2 * (number - 1.5), heights, width=0.2, label=label)
    right.set_xticks(range(len(names)), names, rotation=20)
    right.set(title=f"mean of {len(seeds)} seed(s)", ylabel="J&F", ylim=(0, 100))
    right.legend(ncols=2, fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure the baselines, write table and chart, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("davis", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--max_frames", type=int)
    flags = parser.parse_args()
    opened = Davis().open(str(flags.davis), split="val")
    sequences = [sequence.cut(flags.max_frames) for sequence in opened]
    tables: dict[str, Rows] = {}
    for label, write in {"first mask copied": copied_masks, "RGB patches": patch_masks}.items():
        folder = flags.out / "baselines" / label.replace(" ", "_")
        measure(folder, sequences, write)
        tables[label] = read_rows(folder)
    seeds = sorted(int(path.name.removeprefix("davis-")) for path in flags.out.glob("davis-*"))
    for kind in ("random", "train"):
        for stage in STAGES:
            found = [read_rows(flags.out / f"davis-{seed}" / f"{kind}-{seed}-{stage}") for seed in seeds]
            tables[f"{kind.replace('train', 'trained')} {stage}"] = mean_rows(found)
    text = results(flags.out, tables, seeds)
    (flags.out / "results.md").write_text(text)
    draw(flags.out, tables, seeds, flags.out / "curve.png")
    print(text)


if __name__ == "__main__":
    main()
