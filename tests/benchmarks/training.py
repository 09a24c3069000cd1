"""How fast a training step and its input are: against PyTorch, and against a bare loop.

  python tests/benchmarks/training.py step [--depth=18 --clips=8 --frames=2 --size=224 --steps=3 --repeat=5]
  python tests/benchmarks/training.py input --data=RECORDS [--batches=32] [--workers=0]

"step" takes turns between this package's step and the same step in PyTorch (network, loss, SGD; on CUDA with
channels_last, bfloat16 autocast and torch.compile, against bfloat16 here) and prints the ratio of medians. Both copy
the next batch while a step computes and read the loss one step late: here as the training loop does, in PyTorch from
pinned memory on a stream of its own; --json=FILE gets the seconds of each turn. "input" compares clip_batches with a
loop that decodes and crops the same JPEGs, which lie in memory already; seconds of the CPU hold on a busy machine too.
Both print Markdown.
"""

import argparse
import importlib.util
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import jax
import numpy as np
from kept import keep

from vfs_jax.data.clips import ClipBatches, clip_batches
from vfs_jax.data.records import ClipRecords
from vfs_jax.data.transforms import random_crop_box
from vfs_jax.training.feed import Feed
from vfs_jax.training.loop import place_messages, place_records
from vfs_jax.training.options import TrainOptions
from vfs_jax.training.program import HostBatch
from vfs_jax.training.sharding import make_mesh
from vfs_jax.training.vfs import make_program

TURNS = 5

# Takes so many steps; gives the seconds of one.
Run = Callable[[int], float]


def our_run(depth: int, batches: Sequence[np.ndarray]) -> Run:
    """The same steps of this package, on one device, fed as the training loop feeds them."""
    mesh, (clips, _, t, size, *_) = make_mesh(1), batches[0].shape
    options = TrainOptions(
        data="",
        depth=depth,
        seed=0,
        steps=1000,
        batch_size=clips,
        segments=2 * t,
        image_size=size,
        learning_rate=0.05,
        checkpoint_every=1,
        log_every=1,
        dtype="bfloat16" if jax.default_backend() == "gpu" else "float32",
    )
    program = make_program(options, mesh)
    compiled, state = program.lower().compile(), program.create()
    messages = place_messages(program, stop=False, unreadable=0)

    def loaded(count: int) -> Iterator[HostBatch]:
        for views in itertools.islice(itertools.cycle(batches), count):
            yield {"views": views, "id": [], "unreadable": []}

    def run(count: int) -> float:
        nonlocal state
        start, losses = time.perf_counter(), []
        feed = Feed(loaded(count), lambda batch: place_records(program, batch))
        for batch in feed:
            state, metrics = compiled(state, {**batch.arrays, **messages})
            losses.append(metrics["loss"])
            if len(losses) > 1:
                losses[-2].item()
        losses[-1].item()
        feed.close()
        return (time.perf_counter() - start) / count

    return run


