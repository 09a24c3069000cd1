"""Evaluates a network's features by label propagation.

  vfs-eval --config=configs/davis.py --workdir=DIR --config.data=DAVIS --config.weights=WEIGHTS [--config.depth=50]

The configs davis, vip, jhmdb, tapvid and youtube_vos name the tasks. WEIGHTS is a training folder, one of its
checkpoints, a .pth file or random:SEED. DIR gets the results (masks/SEQUENCE/00000.png, joints/CLASS/CLIP.npy,
tracks/VIDEO.npz), global.csv, a table of details (per_object.csv or per_sequence.csv), timings.csv, config.json,
report.html and figures/*.png. Started again with the same configuration it goes on with the sequences that are not
finished.

Several WEIGHTS, comma-separated, are evaluated one after the other, each in a folder of its own under DIR, with one
table (DIR/table.csv), one report (DIR/report.html) and the differences from the first with their confidence intervals
(DIR/differences.csv). So are several settings, which share one pass of the network: --config.all_blocks=True takes the
features of every block, --config.sweep="topk=5,10;temperature=0.05,0.07" all combinations of these values.

All devices of the machine take part, each with a video of its own. A run over several processes that share DIR, each
started by the same command, needs --processes=auto (SLURM, TPU slices, GKE, MPI) or --processes=HOST:PORT,INDEX,COUNT.
"""

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import ml_collections
from absl import flags
from ml_collections import config_flags
from tqdm import tqdm

from vfs_jax.apps import cli
from vfs_jax.distributed import from_first, join
from vfs_jax.errors import InputError
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import Settings, Variant, variants
from vfs_jax.evaluation.report.matches import Inspector
from vfs_jax.evaluation.report.write import Run, write_report
from vfs_jax.evaluation.runs import propagation as runs
from vfs_jax.evaluation.runs.claims import claim_folder, with_versions
from vfs_jax.evaluation.runs.comparison import write_comparison
from vfs_jax.evaluation.tasks import TASKS
from vfs_jax.evaluation.tasks.base import SequenceScore, Task, format_table, write_tables
from vfs_jax.evaluation.tasks.points import Tapvid
from vfs_jax.models.resnet import Variables
from vfs_jax.models.weights.resolve import resolve, run_names

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file of configs/.", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the results go.", flag_values=FLAGS)
_PROCESSES = flags.DEFINE_string(
    "processes", "", "auto, or HOST:PORT,INDEX,COUNT, in a run over several processes.", flag_values=FLAGS
)
flags.mark_flags_as_required(["config", "workdir"], flag_values=FLAGS)

_PACKAGES = ("vfs_jax", "jax", "jaxlib", "flax", "numpy", "opencv-python-headless", "pillow")
_REPORT_FIELDS = ("inspect", "inspect_frame", "inspect_point")  # what is shown, not what is computed


@dataclasses.dataclass(frozen=True)
class _Job:
    """One run to be done: weights under some settings, in a folder of its own."""

    name: str
    weights: str
    variant: Variant
    folder: Path


