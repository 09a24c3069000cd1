"""Label propagation through many sequences into folders: all devices at work, reading and writing beside them."""

import contextlib
import dataclasses
import itertools
import operator
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Generic

import jax

from vfs_jax.evaluation.encoders import Encoder
from vfs_jax.evaluation.propagation.features import iterate_features
from vfs_jax.evaluation.propagation.padding import Layout, plan_layouts
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.runs.costs import append_timing, peak_memory, reset_peak_memory
from vfs_jax.evaluation.runs.frames_ahead import FRAMES_AHEAD, FramesAhead
from vfs_jax.evaluation.tasks.base import LabeledSequence, S, Task

_UNWRITTEN = 8  # results of a sequence that wait to be written


def finished(task: Task[S], folders: Collection[Path], sequence: S) -> bool:
    """Return whether all these folders of runs hold the results of a sequence."""
    return all(task.output(folder / task.folder, sequence).exists() for folder in folders)


def layouts_of(
    sequences: Sequence[LabeledSequence], settings: Settings, encoder: Encoder, *, max_sizes: int
) -> dict[str, Layout]:
    """Plan the layout of every sequence, by its name, with as few canvases as `plan_layouts` makes of their sizes."""
    sizes = {sequence.name: sequence.size for sequence in sequences}
    frames: dict[tuple[int, int], int] = {}
    for sequence in sequences:
        frames[sizes[sequence.name]] = frames.get(sizes[sequence.name], 0) + len(sequence)
    planned = plan_layouts(frames, settings, encoder, max_sizes=max_sizes)
    return {name: dataclasses.replace(planned[size], encoder=encoder.of_sequence(name)) for name, size in sizes.items()}


def propagate_all(
    task: Task[S],
    encoder: Encoder,
    sequences: Sequence[S],
    variants: Mapping[Path, Settings],
    layouts: Mapping[str, Layout],
    *,
    devices: Sequence[jax.Device] | None = None,
    on_frame: Callable[[], object] = lambda: None,
    on_sequence: Callable[[S], object] = lambda sequence: None,
) -> None:
    """Propagate through sequences, each device at work on one at a time, the longest first where there are several.

    A sequence's results appear under their name when all of them are written; FOLDER/timings*.csv gets a line then.
    Results that are there already are kept.

    Args:
        task: propagates and writes.
        encoder: gives the features.
        sequences: of the task's data set, this process's share.
        variants: settings by the folder of their run; they share one pass of the network.
        layouts: of the sequences, by name.
        devices: all of this process where None.
        on_frame: called when a frame is done under all settings; by one thread at a time.
        on_sequence: called when a sequence is; likewise.
    """
    devices = jax.local_devices() if devices is None else devices
    lacking = [each for each in sequences if not finished(task, variants, each)]
    waiting = iter(sorted(lacking, key=len, reverse=True) if len(devices) > 1 else lacking)
    with ThreadPoolExecutor() as readers, ThreadPoolExecutor() as writers, ThreadPoolExecutor(len(devices)) as pool:
        shared = _Shared(task, variants, layouts, readers, writers, waiting, on_frame, on_sequence)
        workers = [
            pool.submit(_Worker(shared, device, f"{jax.process_index()}-{number}").run, encoder)
            for number, device in enumerate(devices)
        ]
        try:
            for worker in as_completed(workers):
                worker.result()
        except BaseException:
            shared.stop.set()  # the other devices end with the frame at which they are
            raise


@dataclasses.dataclass(frozen=True)
class _Shared(Generic[S]):
    """The sequences that wait for a device, and the pools, settings and callbacks that serve all devices."""

    task: Task[S]
    variants: Mapping[Path, Settings]
    layouts: Mapping[str, Layout]
    readers: ThreadPoolExecutor
    writers: ThreadPoolExecutor
    waiting: Iterator[S]
    on_frame: Callable[[], object]
    on_sequence: Callable[[S], object]
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    stop: threading.Event = dataclasses.field(default_factory=threading.Event)