def step_runs(*, depth: int, clips: int, frames: int, size: int) -> dict[str, Run]:
    """Steps of both on the same batches, compiled and warm; of this package alone where PyTorch is missing."""
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (clips, 2, frames // 2, size, size, 3), dtype=np.uint8) for _ in range(3)]
    runs = {"vfs_jax": our_run(depth, batches)}
    if importlib.util.find_spec("torch"):
        from torch_step import torch_run

        runs = {"PyTorch": torch_run(depth, batches), **runs}
    for run in runs.values():
        run(2)
    return runs


def time_in_turns(runs: Mapping[str, Run], *, steps: int, repeat: int) -> dict[str, list[float]]:
    """Times them in turns, `repeat` times so many steps: seconds a step of each turn."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeat):
        for name, run in runs.items():
            seconds[name].append(run(steps))
    return seconds


def step_report(seconds: Mapping[str, Sequence[float]], *, depth: int, clips: int, frames: int, **sizes: int) -> str:
    """What `time_in_turns` gave of these sizes: a table."""
    lines = [
        f"ResNet-{depth}, {clips} clips of {frames} frames, {sizes['size']} px, {jax.devices()[0].device_kind}, "
        f"XLA_FLAGS={os.environ.get('XLA_FLAGS', '')!r}; {sizes['repeat']} times {sizes['steps']} steps each, in "
        "turns, the next batch copied meanwhile.",
        "",
        "| step | median s | fastest s | images/s | against PyTorch |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, each in seconds.items():
        median = statistics.median(each)
        ratio = f"{statistics.median(seconds['PyTorch']) / median:.2f}x" if "PyTorch" in seconds else "not installed"
        lines.append(f"| {name} | {median:.4f} | {min(each):.4f} | {clips * frames / median:.1f} | {ratio} |")
    return "\n".join(lines)


class Noted(list):
    """A clip's frames, which note those that are taken."""

    def __init__(self, frames: Sequence[bytes], taken: list[bytes]):
        super().__init__(frames)
        self._taken = taken

    def __getitem__(self, index: Any) -> Any:
        self._taken.append(super().__getitem__(index))
        return self._taken[-1]


def taken_frames(records: Sequence[Mapping[str, Any]], batches: int, **sizes: int) -> list[bytes]:
    """The JPEGs that so many batches decode, in their order."""
    taken: list[bytes] = []
    noting: list[Any] = [{"id": record["id"], "frames": Noted(record["frames"], taken)} for record in records]
    order = ClipBatches(noting, **sizes, min_area=0.2, seed=0, start_step=0, process_index=0, process_count=1)
    for batch in range(batches):
        order[batch]
    return taken


def decoded(jpeg: bytes) -> np.ndarray:
    """The BGR pixels of a JPEG, uint8 [h, w, 3]."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def bare_loop(jpegs: Sequence[bytes], size: int) -> None:
    """Decodes, crops and resizes into nowhere."""
    rng = np.random.default_rng(0)
    for jpeg in jpegs:
        image = decoded(jpeg)
        top, left, h, w = random_crop_box(rng, image.shape[0], image.shape[1])
        cv2.resize(image[top : top + h, left : left + w], (size, size), interpolation=cv2.INTER_LINEAR)


def input_report(data: str, *, batches: int, workers: int, batch_size: int, segments: int, image_size: int) -> str:
    """Images a second of the bare loop, of clip_batches over records in memory, and over records on disk: a table."""
    cv2.setNumThreads(1)
    sizes = {"batch_size": batch_size, "segments": segments, "image_size": image_size}
    on_disk = ClipRecords(data)
    in_memory = [{"id": record["id"], "frames": list(record["frames"])} for record in on_disk]
    jpegs = taken_frames(in_memory, batches, **sizes)

    def batches_of(records: Any) -> None:
        # Endless ones are loaded ahead: batches that nobody counts, some of them in the time of the next way.
        with mock.patch.object(ClipBatches, "__len__", return_value=batches):
            for _ in itertools.islice(clip_batches(records, **sizes, seed=0, num_workers=workers), batches):
                pass

    ways: dict[str, Callable[[], None]] = {
        "bare loop": lambda: bare_loop(jpegs, image_size),
        "clip_batches, in memory": lambda: batches_of(in_memory),
        "clip_batches, records": lambda: batches_of(on_disk),
    }
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    clock: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(TURNS + 1):
        for name, way in ways.items():
            start = time.perf_counter(), time.process_time()
            way()
            if turn:  # the first one warms up
                clock[name].append(time.perf_counter() - start[0])
                cpu[name].append(time.process_time() - start[1])
    height, width, _ = decoded(jpegs[0]).shape
    lines = [
        f"{len(jpegs)} JPEGs of about {width}x{height}, batches of {batch_size} clips, {workers} workers; medians of "
        f"{TURNS}, in turns. The bare loop keeps nothing; batches are memory that is new each time.",
        "",
        "| input | images a CPU-second | images/s | share of the bare loop, by CPU |",
        "| --- | --- | --- | --- |",
    ]
    for name in ways:
        per_cpu, per_second = (len(jpegs) / statistics.median(each[name]) for each in (cpu, clock))
        share = statistics.median(cpu["bare loop"]) / statistics.median(cpu[name])
        counted = "-" if workers and name != "bare loop" else f"{per_cpu:.0f}"
        lines.append(f"| {name} | {counted} | {per_second:.0f} | {'-' if counted == '-' else f'{share:.0%}'} |")
    return "\n".join(lines)


def main() -> None:
    """Reads the flags and prints a report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    step, feed = commands.add_parser("step"), commands.add_parser("input")
    sizes = {"depth": 18, "clips": 8, "frames": 2, "size": 224, "steps": 3, "repeat": 5}
    for name, default in sizes.items():
        step.add_argument(f"--{name}", type=int, default=default)
    step.add_argument("--json", type=Path)
    step.add_argument("--keep", type=Path, help="JSON file to add the figures to")
    sizes = {"batches": 32, "workers": 0, "batch_size": 8, "segments": 8, "image_size": 224}
    for name, default in sizes.items():
        feed.add_argument(f"--{name}", type=int, default=default)
    feed.add_argument("--data", required=True)
    flags = vars(parser.parse_args())
    if flags.pop("command") == "input":
        print(input_report(**flags))
        return
    file, kept = flags.pop("json"), flags.pop("keep")
    turns = {name: flags.pop(name) for name in ("steps", "repeat")}
    seconds = time_in_turns(step_runs(**flags), **turns)
    print(step_report(seconds, **flags, **turns))
    if file:
        file.write_text(json.dumps(seconds) + "\n")
    name = "training step, ResNet-{depth}, {clips} clips of {frames} frames, {size} px".format(**flags)
    keep(kept, {f"{name}: {side}": (statistics.median(each), "s") for side, each in seconds.items()})


if __name__ == "__main__":
    main()
