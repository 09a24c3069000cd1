"""A box-tracking evaluation: trackers on all devices, from claimed folders to scores; finished sequences are kept."""

import dataclasses
import math
import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from vfs_jax.claims import claim_folder, with_versions
from vfs_jax.data.box_datasets import BoxSequence
from vfs_jax.errors import InputError
from vfs_jax.evaluation.runs.comparison import Run
from vfs_jax.evaluation.runs.fingerprint import sequences_checksum
from vfs_jax.evaluation.tasks.base import format_table, write_tables
from vfs_jax.evaluation.tasks.boxes import Otb, read_speed, write_boxes
from vfs_jax.evaluation.tracking.siamfc import SiamFCTracker, TrackerSettings
from vfs_jax.models.resnet import Variables
from vfs_jax.models.weights.resolve import NamedWeights


def evaluate_tracking(
    task: Otb,
    sequences: Sequence[BoxSequence],
    networks: Sequence[NamedWeights],
    workdir: Path,
    *,
    tracker: TrackerSettings,
    data: str,
    config: Mapping[str, object],
    free: Collection[str] = (),
    sequences_per_device: int = 1,
    log: Callable[[str], object] = print,
) -> list[Run]:
    """Track through all sequences with every network, and score and write the tables of each.

    Several networks get a folder each below `workdir`. What an earlier call finished in these folders is kept.

    Args:
        task: that is evaluated.
        sequences: of its data set.
        networks: ResNets, with tracking heads where they have one.
        workdir: gets the results.
        tracker: how boxes are tracked.
        data: what the sequences are of, for messages.
        config: the whole configuration, for config.json; the weights are put in here.
        free: names in `config` that may differ from an earlier call.
        sequences_per_device: tracked at once on each device.
        log: takes lines about what is done.

    Returns:
        The runs; without scores, and without tables in their folders, where some sequence has no ground truth.

    Raises:
        InputError: a folder holds results of another configuration, a frame cannot be read, a first box is none, or
            sequences_per_device is not positive.
    """
    if sequences_per_device < 1:
        raise InputError(f"sequences_per_device={sequences_per_device}: must be at least 1")
    folders = [workdir / each.name if len(networks) > 1 else workdir for each in networks]
    found = sequences_checksum(task, sequences)
    for folder, network in zip(folders, networks, strict=True):
        whole = {**config, "weights": network.source, "weights_found": network.about, "data_found": found}
        # The same data and weights may lie elsewhere than at the first run: what counts is their checksum.
        claim_folder(folder, with_versions(whole), free=["data", "weights", "weights_found.weights", *free])
    log(
        f"{task.name}: tracking through {len(sequences)} sequences ({sum(map(len, sequences))} frames) of "
        f"{data} with {', '.join(each.source for each in networks)} on {jax.local_device_count()} "
        f"{jax.default_backend()} device(s); results in {workdir}"
    )
    runs = []
    for folder, network in zip(folders, networks, strict=True):
        results = folder / task.folder
        left = [sequence for sequence in sequences if not task.output(results, sequence).exists()]
        if len(left) < len(sequences):
            log(f"{network.name}: {len(sequences) - len(left)} of {len(sequences)} sequences are finished already")
        with tqdm(total=sum(map(len, left)), desc=network.name, unit="frame", smoothing=0.1) as progress:
            track_sequences(
                task,
                network.variables,
                sorted(left, key=len, reverse=True),  # the longest first: no device waits long for the last one
                results,
                settings=tracker,
                sequences_per_device=sequences_per_device,
                on_frames=progress.update,
            )
        runs.append(_scored(task, network, results, sequences))
    for run, folder in zip(runs, folders, strict=True):
        if run.scores:
            write_tables(folder, task, run.scores)
            log(f"\n{run.name}: {run.facts['frames a second']} frames/s\n{format_table(task, run.scores)}")
    return runs


def _scored(task: Otb, network: NamedWeights, results: Path, sequences: Sequence[BoxSequence]) -> Run:
    speed = read_speed(task, results, sequences)
    facts = {**network.about, "frames a second": "–" if math.isnan(speed) else f"{speed:.2f}"}
    if not all(sequence.has_ground_truth for sequence in sequences):
        return Run(network.name, results, [], {}, facts)
    scores = [task.score(results, sequence) for sequence in sequences]
    return Run(network.name, results, scores, task.summary(scores), facts)


def track_sequences(
    task: Otb,
    variables: Variables,
    sequences: Sequence[BoxSequence],
    results: Path,
    *,
    settings: TrackerSettings,
    sequences_per_device: int = 1,
    on_frames: Callable[[int], object] = lambda count: None,
) -> None:
    """Track the first box of every sequence and write its boxes and times when it is through.

    Each device has threads of its own, which take the next sequence when they are done with one. Boxes do not depend on
    their number.

    Args:
        task: of the sequences.
        variables: of the tracker.
        sequences: those to track, in this order.
        results: folder of the results.
        settings: of the tracker.
        sequences_per_device: tracked at once on each device.
        on_frames: called with the number of frames of a sequence when it is written.

    Raises:
        InputError: a frame cannot be read, or a first box is none.
    """
    left: queue.SimpleQueue[BoxSequence] = queue.SimpleQueue()
    stop = threading.Event()
    for sequence in sequences:
        left.put(sequence)

    def work(device: jax.Device) -> None:
        with jax.default_device(device):
            tracker = SiamFCTracker(jax.device_put(variables, device), **dataclasses.asdict(settings))
            while not stop.is_set():
                try:
                    sequence = left.get_nowait()
                except queue.Empty:
                    return
                write_boxes(task, results, sequence, *_track(tracker, sequence))
                on_frames(len(sequence))

    workers = [device for device in jax.local_devices() for _ in range(sequences_per_device)]
    with ThreadPoolExecutor(len(workers)) as pool:
        try:
            for done in as_completed([pool.submit(work, device) for device in workers[: len(sequences)]]):
                done.result()
        except BaseException:
            stop.set()  # the other threads end with the sequence at which they are
            raise


def _track(tracker: SiamFCTracker, sequence: BoxSequence) -> tuple[np.ndarray, np.ndarray]:
    try:
        return tracker.track(sequence.frames, sequence.boxes[0])
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{sequence.frames[0].parent}: {error}") from error
