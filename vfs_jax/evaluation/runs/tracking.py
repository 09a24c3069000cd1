"""Tracks through many sequences at once, on all devices; what is finished is kept for a run that goes on."""

import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vfs_jax.data.box_datasets import BoxSequence
from vfs_jax.errors import InputError
from vfs_jax.evaluation.tasks.boxes import Otb, write_boxes
from vfs_jax.evaluation.tracking.siamfc import SiamFCTracker
from vfs_jax.models.resnet import Variables


def track_sequences(
    task: Otb,
    variables: Variables,
    sequences: Sequence[BoxSequence],
    results: Path,
    *,
    settings: Mapping[str, Any],
    sequences_per_device: int = 1,
    on_sequence: Callable[[BoxSequence], object] = lambda sequence: None,
) -> None:
    """Track the first box of every sequence and write its boxes and times when it is through.

    Each device has threads of its own, which take the next sequence when they are done with one. Boxes do not depend on
    their number.

    Args:
        task: says where results lie.
        variables: of the tracker.
        sequences: those to track, the longest may well come first.
        results: folder of the results.
        settings: of the tracker.
        sequences_per_device: tracked at once on each device.
        on_sequence: called when a sequence is written.

    Raises:
        InputError: a frame cannot be read, or a first box is none.
    """
    left: queue.SimpleQueue[BoxSequence] = queue.SimpleQueue()
    for sequence in sequences:
        left.put(sequence)

    def work(device: jax.Device) -> None:
        with jax.default_device(device):
            tracker = SiamFCTracker(jax.device_put(variables, device), **settings)
            while True:
                try:
                    sequence = left.get_nowait()
                except queue.Empty:
                    return
                write_boxes(task, results, sequence, *_track(tracker, sequence))
                on_sequence(sequence)

    workers = [device for device in jax.local_devices() for _ in range(sequences_per_device)]
    with ThreadPoolExecutor(len(workers)) as pool:
        for done in [pool.submit(work, device) for device in workers[: len(sequences)]]:
            done.result()


def _track(tracker: SiamFCTracker, sequence: BoxSequence) -> tuple[np.ndarray, np.ndarray]:
    try:
        return tracker.track(sequence.frames, sequence.boxes[0])
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{sequence.frames[0].parent}: {error}") from error
