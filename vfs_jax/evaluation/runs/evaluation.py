"""A label-propagation evaluation: encoders under several settings, from claimed folders to scores and a comparison."""

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Generic

import jax
import numpy as np
from tqdm import tqdm

from vfs_jax.claims import claim_folder, with_versions
from vfs_jax.distributed import from_first
from vfs_jax.evaluation.encoders import NamedEncoder, NetworkEncoder
from vfs_jax.evaluation.propagation.features import features_of
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import Variant
from vfs_jax.evaluation.runs.comparison import Run, write_comparison, write_results
from vfs_jax.evaluation.runs.costs import read_cost
from vfs_jax.evaluation.runs.fingerprint import sequences_checksum
from vfs_jax.evaluation.runs.propagation import (
    clean,
    count_programs,
    finished,
    layouts_of,
    propagate_all,
    wait_for,
)
from vfs_jax.evaluation.tasks.base import LabeledSequence, S, SequenceScore, Task, format_table, write_tables

# Of a comparison's folder: which runs it is of may change from one call to the next.
_OF_COMPARISONS = {"sweep": "", "all_blocks": False, "encoder": "", "features": ""}


@dataclasses.dataclass(frozen=True)
class _Job:
    """One run to be done: an encoder under some settings, in a folder of its own."""

    name: str
    encoder: NamedEncoder
    variant: Variant
    folder: Path


def evaluate_propagation(
    task: Task[S],
    sequences: Sequence[S],
    encoders: Sequence[tuple[NamedEncoder, Sequence[Variant]]],
    workdir: Path,
    *,
    data: str,
    config: Mapping[str, object],
    free: Collection[str] = (),
    max_sizes: int = 6,
    report: Callable[[Path, Sequence[Run], Sequence[str]], object] = lambda folder, runs, notes: None,
    log: Callable[[str], object] = print,
) -> list[Run]:
    """Evaluate every encoder under every variant of its settings, on all devices of all processes.

    Several runs get a folder each below `workdir`, with table.csv, differences.csv and results.json beside them. What
    an earlier call finished in these folders is kept. Process 0 scores and reports, while the others wait for it.

    Args:
        task: that is evaluated.
        sequences: of its data set.
        encoders: each with the variants of its settings, which share one pass of it.
        workdir: gets the results.
        data: what the sequences are of, for messages.
        config: the whole configuration, for config.json; the weights and a variant's changes are put in here.
        free: names in `config` that may differ from an earlier call.
        max_sizes: sizes of frames that programs are compiled for; of more, some are padded to others.
        report: called with a folder, its runs and lines about them, when tables are written: of each run, and of all
            together where there are several.
        log: takes lines about what is done.

    Returns:
        The runs, on process 0; an empty list on all others.

    Raises:
        InputError: a folder holds results of another configuration, a frame cannot be read, or another process failed.
    """
    joint = sum(len(variants) for _, variants in encoders) > 1
    jobs = [
        _job(workdir, each, variant, joint=joint, several=len(encoders) > 1)
        for each, variants in encoders
        for variant in variants
    ]
    layouts = {}
    for each, variants in encoders:
        # Frames that all settings share are padded where all of them allow that.
        least = next((one.settings for one in variants if not one.settings.paddable), variants[0].settings)
        layouts[each.name] = layouts_of(sequences, least, each.encoder, max_sizes=max_sizes)

    def claim() -> str:
        known = {
            each.name: _known_by(each, sequences[0], variants[0], layouts[each.name]) for each, variants in encoders
        }
        # The same data may lie elsewhere than at the first call: what counts is their checksum.
        found = {**config, "data_found": sequences_checksum(task, sequences)}
        if joint:
            claim_folder(workdir, found, free=["weights", *_OF_COMPARISONS, "data", *free])
        for job in jobs:
            _claim(job, {**found, **known[job.encoder.name]}, ["data", *free])
        return json.dumps([_lacking(task, _of(jobs, each), sequences) for each, _ in encoders])

    # What there is to do is looked up once: a later process would see what the first ones have done by then.
    lacking = json.loads(from_first("claim", claim))
    sizes = {(layout.canvas, layout.padded) for each in layouts.values() for layout in each.values()}
    most = max(len(variants) for _, variants in encoders)
    log(
        f"{task.name}: propagating labels through {len(sequences)} sequences ({sum(map(len, sequences))} frames, "
        f"{len(sizes)} size(s) of network input) of {data} with {', '.join(each.source for each, _ in encoders)}"
        f"{f' under {most} settings' if most > 1 else ''} on {jax.device_count()} "
        f"{jax.default_backend()} device(s); results in {workdir}"
    )
    runs: list[Run] = []
    for (encoder, _), names in zip(encoders, lacking, strict=True):
        evaluation = _Evaluation(task, _of(jobs, encoder), sequences, layouts[encoder.name], log)
        scores = evaluation.propagate_and_score([each for each in sequences if each.name in names])
        if jax.process_index() == 0:
            runs += [evaluation.run_of(job, scores) for job in evaluation.jobs]
    if jax.process_index() > 0:
        log(f"process {jax.process_index()} of {jax.process_count()} is done; process 0 scores and reports")

    def finish() -> str:
        if any(sequence.has_ground_truth for sequence in sequences):
            _write(task, jobs, runs, workdir, with_versions(config), report, log)
        return ""

    from_first("report", finish)  # a process that ends before the others would take them along
    return runs