class _Worker(Generic[S]):
    """One device's thread: it propagates through a sequence while the next is read and the last is written."""

    def __init__(self, shared: _Shared[S], device: jax.Device, name: str):
        self._shared, self._device, self._name = shared, device, name
        self._number = itertools.count()

    def run(self, encoder: Encoder) -> None:
        """Take sequences until none is left."""
        with jax.default_device(self._device), ThreadPoolExecutor(1) as closer:
            opened, closing = self._open(), None
            if opened is not None:
                encoder = encoder.on_device()
            while opened is not None:
                opened, close = self._propagate(encoder, opened)
                if closing is not None:
                    closing.result()  # raises what went wrong; no more than one sequence is left behind
                closing = closer.submit(close)
            if closing is not None:
                closing.result()

    def _open(self) -> tuple[S, FramesAhead] | None:
        """Take the next sequence and begin to read its frames."""
        with self._shared.lock:
            sequence = next(self._shared.waiting, None)
        if sequence is None:
            return None
        layout, settings = self._shared.layouts[sequence.name], next(iter(self._shared.variants.values()))
        return sequence, FramesAhead(self._shared.readers, sequence, layout, settings.batch_frames)

    def _propagate(
        self, encoder: Encoder, opened: tuple[S, FramesAhead]
    ) -> tuple[tuple[S, FramesAhead] | None, Callable[[], None]]:
        """Propagate through a sequence under all settings that lack it; returns the next one, and a job that ends this.

        The job waits until everything is written and gives the results their names.
        """
        (sequence, frames), shared, begin = opened, self._shared, time.perf_counter()
        reset_peak_memory()
        task, layout = shared.task, shared.layouts[sequence.name]
        left = {folder: each for folder, each in shared.variants.items() if not finished(task, [folder], sequence)}
        place = Path(f".{task.folder}.partial", self._name, str(next(self._number)))  # half-written results
        for folder in left:
            shutil.rmtree(folder / place, ignore_errors=True)
        outputs = tuple(dict.fromkeys(settings.output for settings in left.values()))
        common = next(iter(left.values()))  # variants differ in nothing that features depend on
        features = iterate_features(
            encoder.of_sequence(sequence.name), frames, common, layout, outputs=outputs, source=sequence.name
        )
        # Each variant draws from a copy of its own of the features, all of them frame by frame in step.
        copies = itertools.tee(features, len(left))
        jobs = [
            task.write(
                map(operator.itemgetter(settings.output), copy),
                sequence,
                task.output(folder / place, sequence),
                settings,
                layout.under(settings),
            )
            for copy, (folder, settings) in zip(copies, left.items(), strict=True)
        ]
        pending: deque[list[Future[object]]] = deque()

        def wait() -> None:
            for future in pending.popleft():
                future.result()
            with shared.lock:
                shared.on_frame()

        following = None
        for number, group in enumerate(zip(*jobs, strict=True)):
            if shared.stop.is_set():
                raise RuntimeError("stopped, since another device failed")
            pending.append([shared.writers.submit(job) for job in group])
            if len(pending) > _UNWRITTEN:
                wait()
            if number == max(len(sequence) - FRAMES_AHEAD, 0):
                following = self._open()

        def close() -> None:
            while pending:
                wait()
            seconds, peak = time.perf_counter() - begin, peak_memory(self._device)
            for folder in left:
                final = task.output(folder / task.folder, sequence)
                final.parent.mkdir(parents=True, exist_ok=True)
                with shared.lock:
                    append_timing(folder, sequence.name, frames=len(sequence), seconds=seconds, peak_bytes=peak)
                task.output(folder / place, sequence).rename(final)  # last: what is finished is whole, and timed
                shutil.rmtree(folder / place)
            with shared.lock:
                shared.on_sequence(sequence)

        return following, close


def wait_for(task: Task[S], folders: Collection[Path], sequence: S) -> None:
    """Wait until another process, which shares the folders, has finished a sequence."""
    while not finished(task, folders, sequence):
        time.sleep(1)


@contextlib.contextmanager
def count_programs() -> Iterator[list[float]]:
    """Collect the seconds of every program that is compiled, or fetched from a cache, within the context."""
    seconds: list[float] = []

    def note(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def clean(task: Task[S], folder: Path) -> None:
    """Remove half-written results of interrupted runs; no process may be at work in the folder."""
    shutil.rmtree(folder / f".{task.folder}.partial", ignore_errors=True)


def propagate_sequence(
    task: Task[S],
    encoder: Encoder,
    sequence: S,
    folder: Path,
    settings: Settings,
    *,
    on_frame: Callable[[], object] = lambda: None,
) -> None:
    """Propagate through one sequence on the first device: `propagate_all` of one, without padding.

    Args:
        task: propagates and writes.
        encoder: gives the features.
        sequence: of the task's data set.
        folder: of the run.
        settings: of the propagation.
        on_frame: called when a frame is done.
    """
    layouts = layouts_of([sequence], settings, encoder, max_sizes=1)
    devices = jax.local_devices()[:1]
    propagate_all(task, encoder, [sequence], {folder: settings}, layouts, devices=devices, on_frame=on_frame)
    clean(task, folder)
