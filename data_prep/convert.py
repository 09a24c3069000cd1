"""The conversion as a pipeline: one element is one shard, and the worker that makes it writes it.

What counts is on the disk (shards.py); the pipeline hands out the work and carries no data. So every runner may lose a
worker, run an element twice or be stopped, and nothing is lost or doubled.
"""

import contextlib
import dataclasses
import logging
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import tqdm
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from data_prep.decoder import Decoder
from data_prep.decoding import ClipOptions
from data_prep.index import ShardTask, read_entries, read_tasks
from data_prep.shards import finished, read_sidecar, shard_name, write_shard
from vfs_jax.errors import InputError

# What failed in threads of this process. Beam prints the traceback of whatever they raise, so they tell it here.
_failures: list[str] = []

RUNNERS = ("DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner")


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What each worker is told.

    Attributes:
        out: folder of the index and of the shards; every worker sees it under this path.
        shards: their number.
        options: how videos become clips.
        clip_timeout: seconds a clip may take to decode.
        progress: file that grows by a byte a video, "" for none.
        here: whether the workers are threads of this process.
    """

    out: str
    shards: int
    options: ClipOptions
    clip_timeout: float
    progress: str = ""
    here: bool = False


class ConvertShard(beam.DoFn):
    """Makes one shard, unless it is there already, and yields (shard, records, rejects)."""

    def __init__(self, conversion: Conversion) -> None:
        self._conversion = conversion

    def setup(self) -> None:
        """Start, once before the first shard: one decoding process serves all."""
        self._decoder = Decoder(self._conversion.options, self._conversion.clip_timeout)

    def teardown(self) -> None:
        """End the decoding process, after the last shard."""
        self._decoder.close()

    def process(self, element: ShardTask) -> Iterator[tuple[int, int, int]]:
        """Convert the shard.

        Args:
            element: which shard.

        Yields:
            Its number, how many records it holds and how many videos, or parts of them, were rejected.

        Raises:
            InputError: it cannot be written, and the worker is no thread of this process.
        """
        told = self._conversion
        if _failures:
            return
        out = Path(told.out)
        entries = read_entries(out, element)
        path = out / shard_name(element.shard, told.shards)
        settings = dataclasses.asdict(told.options)
        sidecar = finished(path, entries, settings)
        if sidecar is not None:
            self._advance(len(entries))
        else:
            try:
                sidecar = write_shard(path, entries, self._decoder, settings, video_done=lambda: self._advance(1))
            except OSError as error:
                reason = error.strerror or error
                message = f"{path}: cannot be written: {reason}; free space and run again"
                if not told.here:
                    raise InputError(message) from error
                _failures.append(message)
                return
        yield element.shard, sidecar["count"], len(sidecar["rejects"])

    def _advance(self, videos: int) -> None:
        if self._conversion.progress:
            with open(self._conversion.progress, "ab", buffering=0) as file:
                file.write(b"." * videos)


def build(pipeline: beam.Pipeline, tasks: list[ShardTask], conversion: Conversion) -> beam.PCollection:
    """Add the conversion to a pipeline; the result holds (shard, records, rejects)."""
    return (
        pipeline
        | "shards" >> beam.Create(tasks)
        | "spread" >> beam.Reshuffle()
        | "convert" >> beam.ParDo(ConvertShard(conversion))
    )


def convert(
    out: Path,
    options: ClipOptions,
    *,
    clip_timeout: float = 120.0,
    workers: int = 0,
    runner: str = "DirectRunner",
    beam_options: Sequence[str] = (),
) -> None:
    """Convert every video of OUT/index.jsonl.

    Args:
        out: folder of the index; the shards come beside it. Finished shards are checked and kept.
        options: how videos become clips.
        clip_timeout: seconds a clip may take to decode.
        workers: decoding processes on this machine, 0 for one a core; other runners have options of their own.
        runner: "DirectRunner" is this machine; FlinkRunner, SparkRunner and DataflowRunner hand shards to a cluster
            whose workers have this package installed and see the videos and OUT under the same paths.
        beam_options: further options of Beam, as on its command line.

    Raises:
        InputError: no index, nothing can be written, or not one video decodes (then what was written is removed).
    """
    if not clip_timeout > 0:
        raise InputError(f"clip_timeout={clip_timeout:g}: takes seconds above 0")
    if workers < 0:
        raise InputError(f"workers={workers}: takes a number from 1, or 0 for one a core")
    _check_runner(runner)
    tasks = read_tasks(out)
    _remove_leftovers(out)
    progress = out / ".progress.tmp"
    progress.touch()
    here = runner == "DirectRunner"
    conversion = Conversion(str(out.resolve()), len(tasks), options, clip_timeout, str(progress.resolve()), here)
    try:
        with _progress_bar(progress, sum(task.videos for task in tasks)):
            _run(tasks, conversion, workers, runner, beam_options)
    finally:
        # Where one shard failed, others may have been at work: what they have not finished goes too.
        _remove_leftovers(out)
    _require_a_record(out, tasks)


def _remove_leftovers(out: Path) -> None:
    for leftover in out.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def job_graph(out: Path, options: ClipOptions, *, clip_timeout: float, runner: str, beam_options: Sequence[str]) -> str:
    """Describe the job that convert would build, without a runner: its steps, and the options Beam understood.

    Args:
        out: folder of the index.
        options: how videos become clips.
        clip_timeout: seconds a clip may take to decode.
        runner: see convert.
        beam_options: see convert.

    Returns:
        A line a step, in order.

    Raises:
        InputError: no index, or an unknown runner.
    """
    _check_runner(runner)
    tasks = read_tasks(out)
    understood = PipelineOptions(list(beam_options)).get_all_options(drop_default=True)
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(list(beam_options)))
    build(pipeline, tasks, Conversion(str(out.resolve()), len(tasks), options, clip_timeout))
    steps = pipeline.to_runner_api().components.transforms.values()
    return "\n".join(
        [
            f"runner: {runner}",
            *(f"option: {name}={value}" for name, value in sorted(understood.items())),
            *(f"step: {step.unique_name} ({step.spec.urn})" for step in steps if step.spec.urn),
            f"elements: {len(tasks)} shards of {sum(task.videos for task in tasks)} videos",
        ]
    )


def _check_runner(runner: str) -> None:
    if runner not in RUNNERS:
        raise InputError(f"runner={runner}: takes one of {', '.join(RUNNERS)}")


def _run(
    tasks: list[ShardTask], conversion: Conversion, workers: int, runner: str, beam_options: Sequence[str]
) -> None:
    given = list(beam_options)
    chosen: str | FnApiRunner = runner
    if runner == "DirectRunner":
        # Beam's local Python runner by name: its "DirectRunner" would first try to fetch and start Prism, a program of
        # its own. Threads suffice, and lose nothing when they end: each decodes in a process of its own.
        workers = min(len(tasks), workers or len(os.sched_getaffinity(0)))
        given += [f"--direct_num_workers={workers}", "--direct_running_mode=multi_threading"] if workers > 1 else []
        chosen = FnApiRunner()
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # what fails is told once, below
    _failures.clear()
    try:
        with beam.Pipeline(runner=chosen, options=PipelineOptions(given)) as pipeline:
            build(pipeline, tasks, conversion)
    except Exception as error:
        # The runner hands on the text of what a worker raised.
        told = re.search(r"InputError: (.*?)(?: \[while running|\n|$)", str(error))
        if told is None:
            raise
        raise InputError(told[1]) from None
    if _failures:
        raise InputError(_failures[0])


def _require_a_record(out: Path, tasks: list[ShardTask]) -> None:
    paths = [out / shard_name(task.shard, len(tasks)) for task in tasks]
    first = None
    for path in paths:
        sidecar = read_sidecar(path)
        if sidecar is None or sidecar["count"]:
            return
        first = first or sidecar["rejects"][0]
    for path in paths:
        path.unlink()
        path.with_name(f"{path.name}.json").unlink()
    assert first is not None
    videos = sum(task.videos for task in tasks)
    raise InputError(f"{first['path']}: {first['reason']}; none of the {videos} videos decodes, nothing was kept")


@contextlib.contextmanager
def _progress_bar(progress: Path, videos: int) -> Iterator[None]:
    stop = threading.Event()
    with tqdm.tqdm(total=videos, unit="video", desc="convert") as bar:

        def follow() -> None:
            while not stop.wait(0.5):
                bar.update(progress.stat().st_size - bar.n)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            bar.update(progress.stat().st_size - bar.n)
