"""Evaluates a network's features by label propagation.

  vfs-eval --config=configs/davis.py --workdir=DIR --config.data=DAVIS --config.weights=WEIGHTS [--config.depth=50]

The configs davis, vip, jhmdb, tapvid and youtube_vos name the tasks. WEIGHTS is a training folder, one of its
checkpoints, a .pth file or random:SEED. DIR gets the results (masks/SEQUENCE/00000.png, joints/CLASS/CLIP.npy,
tracks/VIDEO.npz), global.csv, a table of details (per_object.csv or per_sequence.csv), timings.csv, config.json and
report.html. Started again with the same configuration it goes on with the sequences that are not finished.

Several WEIGHTS, comma-separated, are evaluated one after the other, each in a folder of its own under DIR, with one
table (DIR/table.csv), one report (DIR/report.html) and the differences from the first with their confidence intervals
(DIR/differences.csv).
"""

import csv
import dataclasses
import importlib.metadata
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import ml_collections
from absl import flags
from ml_collections import config_flags
from tqdm import tqdm

from vfs_jax.apps import cli
from vfs_jax.apps.weights import resolve
from vfs_jax.errors import InputError
from vfs_jax.evaluation import runs
from vfs_jax.evaluation.compare import paired_difference
from vfs_jax.evaluation.label_tasks import Settings
from vfs_jax.evaluation.point_tasks import Tapvid
from vfs_jax.evaluation.report import Run, write_report
from vfs_jax.evaluation.task import SequenceScore, Task, format_table, write_tables
from vfs_jax.evaluation.tasks import TASKS
from vfs_jax.models.resnet import Variables

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file of configs/.", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the results go.", flag_values=FLAGS)
flags.mark_flags_as_required(["config", "workdir"], flag_values=FLAGS)

_PACKAGES = ("vfs_jax", "jax", "jaxlib", "flax", "numpy", "opencv-python-headless", "pillow")


def run(arguments: list[str]) -> None:
    """Evaluates as the flags say."""
    if arguments:
        raise InputError(
            f"{arguments[0]}: vfs-eval takes no arguments, only --config, --workdir and --config.KEY=VALUE"
        )
    config, workdir = _CONFIG.value, Path(str(_WORKDIR.value))
    task = _task(config)
    wanted = [name for name in config.sequences.split(",") if name]
    opened = task.open(config.data, split=config.split, year=config.get("year", 0), sequences=wanted)
    sequences = [sequence.cut(config.max_frames) for sequence in opened]
    names = run_names(config.weights)
    # All weights are read before anything is written, so that a wrong name costs no hour.
    resolved = {name: resolve(weights, config.depth) for name, weights in names.items()}
    joint = len(names) > 1
    folders = {name: workdir / name if joint else workdir for name in names}
    if joint:
        cli.claim_folder(workdir, config, free=["weights"])
    for name, (_, about) in resolved.items():
        _claim(folders[name], config, about, names[name])

    print(
        f"{config.task}: propagating labels through {len(sequences)} sequences ({sum(map(len, sequences))} frames) of "
        f"{config.data} with {', '.join(names.values())} on {jax.device_count()} {jax.default_backend()} device(s); "
        f"results in {workdir}",
        flush=True,
    )
    finished = [
        _evaluate(task, name, folders[name], variables, about, sequences, settings_of(config))
        for name, (variables, about) in resolved.items()
    ]
    scored = [sequence for sequence in sequences if sequence.has_truth]
    if not scored:
        print(f"wrote the results; {config.data} has first labels alone for split {config.split}, so there is no score")
        return
    for run_, folder in zip(finished, folders.values(), strict=True):
        write_tables(folder, task, run_.scores)
        _report(folder / "report.html", task, [run_], scored, config)
        print(f"\n{run_.name}\n{format_table(task, run_.scores)}")
    if joint:
        _write_joint_table(workdir / "table.csv", task, finished)
        notes = _compare(workdir / "differences.csv", task, finished)
        print("\n" + "\n".join(notes))
        _report(workdir / "report.html", task, finished, scored, config, notes)
    print(f"\nwrote {workdir / 'report.html'} and the tables beside it")


def _task(config: ml_collections.ConfigDict) -> Task:
    if config.task not in TASKS:
        raise InputError(f"config.task is {config.task!r}; there are {', '.join(TASKS)}")
    return Tapvid(config.occlusion_threshold) if config.task == "tapvid" else TASKS[config.task]()


def settings_of(config: ml_collections.ConfigDict) -> Settings:
    """The part of a configuration that says how labels are propagated."""
    names = {field.name for field in dataclasses.fields(Settings)}
    return Settings(**{name: value for name, value in config.items() if name in names})


