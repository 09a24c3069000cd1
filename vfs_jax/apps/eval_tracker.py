"""Evaluates box tracking with SiamFC on a network's res5 features.

  vfs-eval-tracker --config=configs/otb.py --workdir=DIR --config.data=OTB --config.weights=WEIGHTS [--config.depth=50]

The configs otb, got10k, lasot and uav123 name the data sets. WEIGHTS is a folder of vfs-train-tracker or vfs-train, one
of its checkpoints, a .pth file or random:SEED; where they hold no tracking head the features themselves are correlated.
DIR gets boxes/SEQUENCE.txt and boxes/times/SEQUENCE_time.txt (or the got10k toolkit's other layout), global.csv,
per_sequence.csv, success_plots.png, precision_plots.png, config.json and report.html, and with --config.attributes
per_attribute.csv. Started again with the same configuration it goes on with the sequences that are not finished.

Several WEIGHTS, comma-separated, are evaluated one after the other, each in a folder of its own under DIR, with one
report and one plot.
"""

import base64
import importlib.metadata
import math
from collections.abc import Mapping
from pathlib import Path

import jax
import ml_collections
from absl import flags
from ml_collections import config_flags
from tqdm import tqdm

from vfs_jax.apps import cli
from vfs_jax.data.box_datasets import BoxSequence
from vfs_jax.errors import InputError
from vfs_jax.evaluation.report import page
from vfs_jax.evaluation.report.box_plots import attribute_rows, read_attributes, write_attributes, write_plots
from vfs_jax.evaluation.report.write import Run, write_report
from vfs_jax.evaluation.runs.claims import claim_folder, with_versions
from vfs_jax.evaluation.runs.tracking import track_sequences
from vfs_jax.evaluation.tasks.base import format_table, write_tables
from vfs_jax.evaluation.tasks.boxes import BOX_TASKS, Otb, read_speed
from vfs_jax.models.resnet import Variables
from vfs_jax.models.weights.resolve import resolve_tracker, run_names

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file of configs/.", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the results go.", flag_values=FLAGS)
flags.mark_flags_as_required(["config", "workdir"], flag_values=FLAGS)

_PACKAGES = ("vfs_jax", "jax", "jaxlib", "flax", "numpy", "opencv-python-headless", "pillow")
# What may change when a run is continued: it decides neither boxes nor which sequences count.
_FREE = ("weights", "weights_found.weights", "sequences_per_device", "attributes", "attribute_names")


def run(arguments: list[str]) -> None:
    """Evaluate as the flags say."""
    if arguments:
        raise InputError(
            f"{arguments[0]}: vfs-eval-tracker takes no arguments, only --config, --workdir, --config.KEY=..."
        )
    config, workdir = _CONFIG.value, Path(str(_WORKDIR.value))
    if config.task not in BOX_TASKS:
        raise InputError(f"config.task is {config.task!r}; there are {', '.join(BOX_TASKS)}")
    if config.sequences_per_device < 1:
        raise InputError(f"--config.sequences_per_device={config.sequences_per_device}: must be at least 1")
    task = BOX_TASKS[config.task]()
    wanted = [name for name in config.sequences.split(",") if name]
    opened = task.open(config.data, split=config.split, sequences=wanted)
    sequences = [sequence.cut(config.max_frames) for sequence in opened]
    attributes = {}
    if config.attributes:
        names = [sequence.name for sequence in sequences]
        attributes = read_attributes(Path(config.attributes), names, config.attribute_names)
    names_of = run_names(config.weights)
    # All weights are read before anything is written, so that a wrong name costs no hour.
    resolved = {name: resolve_tracker(weights, config.depth) for name, weights in names_of.items()}
    folders = {name: workdir / name if len(resolved) > 1 else workdir for name in resolved}
    for name, (_, about) in resolved.items():
        _claim(folders[name], config, about, names_of[name])

    print(
        f"{config.task}: tracking through {len(sequences)} sequences ({sum(map(len, sequences))} frames) of "
        f"{config.data} with {', '.join(names_of.values())} on {jax.local_device_count()} "
        f"{jax.default_backend()} device(s); results in {workdir}",
        flush=True,
    )
    runs = [_track(task, name, folders[name], *found, sequences, config) for name, found in resolved.items()]
    if not all(sequence.has_ground_truth for sequence in sequences):
        print(f"wrote the boxes; {config.data} has first boxes alone for split {config.split}, so there is no score")
        return
    for each in runs:
        write_tables(folders[each.name], task, each.scores)
        print(f"\n{each.name}: {each.facts['frames a second']} frames/s\n{format_table(task, each.scores)}")
        if attributes:
            rows = attribute_rows(task, each.scores, attributes)
            write_attributes(folders[each.name] / "per_attribute.csv", task, rows)
            print(_attribute_lines(task, rows))
    plots = write_plots(workdir, task, {each.name: each.scores for each in runs})
    _report(workdir / "report.html", task, runs, sequences, config, plots, attributes)
    print(f"\nwrote {workdir / 'report.html'} and the tables and plots beside it")


