"""Train settings one after the other, measure each in the same process, and let a table grow.

  python launch/proof_sweep.py PACK OUT --minutes=M [--size=gpu] [--settings="branches branches,decay"] [--steps=N]

PACK is a folder of launch/proof_sweep.sh --pack. A setting is a list of variants of configs/proof_sweep.py; "plain" is
none of them, and "videos8" trains on eight of the videos, which the seed draws. All are trained for the same steps and
measured on the sequences of PACK/tennis and PACK/composed. OUT gets a folder for each, results.jsonl, table.md and,
where a setting was trained on several numbers of videos, growth.png; started again, it goes on where it stopped. No
setting is started that would, by the time that the others took, end after M minutes.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from absl import flags
from matplotlib.figure import Figure

from vfs_jax.claims import claim_folder, with_versions
from vfs_jax.configs import proof_sweep
from vfs_jax.data.mask_datasets import MaskSequence
from vfs_jax.data.record_fields import ClipRecord
from vfs_jax.data.records import ClipRecords
from vfs_jax.data.text import to_json, write_text
from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import as_encoder
from vfs_jax.evaluation.propagation.settings import Settings, default_radius
from vfs_jax.evaluation.runs import propagation as runs
from vfs_jax.evaluation.tasks.masks import Davis
from vfs_jax.models import backbone_of, init_variables
from vfs_jax.models.resnet import STAGES, Variables
from vfs_jax.models.weights.checkpoints import load_variables
from vfs_jax.training.options import FREE_FIELDS, TrainOptions, read_options
from vfs_jax.training.vfs import train_vfs

SETTINGS = (
    *("plain", "branches02", "branches02,gray", "branches02,decay", "plain,seed1", "branches02,seed1", "colors"),
    *("gray", "decay", "negatives", "span4", "span0", "same", "crops", "fast", "slow", "videos16", "videos8"),
    *("videos4", "branches02,videos16", "branches02,videos8", "branches02,videos4", "plain,seed2", "branches02,seed2"),
    *("spread", "branches", "branches,decay"),
)
Row = dict[str, float | str]


@dataclasses.dataclass(frozen=True)
class Part:
    """Sequences that settings are chosen on.

    Attributes:
        name: of the folder, PACK/NAME in DAVIS layout.
        sequences: in it.
        settings: of the propagation.
    """

    name: str
    sequences: list[MaskSequence]
    settings: Settings

    def measure(self, variables: Variables, folder: Path) -> float:
        """Return J&F in percent, from the features of res4."""
        task, encoder, out = Davis(), as_encoder(backbone_of(variables)), folder / self.name
        for sequence in self.sequences:
            if not runs.finished(task, [out], sequence):
                runs.propagate_sequence(task, encoder, sequence, out, self.settings)
        scores = [task.score(out / task.folder, sequence) for sequence in self.sequences]
        return 100 * task.summary(scores)["J&F-Mean"]


def open_parts(pack: Path, options: TrainOptions) -> list[Part]:
    """Open the sequences of a pack: tennis at the size that a run evaluates at, composed ones not above their own."""
    parts = []
    for name, split, most in (("tennis", "train", 480), ("composed", "val", 240)):
        side = min(options.eval_short_side, most)
        opened = Davis().open(str(pack / name), split=split)
        cut = [sequence.cut(options.eval_max_frames or None) for sequence in opened]
        parts.append(Part(name, cut, Settings(short_side=side, radius=default_radius(options.depth) * side / 480)))
    return parts


def some_videos(records: ClipRecords, number: int, seed: int) -> Sequence[ClipRecord]:
    """Draw so many of the videos, 0 for all; with the same seed those of a smaller number are among them."""
    if number > len(records):
        raise InputError(f"videos={number}: there are {len(records)}")
    order = np.random.default_rng(seed).permutation(len(records))
    return [records[int(index)] for index in order[:number]] if number else records


def branch_scales(variables: Variables) -> dict[str, float]:
    """Return the mean size of the scales of the last BatchNorms of the branches, by stage."""
    blocks = backbone_of(variables)["params"]
    scales = {name: np.abs(block["bn2"]["scale"]).mean() for name, block in blocks.items() if "bn2" in block}
    return {stage: float(np.mean([scales[name] for name in scales if name.startswith(stage)])) for stage in STAGES}


def run_setting(setting: str, size: str, steps: int, pack: Path, out: Path) -> Row:
    """Train and measure one setting.

    Args:
        setting: variants, and "videosN"; or "plain".
        size: a variant too; "" for two cores.
        steps: of the run; 0 for those of the size; a setting "random" takes none.
        pack: the data.
        out: gets the folder of the run.
    """
    begin = time.monotonic()
    words = setting.split(",")
    videos = next((int(word.removeprefix("videos")) for word in words if word.startswith("videos")), 0)
    variants = [word for word in words if word not in ("plain", "random", f"videos{videos}")]
    config = proof_sweep.get_config(",".join([size, *variants]))
    if steps:
        config.steps = steps
    config.update(data=str(pack / "records"), eval_data=str(pack), eval_every=config.steps)
    options, workdir = read_options(config.to_dict()), out / setting.replace(",", "+")
    parts = open_parts(pack, options)

    def evaluate(variables: Variables, step: int) -> dict[str, float]:
        folder = workdir / "evaluation" / str(step)
        return {part.name: part.measure(variables, folder) for part in parts} | branch_scales(variables)

    if setting == "random":
        return {"setting": setting, "steps": 0, **evaluate(init_variables(options.seed, options.depth), 0)}

    records = ClipRecords(options.data)
    chosen = some_videos(records, videos, options.seed)
    found = {**config.to_dict(), "videos": videos, "data_found": records.checksum}
    claim_folder(workdir, with_versions(found), free=[*FREE_FIELDS, "data"])

    try:
        train_vfs(options, workdir, chosen, evaluate=evaluate)
    except InputError as error:  # a guard has ended it; the newest checkpoint is from before
        if not any(workdir.glob("checkpoints/[0-9]*")):
            return {"setting": setting, "ended": str(error)}
        return {"setting": setting, "ended": str(error), **evaluate(load_variables(workdir), 0)}
    log, scores = read_lines(workdir / "metrics.jsonl"), read_lines(workdir / "evaluation.jsonl")
    last = {"loss": log[-1]["loss"], "spread": log[-1]["embedding_std"]}
    spent = time.monotonic() - begin
    return {"setting": setting, "videos": len(chosen), "steps": options.steps, **scores[-1], **last, "seconds": spent}


def read_lines(path: Path) -> list[Row]:
    """Read the lines of a log; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def lay_out(rows: Sequence[Row]) -> str:
    """Lay out the results in Markdown, the best on composed sequences first."""
    columns = {"tennis": 1, "composed": 1, "loss": 2, "spread": 2, **dict.fromkeys(STAGES, 3), "seconds": 0}
    lines = [
        "J&F at res4; at the end of training the loss, the embedding's spread and the mean scale of the branches",
        "",
        f"| setting | steps | {' | '.join(columns)} |",
        f"| --- | --- |{' --- |' * len(columns)}",
    ]
    for row in sorted(rows, key=lambda row: -float(row.get("composed", 0))):
        cells = [f"{row[name]:.{digits}f}" if name in row else "" for name, digits in columns.items()]
        lines.append(f"| {row['setting']} | {row.get('ended', row.get('steps'))} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def growth(rows: Sequence[Row]) -> dict[str, list[tuple[float, float]]]:
    """Return videos and J&F on composed sequences, fewest videos first, of the settings trained on several numbers."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if "videos" in row:
            words = [word for word in str(row["setting"]).split(",") if not word.startswith("videos")]
            name = ",".join(word for word in words if word != "plain") or "plain"
            lines.setdefault(name, []).append((float(row["videos"]), float(row["composed"])))
    return {name: sorted(points) for name, points in lines.items() if len(points) > 1}


def draw_growth(rows: Sequence[Row], path: Path) -> None:
    """Draw J&F against the number of videos, a line for each setting, random weights dashed."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, points in growth(rows).items():
        axes.plot(*zip(*points, strict=True), "o-", label=name)
    axes.axhline(float(rows[0]["composed"]), color="gray", linestyle="--", label=str(rows[0]["setting"]))
    axes.set_xscale("log", base=2)
    ticks = sorted({videos for points in growth(rows).values() for videos, _ in points})
    axes.set_xticks(ticks, [f"{videos:.0f}" for videos in ticks])
    axes.set(xlabel="videos trained on", ylabel="J&F at res4, composed sequences")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Go through the settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--size", choices=("gpu", "smoke"), default="")
    parser.add_argument("--settings", default=" ".join(SETTINGS))
    parser.add_argument("--steps", type=int, default=0)
    arguments = parser.parse_args()
    flags.FLAGS.mark_as_parsed()  # grain's worker processes read absl's global flags
    begin, out = time.monotonic(), arguments.out
    out.mkdir(parents=True, exist_ok=True)
    rows = read_lines(out / "results.jsonl")
    for setting in ("random", *arguments.settings.split()):
        if setting in [row["setting"] for row in rows]:
            continue
        longest = max((float(row.get("seconds", 0)) for row in rows), default=0)
        left = 60 * arguments.minutes - (time.monotonic() - begin)
        if longest > left:
            print(f"{setting}: not started: {left:.0f} s are left, a setting takes up to {longest:.0f} s")
            break
        print(f"== {setting}", flush=True)
        rows.append(run_setting(setting, arguments.size, arguments.steps, arguments.pack, out))
        jax.clear_caches()
        write_text(out / "results.jsonl", "".join(to_json(row) + "\n" for row in rows))
        write_text(out / "table.md", lay_out(rows))
    if growth(rows):
        draw_growth(rows, out / "growth.png")
    print(lay_out(rows))


if __name__ == "__main__":
    try:
        main()
    except (InputError, ValueError) as error:
        sys.exit(f"error: {error}")
