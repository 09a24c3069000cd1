"""What launch/reproduce.sh tells before it starts and when it ends: time and disk of its stages, and the table.

  python launch/reproduce.py foretell OUT DAVIS "RECIPES" TOPOLOGY [FLAGS OF vfs-train]
  python launch/reproduce.py count OUT
  python launch/reproduce.py table OUT "RECIPES"

Figures that were measured are told with what they were measured on; what was not is told as that.
"""

import csv
import dataclasses
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from vfs_jax.data.record_fields import read_manifest
from vfs_jax.data.text import write_text
from vfs_jax.errors import InputError
from vfs_jax.evaluation.tasks.boxes import Otb
from vfs_jax.evaluation.tasks.masks import Davis
from vfs_jax.evaluation.tasks.names import TASKS

CLIPS = 240_000  # of Kinetics-400 that the paper trained on
# docs/preparation.md, two cores: 300 frames a clip at 1155 frames a CPU-second, 6.1 MB a clip, every frame kept.
CLIPS_PER_CORE_SECOND, BYTES_PER_CLIP = 1155 / 300, 6.1e6
# docs/training.md: ResNet-18, 64 clips of 8 frames, 224 pixels, bfloat16, from records, one H200, 2026-11-27.
R18_STEPS_PER_SECOND, R18_MEASURED = 24.0, "measured on one H200, bfloat16, 2026-11-27"
# docs/scaling.md, eight H100s, compiled: a step of ResNet-50 moves 28.9 GB a chip, one of ResNet-18 7.1; that binds.
R50_TO_R18, R50_COMPUTED = 28.9 / 7.1, "not measured: ResNet-18's time, by what a step moves (docs/scaling.md)"
# docs/training.md, bfloat16 and float32 alike: parameters, statistics and momentum in float32, three checkpoints.
CHECKPOINT_BYTES = {18: 0.1e9, 50: 0.3e9}
# docs/evaluation.md: ResNet-18, 480x854, files to masks, float32.
DAVIS_FRAMES_PER_SECOND, DAVIS_MEASURED = 103.0, "measured on one H200, ResNet-18, float32, 2026-11-27"


@dataclasses.dataclass(frozen=True)
class Goal:
    """A published measure that a recipe is held to.

    Attributes:
        task: of vfs-eval or vfs-eval-tracker, whose config names the published numbers.
        measures: columns of the task's global.csv.
        points: how far below or above still passes.
        checked: whether the published figures were read at their source.
    """

    task: str
    measures: tuple[str, ...]
    points: float
    checked: bool


# The published numbers stand in the configs. No spread between seeds was published; the tolerances are ours: what the
# release's own page calls "slightly" different between its runs and the paper's.
FINE = (
    Goal("davis", ("J&F-Mean", "J-Mean", "F-Mean"), 1.0, checked=True),
    Goal("jhmdb", ("PCK@0.1", "PCK@0.2"), 1.0, checked=False),
    Goal("vip", ("mIoU",), 1.0, checked=False),
)
OBJECT = (Goal("otb", ("Precision", "Success"), 1.5, checked=True),)


def goals_of(recipe: str) -> tuple[Goal, ...]:
    """Return what a recipe is for."""
    return OBJECT if "object" in recipe else FINE


def depth_of(recipe: str) -> int:
    """Return the depth of a recipe's network: 18 for "r18_fine"."""
    return int(recipe.partition("_")[0].removeprefix("r"))


