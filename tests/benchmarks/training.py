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
import torch
from kept import keep
from torch import nn

from vfs_jax.data.clips import ClipBatches, clip_batches
from vfs_jax.data.records import ClipRecords
from vfs_jax.data.transforms import random_crop_box
from vfs_jax.models.heads import head_widths
from vfs_jax.models.resnet import BLOCKS, IMAGE_MEAN, IMAGE_STD, feature_width, is_bottleneck
from vfs_jax.training.feed import Feed
from vfs_jax.training.loop import place_messages, place_records
from vfs_jax.training.options import TrainOptions
from vfs_jax.training.program import HostBatch
from vfs_jax.training.sharding import make_mesh
from vfs_jax.training.vfs import make_program

TURNS = 5


class Block(nn.Module):
    """A residual block in torchvision's way."""

    def __init__(self, width_in: int, width: int, stride: int, bottleneck: bool):
        super().__init__()
        out = width * (4 if bottleneck else 1)
        shapes = (
            [(width_in, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
            if bottleneck
            else [(width_in, width, 3, stride), (width, out, 3, 1)]
        )
        layers: list[nn.Module] = []
        for a, b, kernel, by in shapes:
            layers += [nn.Conv2d(a, b, kernel, by, kernel // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        self.branch = nn.Sequential(*layers[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != out:
            self.shortcut = nn.Sequential(nn.Conv2d(width_in, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, c, h, w] -> [b, c', h', w']."""
        return torch.relu(self.branch(x) + self.shortcut(x))


class TorchVFS(nn.Module):
    """Backbone, projector and predictor, as `vfs_jax.models.VFS` has them."""

    def __init__(self, depth: int):
        super().__init__()
        blocks: list[nn.Module] = []
        width_in = 64
        for stage, number in enumerate(BLOCKS[depth]):
            for block in range(number):
                stride = 2 if stage and not block else 1
                blocks.append(Block(width_in, 64 * 2**stage, stride, is_bottleneck(depth)))
                width_in = 64 * 2**stage * (4 if is_bottleneck(depth) else 1)
        stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
        self.backbone = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        width, hidden = head_widths(depth)
        layers: list[nn.Module] = []
        for a in (feature_width(depth), width, width):
            layers += [nn.Linear(a, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
        self.projector = nn.Sequential(*layers[:-1])
        self.predictor = nn.Sequential(
            nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width)
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[n, 3, h, w] -> z and p, each [n, d]."""
        z = self.projector(self.backbone(images))
        return z, self.predictor(z)


# Seconds a step, of so many steps one after the other.
Run = Callable[[int], float]


def torch_run(depth: int, batches: Sequence[np.ndarray]) -> Run:
    """Steps in PyTorch on uint8 views [b, 2, t, h, w, 3]; the next batch is copied while one computes."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    model = TorchVFS(depth).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = torch.compile(model) if cuda else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    mean, scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    b, _, t = batches[0].shape[:3]
    on_host = [torch.from_numpy(batch).pin_memory() if cuda else torch.from_numpy(batch) for batch in batches]
    copies = torch.cuda.Stream() if cuda else None

    def similarity(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        p, z = (nn.functional.normalize(each.float(), dim=1).view(b, t, -1) for each in (p, z.detach()))
        return 2 - 2 * torch.einsum("bid,bjd->bij", p, z).mean()

    def step(views: torch.Tensor) -> torch.Tensor:
        embedded = []
        with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
            for view in range(2):
                images = views[:, view].flatten(0, 1).permute(0, 3, 1, 2)  # channels_last as it lies
                embedded.append(network((images.float() - mean) / scale))
        (z1, p1), (z2, p2) = embedded
        loss = (similarity(p1, z2) + similarity(p2, z1)) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def on_device(count: int) -> Iterator[torch.Tensor]:
        def copy(number: int) -> torch.Tensor:
            with torch.cuda.stream(copies):  # nothing happens where there is none
                return on_host[number % len(on_host)].to(device, non_blocking=True)

        coming = copy(0)
        for number in range(count):
            if copies is not None:
                torch.cuda.current_stream().wait_stream(copies)
                coming.record_stream(torch.cuda.current_stream())
            views, coming = coming, copy(number + 1)
            yield views

    def run(count: int) -> float:
        start, losses = time.perf_counter(), []
        for views in on_device(count):
            losses.append(step(views))
            if len(losses) > 1:
                losses[-2].item()
        losses[-1].item()
        return (time.perf_counter() - start) / count

    return run


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


def measure_step(*, depth: int, clips: int, frames: int, size: int, steps: int, repeat: int) -> dict[str, list[float]]:
    """Times both in turns, `repeat` times so many steps: seconds a step of each turn."""
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (clips, 2, frames // 2, size, size, 3), dtype=np.uint8) for _ in range(3)]
    runs = {"PyTorch": torch_run(depth, batches), "vfs_jax": our_run(depth, batches)}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(2)  # compiles and warms up
    for _ in range(repeat):
        for name, run in runs.items():
            seconds[name].append(run(steps))
    return seconds


def step_report(seconds: Mapping[str, Sequence[float]], *, depth: int, clips: int, frames: int, **sizes: int) -> str:
    """What `measure_step` gave of these sizes: a table."""
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
        ratio = statistics.median(seconds["PyTorch"]) / median
        lines.append(f"| {name} | {median:.4f} | {min(each):.4f} | {clips * frames / median:.1f} | {ratio:.2f}x |")
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
    seconds = measure_step(**flags)
    print(step_report(seconds, **flags))
    if file:
        file.write_text(json.dumps(seconds) + "\n")
    name = "training step, ResNet-{depth}, {clips} clips of {frames} frames, {size} px".format(**flags)
    keep(kept, {f"{name}: {side}": (statistics.median(each), "s") for side, each in seconds.items()})


if __name__ == "__main__":
    main()