def _job(workdir: Path, encoder: NamedEncoder, variant: Variant, *, joint: bool, several: bool) -> _Job:
    """Return a run with a name that tells what differs between the runs; several get folders below the workdir."""
    name = variant.name if joint and not several else "-".join(filter(None, (encoder.name, variant.name)))
    return _Job(name, encoder, variant, workdir / name if joint else workdir)


def _known_by(
    encoder: NamedEncoder, sequence: LabeledSequence, variant: Variant, layouts: Mapping[str, Layout]
) -> dict[str, object]:
    """Return what tells an encoder from another one of its name, where it has no weights whose checksum does.

    That is the mean and the largest size of its features of a frame. Of three digits, since the last ones depend on the
    machine.
    """
    if isinstance(encoder.encoder, NetworkEncoder):
        return {}
    layout, source = layouts[sequence.name], f"{encoder.name}, {sequence.name}"
    (features,) = features_of(layout.encoder, [sequence.frame(0)], variant.settings, layout, source=source)
    sizes = np.abs(np.asarray(features, np.float32))
    return {"features_found": f"{sizes.mean():.3g}, {sizes.max():.3g}"}


def _of(jobs: Sequence[_Job], encoder: NamedEncoder) -> list[_Job]:
    return [job for job in jobs if job.encoder is encoder]


def _claim(job: _Job, config: Mapping[str, object], free: Collection[str]) -> None:
    """Claim the folder of one run: of this encoder and these settings alone."""
    single = {name: value for name, value in _OF_COMPARISONS.items() if name in config}
    own = {"weights": job.encoder.source, "weights_found": job.encoder.about}
    # The settings as they are, in place of a configuration that leaves them to a protocol.
    own |= dataclasses.asdict(job.variant.settings)
    # The same weights may lie elsewhere than at the first run: what counts is their checksum.
    free = ["weights", "weights_found.weights", *free]
    claim_folder(job.folder, with_versions({**config, **single, **own}), free=free)


def _lacking(task: Task[S], jobs: Sequence[_Job], sequences: Sequence[S]) -> list[str]:
    """Name the sequences that some of the runs has not finished."""
    folders = [job.folder for job in jobs]
    return [each.name for each in sequences if not finished(task, folders, each)]