def foretell(out: Path, davis: str, recipes: Sequence[str], topology: str, train_flags: Sequence[str]) -> None:
    """Tell time and disk of the stages to come, and warn where the disk is too small."""
    videos, disk = CLIPS, 0.0
    index = out / "records" / "index.jsonl"
    if index.exists():
        with index.open("rb") as file:
            videos = sum(1 for _ in file)
    rows = [("stage", "time", "disk", "by")]
    cores, size = os.cpu_count() or 1, videos * BYTES_PER_CLIP
    rows.append(
        (
            f"convert {videos:,} videos",
            duration(videos / CLIPS_PER_CORE_SECOND / cores),
            f"{size / 1e9:,.1f} GB",
            f"measured on two cores; here {cores}",
        )
    )
    rows.append(("verify", "reads it once", "", "not measured"))
    disk += size
    for recipe in recipes:
        depth = depth_of(recipe)
        config = importlib.import_module(f"vfs_jax.configs.vfs_{recipe}").get_config()
        seconds = config.steps / R18_STEPS_PER_SECOND * (1 if depth == 18 else R50_TO_R18)
        kept = config.keep_checkpoints * CHECKPOINT_BYTES[depth]
        by = R18_MEASURED if depth == 18 else R50_COMPUTED
        if "--config.dtype=bfloat16" not in train_flags:
            by += "; the recipe's float32 takes longer"
        rows.append((f"train {recipe}, {config.steps:,} steps", duration(seconds), f"{kept / 1e9:.1f} GB", by))
        if topology:
            rows.append((f"  the same on {topology}", *planned(recipe, topology, train_flags)))
        disk += kept
    frames = sum(len(sequence) for sequence in Davis().open(davis, split="val"))
    seconds = frames / DAVIS_FRAMES_PER_SECOND
    rows.append(
        (f"davis, {frames:,} frames, a recipe", duration(seconds), f"{frames * 20e3 / 1e9:.1f} GB", DAVIS_MEASURED)
    )
    rows.append(("tracker heads, OTB, JHMDB, VIP", "?", "below 5 GB", "not measured on a GPU"))
    disk += len(recipes) * frames * 20e3 + 5e9
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip())
    place = next(folder for folder in (out, *out.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    print(f"disk: {disk / 1e9:,.0f} GB in all, {free / 1e9:,.0f} GB are free at {place}")
    if disk > free:
        print(f"WARNING: {out}: the disk is too small; name another --out, or free some", flush=True)


def planned(recipe: str, topology: str, train_flags: Sequence[str]) -> tuple[str, str, str]:
    """Ask vfs-plan about a recipe: days at least, whether it fits, and what that is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        flags = [
            f"--config=configs/vfs_{recipe}.py",
            f"--topology={topology}",
            "--fast",
            f"--json={path}",
            *train_flags,
        ]
        subprocess.run(["vfs-plan", *flags], check=True, stdout=subprocess.DEVNULL)
        plan = json.loads(path.read_text())
    if not plan["fits"]:
        return "does not fit", "", plan["shortage"] or f"{plan['memory_bytes'] / 2**30:.1f} GiB a chip, vfs-plan --fast"
    return f"at least {duration(86400 * plan['days_bound'])}", "", f"vfs-plan --fast, {plan['binds']} binds"


def duration(seconds: float) -> str:
    """Tell a time in the unit that suits it.

    >>> duration(31250), duration(90), duration(4)
    ('8.7 h', '1.5 min', '4 s')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def compare(out: Path, recipes: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Hold every measure that was computed to the published one."""
    for recipe in recipes:
        for goal in goals_of(recipe):
            found = out / f"{goal.task}-{recipe}" / "global.csv"
            if not found.exists():
                continue
            with found.open(newline="") as file:
                ours = next(csv.DictReader(file))
            config = importlib.import_module(f"vfs_jax.configs.{goal.task}").get_config()
            numbers = dict(config.published)[
                next(name for name, _ in config.published if f"ResNet-{depth_of(recipe)}" in name)
            ]
            columns = (Otb if goal.task == "otb" else TASKS[goal.task]()).columns
            published = dict(zip(columns, numbers, strict=True))
            for measure in goal.measures:
                value = 100 * float(ours[measure])
                difference = value - published[measure]
                passed = "pass" if abs(difference) <= goal.points else "NO"
                yield (
                    *(recipe, goal.task, measure, f"{published[measure]:.1f}", f"{value:.1f}", f"{difference:+.1f}"),
                    *((f"{goal.points:.1f}", passed) if goal.checked else ("", "figure not checked")),
                )


def count(out: Path) -> str:
    """Hold the number of clips to that of the paper, in a line."""
    manifest = read_manifest(out / "records")
    clips = manifest["records"]
    return (
        f"Trained on {clips:,} clips, {clips / CLIPS:.2%} of the paper's {CLIPS:,}; {manifest['rejects']:,} were "
        f"rejected, {manifest.get('not_on_disk', 0):,} of the list are not on the disk."
    )


def table(out: Path, recipes: Sequence[str]) -> None:
    """Write and print the table of all measures: OUT/table.md."""
    lines = [
        count(out),
        "",
        "| recipe | task | measure | published | ours | difference | tolerance | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in compare(out, recipes)),
    ]
    text = "\n".join(lines) + "\n"
    write_text(out / "table.md", text)
    print(f"{text}\nwrote {out / 'table.md'}")


def main() -> None:
    """Foretell, count or write the table."""
    what, out, *rest = sys.argv[1:]
    if what == "foretell":
        davis, recipes, topology, *train_flags = rest
        foretell(Path(out), davis, recipes.split(), topology, train_flags)
    elif what == "count":
        print(count(Path(out)))
    else:
        table(Path(out), rest[0].split())


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError:  # vfs-plan has told why
        sys.exit(1)