def run(arguments: list[str]) -> None:
    """Evaluate as the flags say."""
    if arguments:
        raise InputError(
            f"{arguments[0]}: vfs-eval takes no arguments, only --config, --workdir and --config.KEY=VALUE"
        )
    config, workdir = _CONFIG.value, Path(str(_WORKDIR.value))
    join(str(_PROCESSES.value))  # before anything asks for a device
    task = _task(config)
    wanted = [name for name in config.sequences.split(",") if name]
    opened = task.open(config.data, split=config.split, year=config.get("year", 0), sequences=wanted)
    sequences = [sequence.cut(config.max_frames) for sequence in opened]
    common, names = settings_of(config), run_names(config.weights)
    swept = variants(common, config.sweep, blocks_of=config.depth if config.all_blocks else None)
    inspector = Inspector(config.inspect, config.inspect_frame, config.inspect_point)
    # All weights are read before anything is written, so that a wrong name costs no hour.
    resolved = {name: resolve(weights, config.depth) for name, weights in names.items()}
    jobs = [_job(workdir, name, variant, len(names), len(swept)) for name in names for variant in swept]
    joint = len(jobs) > 1

    def claim() -> str:
        if joint:
            claim_folder(workdir, config.to_dict(), free=["weights", "sweep", "all_blocks", *_REPORT_FIELDS])
        for job in jobs:
            _claim(job, config, resolved[job.weights][1], names[job.weights])
        return json.dumps({name: _lacking(task, jobs, name, sequences) for name in names})

    # What there is to do is looked up once: a later process would see what the first ones have done by then.
    lacking = json.loads(from_first("claim", claim))
    layouts = runs.layouts_of(sequences, common, max_sizes=config.max_sizes)
    sizes = {(layout.canvas, layout.padded) for layout in layouts.values()}
    print(
        f"{config.task}: propagating labels through {len(sequences)} sequences ({sum(map(len, sequences))} frames, "
        f"{len(sizes)} size(s) of network input) of {config.data} with {', '.join(names.values())}"
        f"{f' under {len(swept)} settings' if len(swept) > 1 else ''} on {jax.device_count()} {jax.default_backend()} "
        f"device(s); results in {workdir}",
        flush=True,
    )
    finished: list[Run] = []
    for name, (variables, about) in resolved.items():
        mine = [job for job in jobs if job.weights == name]
        finished += _evaluate(task, mine, variables, about, sequences, lacking[name], layouts)
    if jax.process_index() > 0:
        print(
            f"process {jax.process_index()} of {jax.process_count()} is done; process 0 scores and reports", flush=True
        )

    def report() -> str:
        _score_and_report(task, jobs, finished, sequences, config, workdir, inspector)
        return ""

    from_first("report", report)  # a process that ends before the others would take them along


def _score_and_report(
    task: Task,
    jobs: Sequence[_Job],
    finished: list[Run],
    sequences: Sequence[Any],
    config: ml_collections.ConfigDict,
    workdir: Path,
    inspector: Inspector,
) -> None:
    """Write and prints the tables, the reports and the comparison of all runs."""
    joint = len(jobs) > 1
    scored = [sequence for sequence in sequences if sequence.has_ground_truth]
    if not scored:
        print(f"wrote the results; {config.data} has first labels alone for split {config.split}, so there is no score")
        return
    for each, job in zip(finished, jobs, strict=True):
        write_tables(job.folder, task, each.scores)
        _report(job.folder, task, [each], scored, config, None if joint else inspector)
        print(f"\n{each.name}\n{format_table(task, each.scores)}")
    if joint:
        notes = write_comparison(workdir, task, finished)
        print("\n" + "\n".join(notes))
        _report(workdir, task, finished, scored, config, inspector, notes)
    print(f"\nwrote {workdir / 'report.html'} and the tables beside it")


def _task(config: ml_collections.ConfigDict) -> Task:
    if config.task not in TASKS:
        raise InputError(f"config.task is {config.task!r}; there are {', '.join(TASKS)}")
    return Tapvid(config.occlusion_threshold) if config.task == "tapvid" else TASKS[config.task]()


def settings_of(config: ml_collections.ConfigDict) -> Settings:
    """Return the part of a configuration that says how labels are propagated."""
    names = {field.name for field in dataclasses.fields(Settings)}
    return Settings(**{name: value for name, value in config.items() if name in names})


def _job(workdir: Path, weights: str, variant: Variant, num_weights: int, num_variants: int) -> _Job:
    """Return a run with a name that tells what differs between the runs; several get folders below the workdir."""
    name = variant.name if num_weights == 1 and num_variants > 1 else "-".join(filter(None, (weights, variant.name)))
    return _Job(name, weights, variant, workdir / name if num_weights * num_variants > 1 else workdir)


def _claim(job: _Job, config: ml_collections.ConfigDict, about: Mapping[str, object], weights: str) -> None:
    """Write config.json: the configuration, what the weights are, the versions; refuses another run's folder."""
    own = {"all_blocks": False, "sweep": "", "weights": weights, "weights_found": about, **job.variant.changes}
    # The same weights may lie elsewhere than at the first run: what counts is their checksum.
    free = ["weights", "weights_found.weights", *_REPORT_FIELDS]
    claim_folder(job.folder, with_versions(config.to_dict() | own), free=free)