def run_names(weights: str) -> dict[str, str]:
    """A short name for each of the comma-separated weights, which is also its folder's.

    >>> run_names("runs/train,random:0,weights/vfs_r18.pth,other/train/checkpoints/500")
    {'train': 'runs/train', 'random-0': 'random:0', 'vfs_r18': 'weights/vfs_r18.pth',
     'train-500': 'other/train/checkpoints/500'}
    """
    names: dict[str, str] = {}
    for each in filter(None, (part.strip() for part in weights.split(","))):
        path = Path(each)
        if each.startswith("random:"):
            name = each.replace(":", "-")
        elif path.suffix in (".pth", ".pt", ".tar"):
            name = path.name.split(".")[0]
        elif path.parent.name == "checkpoints":
            name = f"{path.parent.parent.name}-{path.name}"
        else:
            name = path.resolve().name
        unique, number = name, 1
        while unique in names:
            number += 1
            unique = f"{name}-{number}"
        names[unique] = each
    if not names:
        raise InputError("--config.weights is empty; give a training folder, a .pth file or random:SEED")
    return names


def _claim(folder: Path, config: ml_collections.ConfigDict, about: dict[str, Any], weights: str) -> None:
    """Writes config.json: the configuration, what the weights are, the versions; refuses another run's folder."""
    whole = ml_collections.ConfigDict(config.to_dict())
    whole.weights = weights
    whole.weights_found = about
    whole.versions = {package.replace("-", "_"): importlib.metadata.version(package) for package in _PACKAGES}
    whole.device = jax.devices()[0].device_kind
    free = ["device", *(f"versions.{package.replace('-', '_')}" for package in _PACKAGES)]
    # The same weights may lie elsewhere than at the first run: what counts is their checksum.
    cli.claim_folder(folder, whole, free=[*free, "weights", "weights_found.weights"])


def _evaluate(
    task: Task,
    name: str,
    folder: Path,
    variables: Variables,
    about: dict[str, Any],
    sequences: list[Any],
    settings: Settings,
) -> Run:
    """Propagates through all unfinished sequences and scores all of them."""
    scores: list[Future[SequenceScore]] = []
    variables = jax.device_put(variables)
    left = [sequence.name for sequence in sequences if not runs.finished(task, folder, sequence)]
    if len(left) < len(sequences):
        print(f"{name}: {len(sequences) - len(left)} of {len(sequences)} sequences are finished already", flush=True)
    total = sum(len(sequence) for sequence in sequences if sequence.name in left)
    with ThreadPoolExecutor(1) as scoring, tqdm(total=total, desc=name, unit="frame", smoothing=0.1) as progress:
        for sequence in sequences:
            if sequence.name in left:
                progress.set_postfix_str(sequence.name)
                runs.propagate_sequence(task, variables, sequence, folder, settings, on_frame=progress.update)
            if sequence.has_truth:  # scored while the next one is propagated
                scores.append(scoring.submit(task.score, folder / task.folder, sequence))
    frames, seconds = (sum(values) for values in zip(*runs.read_timings(folder).values(), strict=True))
    facts = {**about, "seconds": f"{seconds:.1f}", "seconds a frame": f"{seconds / frames:.3f}"}
    found = [score.result() for score in scores]
    return Run(name, folder / task.folder, found, task.summary(found) if found else {}, facts)


def _report(
    path: Path,
    task: Task,
    finished: list[Run],
    sequences: list[Any],
    config: ml_collections.ConfigDict,
    notes: Sequence[str] = (),
) -> None:
    shown = {key: value for key, value in config.items() if key not in ("weights", "published")}
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in _PACKAGES)
    settings = {**shown, "versions": versions, "device": jax.devices()[0].device_kind}
    title = f"Label propagation on {Path(config.data).resolve().name}, {config.split}".removesuffix(", ")
    published = config.published
    write_report(path, task, finished, sequences, title=title, settings=settings, published=published, notes=notes)


def _compare(path: Path, task: Task, finished: list[Run]) -> list[str]:
    """Writes how far the later runs are from the first, with confidence intervals; the same in words."""
    first, *others = finished
    differences = {other.name: paired_difference(task, other.scores, first.scores) for other in others}
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Weights", "Baseline", "Column", "Difference", "Low", "High"])
        for name, found in differences.items():
            writer.writerow([name, first.name, task.columns[0], found.value, found.low, found.high])
    return [
        f"{name} against {first.name}: {task.columns[0]} {found} (95% interval, paired bootstrap over sequences)"
        for name, found in differences.items()
    ]


def _write_joint_table(path: Path, task: Task, finished: list[Run]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["Weights", *task.columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"Weights": run_.name, **run_.summary} for run_ in finished)


def main() -> None:
    """The console script."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