def _write(
    task: Task[S],
    jobs: Sequence[_Job],
    runs: Sequence[Run],
    workdir: Path,
    config: Mapping[str, object],
    report: Callable[[Path, Sequence[Run], Sequence[str]], object],
    log: Callable[[str], object],
) -> None:
    """Write the tables and reports of all runs, and their comparison."""
    for run, job in zip(runs, jobs, strict=True):
        write_tables(job.folder, task, run.scores)
        write_results(job.folder / "results.json", task, [run], config)
        report(job.folder, [run], [])
        log(f"\n{run.name}\n{format_table(task, run.scores)}")
    if len(jobs) > 1:
        notes = write_comparison(workdir, task, runs)
        write_results(workdir / "results.json", task, runs, config)
        log("\n" + "\n".join(notes))
        report(workdir, runs, notes)


@dataclasses.dataclass(frozen=True)
class _Evaluation(Generic[S]):
    """The runs of one encoder: one pass of it through the sequences, and the scores of each run."""

    task: Task[S]
    jobs: Sequence[_Job]
    sequences: Sequence[S]
    layouts: Mapping[str, Layout]
    log: Callable[[str], object]

    def propagate_and_score(self, lacking: Sequence[S]) -> dict[tuple[str, str], SequenceScore]:
        """Propagate through this process's share of the sequences that are lacking.

        Process 0 then waits for the others and scores all sequences.

        Returns:
            On process 0 the scores by the names of run and sequence; nothing on the others.
        """
        task, folders = self.task, {job.folder: job.variant.settings for job in self.jobs}
        encoder = self.jobs[0].encoder
        done = len(self.sequences) - len(lacking)
        if done:
            self.log(f"{encoder.name}: {done} of {len(self.sequences)} sequences are finished already")
        longest = sorted(lacking, key=len, reverse=True)
        share = {sequence.name for sequence in longest[jax.process_index() :: jax.process_count()]}
        mine = [sequence for sequence in self.sequences if sequence.name in share]
        futures: dict[tuple[str, str], Future[SequenceScore]] = {}

        def score(sequence: S) -> None:
            if jax.process_index() == 0 and sequence.has_ground_truth:
                for job in self.jobs:
                    futures[job.name, sequence.name] = scoring.submit(task.score, job.folder / task.folder, sequence)

        with (
            ThreadPoolExecutor() as scoring,  # sequences are scored while others are propagated
            tqdm(total=sum(map(len, mine)), desc=encoder.name, unit="frame", smoothing=0.1) as progress,
            count_programs() as programs,
        ):
            names = {sequence.name for sequence in lacking}
            for sequence in self.sequences:
                if sequence.name not in names:
                    score(sequence)
            propagate_all(
                task,
                encoder.encoder,
                mine,
                folders,
                self.layouts,
                on_frame=progress.update,
                on_sequence=score,
            )
            if jax.process_index() > 0:
                return {}
            for sequence in lacking:
                if sequence.name not in share:
                    wait_for(task, folders, sequence)
                    score(sequence)
            scores = {key: future.result() for key, future in futures.items()}
        if mine:
            self.log(f"{encoder.name}: compiled {len(programs)} programs in {sum(programs):.1f} s")
        return scores

    def run_of(self, job: _Job, scores: Mapping[tuple[str, str], SequenceScore]) -> Run:
        """Return a finished run with what is to be told of it."""
        clean(self.task, job.folder)
        cost = read_cost(job.folder, job.encoder.encoder.parameters)
        several = f" (one pass of the encoder for {len(self.jobs)} settings)" if len(self.jobs) > 1 else ""
        facts = {
            **job.encoder.about,
            **job.variant.changes,
            "parameters": "–" if cost.parameters is None else f"{cost.parameters:,}",
            "seconds a frame": f"{cost.seconds_per_frame:.3f}{several}",
            "peak memory": f"{cost.peak_memory_mb:,.0f} MB",
        }
        scored = [scores[job.name, sequence.name] for sequence in self.sequences if sequence.has_ground_truth]
        return Run(
            job.name,
            job.folder / self.task.folder,
            scored,
            self.task.summary(scored) if scored else {},
            facts,
            weights=job.encoder.name,
            changes=job.variant.changes,
            encoder=job.encoder.encoder,
            cost=cost,
            settings=job.variant.settings,
        )