def _lacking(task: Task, jobs: Sequence[_Job], weights: str, sequences: Sequence[Any]) -> list[str]:
    """Name of the sequences that some run of these weights has not finished."""
    folders = [job.folder for job in jobs if job.weights == weights]
    return [each.name for each in sequences if not all(runs.finished(task, folder, each) for folder in folders)]


def _evaluate(
    task: Task,
    jobs: Sequence[_Job],
    variables: Variables,
    about: Mapping[str, Any],
    sequences: Sequence[Any],
    lacking_names: Sequence[str],
    layouts: Mapping[str, Layout],
) -> list[Run]:
    """Propagate one weights' runs through the sequences that they lack, this process's share, and scores all."""
    name = jobs[0].weights
    lacking = [sequence for sequence in sequences if sequence.name in lacking_names]
    if len(lacking) < len(sequences):
        print(f"{name}: {len(sequences) - len(lacking)} of {len(sequences)} sequences are finished already", flush=True)
    share = sorted(lacking, key=len, reverse=True)[jax.process_index() :: jax.process_count()]
    scores: dict[tuple[str, str], Future[SequenceScore]] = {}

    def score(sequence: Any) -> None:
        if jax.process_index() == 0 and sequence.has_ground_truth:
            for job in jobs:
                results = job.folder / task.folder
                scores[job.name, sequence.name] = scoring.submit(task.score, results, sequence)

    with (
        ThreadPoolExecutor() as scoring,  # sequences are scored while others are propagated
        tqdm(total=sum(map(len, share)), desc=name, unit="frame", smoothing=0.1) as progress,
        runs.count_programs() as programs,
    ):
        for sequence in sequences:
            if sequence not in lacking:
                score(sequence)
        runs.propagate_all(
            task,
            variables,
            [sequence for sequence in sequences if sequence in share],
            {job.folder: job.variant.settings for job in jobs},
            layouts,
            on_frame=progress.update,
            on_sequence=score,
        )
        if jax.process_index() > 0:
            return []
        for sequence in lacking:
            if sequence not in share:
                runs.wait_for(task, [job.folder for job in jobs], sequence)
                score(sequence)
        found = {key: future.result() for key, future in scores.items()}
    if share:
        print(f"{name}: compiled {len(programs)} programs in {sum(programs):.1f} s", flush=True)
    out = []
    for job in jobs:
        runs.clean(task, job.folder)
        frames, seconds = (sum(values) for values in zip(*runs.read_timings(job.folder).values(), strict=True))
        pass_ = f" (one pass of the network for {len(jobs)} settings)" if len(jobs) > 1 else ""
        facts = {
            **about,
            **job.variant.changes,
            "seconds": f"{seconds:.1f}{pass_}",
            "seconds a frame": f"{seconds / frames:.3f}",
        }
        scored = [found[job.name, sequence.name] for sequence in sequences if sequence.has_ground_truth]
        summary = task.summary(scored) if scored else {}
        out.append(
            Run(
                job.name,
                job.folder / task.folder,
                scored,
                summary,
                facts,
                weights=name,
                changes=job.variant.changes,
                variables=variables,
                settings=job.variant.settings,
            )
        )
    return out


def _report(
    folder: Path,
    task: Task,
    finished: list[Run],
    sequences: list[Any],
    config: ml_collections.ConfigDict,
    inspector: Inspector | None,
    notes: Sequence[str] = (),
) -> None:
    shown = {key: value for key, value in config.items() if key not in ("weights", "published")}
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in _PACKAGES)
    settings = {**shown, "versions": versions, "device": jax.devices()[0].device_kind}
    title = f"Label propagation on {Path(config.data).resolve().name}, {config.split}".removesuffix(", ")
    write_report(
        folder / "report.html",
        task,
        finished,
        sequences,
        title=title,
        settings=settings,
        published=config.published,
        notes=notes,
        inspector=inspector,
    )


def main() -> None:
    """Return the console script."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