def _claim(folder: Path, config: ml_collections.ConfigDict, about: Mapping[str, object], weights: str) -> None:
    """Write config.json: the configuration, what the weights are, the versions; refuses another run's folder."""
    whole = config.to_dict() | {"weights": weights, "weights_found": about}
    claim_folder(folder, with_versions(whole), free=_FREE)


def _track(
    task: Otb,
    name: str,
    folder: Path,
    variables: Variables,
    about: Mapping[str, object],
    sequences: list[BoxSequence],
    config: ml_collections.ConfigDict,
) -> Run:
    """Track through all unfinished sequences and scores all of them."""
    results = folder / task.folder
    left = [sequence for sequence in sequences if not task.output(results, sequence).exists()]
    if len(left) < len(sequences):
        print(f"{name}: {len(sequences) - len(left)} of {len(sequences)} sequences are finished already", flush=True)
    with tqdm(total=sum(map(len, left)), desc=name, unit="frame", smoothing=0.1) as progress:
        track_sequences(
            task,
            variables,
            sorted(left, key=len, reverse=True),  # the longest first: no device waits long for the last one
            results,
            settings=config.tracker.to_dict(),
            sequences_per_device=config.sequences_per_device,
            on_sequence=lambda sequence: progress.update(len(sequence)),
        )
    speed = read_speed(task, results, sequences)
    facts = {**about, "frames a second": "–" if math.isnan(speed) else f"{speed:.2f}"}
    scores = [task.score(results, sequence) for sequence in sequences if sequence.has_ground_truth]
    return Run(name, results, scores, task.summary(scores) if scores else {}, facts)


def _attribute_lines(task: Otb, rows: list[dict[str, object]]) -> str:
    width = max(len(str(row["Attribute"])) for row in rows)
    values = (" ".join(f"{c} {100 * float(str(row[c])):5.1f}" for c in task.columns) for row in rows)
    lines = zip(rows, values, strict=True)
    return "\n".join(f"{row['Attribute']!s:{width}} ({row['Sequences']:>3}) {numbers}" for row, numbers in lines)


def _report(
    path: Path,
    task: Otb,
    runs: list[Run],
    sequences: list[BoxSequence],
    config: ml_collections.ConfigDict,
    plots: list[Path],
    attributes: dict[str, list[str]],
) -> None:
    pictures = (base64.b64encode(plot.read_bytes()).decode() for plot in plots)
    images = "".join(f'<img alt="" style="width:50%" src="data:image/png;base64,{picture}">' for picture in pictures)
    figures = [f"<div>{images}</div>"]
    for each in runs if attributes else []:
        rows = attribute_rows(task, each.scores, attributes)
        named = [
            (
                f"{page.text(row['Attribute'])} ({row['Sequences']})",
                [float(str(row[c])) for c in task.columns],
                "published",
            )
            for row in rows
        ]
        figures.append(f"<h3>{page.text(each.name)} by attribute (sequences)</h3>{page.table(task.columns, named)}")
    shown = {key: value for key, value in config.items() if key not in ("weights", "published", "tracker")}
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in _PACKAGES)
    settings = {**shown, **config.tracker, "versions": versions, "device": jax.devices()[0].device_kind}
    title = f"Box tracking on {Path(config.data).resolve().name}, {config.split}"
    write_report(
        path, task, runs, sequences, title=title, settings=settings, published=config.published, figures=figures
    )


def main() -> None:
    """Return the console script."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
