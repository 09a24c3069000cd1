"""How fast, how large and how exact the correspondence operators are, beside the official way.

    python tests/benchmarks/operators.py --out=DIR            # everything, a quarter of an hour on two cores
    python tests/benchmarks/operators.py --out=DIR --toy      # seconds: only that it runs

Prints every figure as it comes; writes DIR/operators.json and charts. The official way is full affinity in chunks of 32
queries, mask, top-k, softmax and gather, in PyTorch, timed in turn with ours in the same process. The floor is the
multiply-adds inside the circles at the best rate that any matmul reached in this run. Memory is what the compiled
program asks for above its inputs: its temporary arrays and its results, from XLA's own account.
"""

import argparse
import dataclasses
import functools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from kept import keep
from operators_charts import draw

from vfs_jax.correspondence import (
    Memory,
    cross_correlate,
    implementations,
    propagate_frame,
    propagate_next,
    propagate_video,
    start_memory,
)
from vfs_jax.correspondence.affinity import window_offsets
from vfs_jax.correspondence.backends import Implementation
from vfs_jax.correspondence.memory import Labeled, _step

TOPK, TEMPERATURE, LABELS = 10, 0.07, 3


class Case(NamedTuple):
    """One setting of the operator."""

    name: str
    channels: int
    radius: float
    height: int = 60
    width: int = 107
    context: int = 20
    dtype: str = "float32"


FULL = [Case("R18", 256, 12.0), Case("R50", 1024, 18.0)]
TOY = [Case("R18", 8, 3.0, 9, 13, 3), Case("R50", 16, 4.0, 9, 13, 3)]


def make_video(case: Case, frames: int) -> tuple[list[jax.Array], jax.Array]:
    """Make smooth features that change a little from frame to frame, and random labels [context + 1, h, w, l].

    Neighbors and frames look alike, so that the best keys are spread over both, as in real video. The same numbers
    every time.
    """
    rng = np.random.default_rng(0)
    shape = (case.height, case.width, case.channels)
    noise = rng.standard_normal(shape, dtype=np.float32)
    base = sum(np.roll(noise, (row, col), (0, 1)) for row in (-1, 0, 1) for col in (-1, 0, 1))
    video = [jnp.asarray(base + 2 * rng.standard_normal(shape, dtype=np.float32), case.dtype) for _ in range(frames)]
    labels = np.eye(LABELS, dtype=np.float32)[rng.integers(0, LABELS, (case.context + 1, *shape[:2]))]
    return video, jnp.asarray(labels)


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, least and largest of some times."""
    return {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds), "runs": len(seconds)}


def timed(function: Callable[..., Any], *arguments: object, repeats: int) -> dict[str, float]:
    """Time a function that gives jax arrays, after one call that does not count."""
    jax.block_until_ready(function(*arguments))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - start)
    return spread(seconds)


def memory_above_inputs(compiled: jax.stages.Compiled) -> int:
    """Bytes that a compiled program allocates besides its inputs."""
    analysis = compiled.memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes


def size_of(tree: object) -> int:
    """Bytes of all distinct arrays of a pytree."""
    return sum({id(leaf): leaf.nbytes for leaf in jax.tree.leaves(tree)}.values())


def circle_operations(case: Case) -> int:
    """Multiplications and additions of all scores inside the windows of one frame, its borders taken into account."""
    offsets = abs(window_offsets(case.radius, "circle", case.height, case.width))
    pairs = np.sum((case.height - offsets[:, 0]) * (case.width - offsets[:, 1]))
    return int(2 * pairs * case.channels * (case.context + 1))


def best_matmul_rate(toy: bool, dtype: str = "float32") -> float:
    """Operations a second of the fastest of some square matmuls."""
    rates = []
    for size in (64,) if toy else (1024, 2048, 4096):
        matrix = jnp.ones((size, size), dtype)
        product = jax.jit(jnp.matmul)
        rates.append(2 * size**3 / timed(product, matrix, matrix, repeats=5)["min_s"])
    return max(rates)


# The official way.


def official_frame(
    query: torch.Tensor,
    keys: torch.Tensor,
    labels: torch.Tensor,
    mask: torch.Tensor,
    *,
    rows_are_queries: bool,
    chunk: int = 32,
    limit: int | None = None,
) -> torch.Tensor:
    """Labels [h * w, l] of all queries, `chunk` at a time: everything against everything, then the mask.

    query [h * w, c], keys [t * h * w, c], normalized; labels [t * h * w, l]; mask [h * w, h * w]. rows_are_queries
    chooses between the two layouts of the scores, [32, t * h * w] and [t * h * w, 32].
    """
    frames = len(keys) // len(query)
    out = []
    for start in range(0, len(query) if limit is None else min(limit * chunk, len(query)), chunk):
        part = query[start : start + chunk]
        allowed = mask[start : start + chunk]
        if rows_are_queries:
            scores = (part @ keys.T / TEMPERATURE).masked_fill_(~allowed.repeat(1, frames), float("-inf"))
            best, index = scores.topk(TOPK, dim=1)
            out.append(torch.einsum("pk,pkl->pl", best.softmax(1), labels[index]))
        else:
            scores = (keys @ part.T / TEMPERATURE).masked_fill_(~allowed.T.repeat(frames, 1), float("-inf"))
            best, index = scores.topk(TOPK, dim=0)
            out.append(torch.einsum("kp,kpl->pl", best.softmax(0), labels[index]))
    return torch.cat(out)


def official_inputs(case: Case, video: list, labels: jax.Array, device: str) -> tuple:
    """The arrays of `official_frame` for a frame whose keys are the case's first and previous frames."""
    unit = [torch.tensor(np.asarray(frame, np.float32).reshape(-1, case.channels)) for frame in video]
    unit = [torch.nn.functional.normalize(frame, dim=1) for frame in unit]
    rows, cols = torch.meshgrid(torch.arange(case.height), torch.arange(case.width), indexing="ij")
    rows, cols = rows.reshape(-1), cols.reshape(-1)
    mask = (rows[:, None] - rows) ** 2 + (cols[:, None] - cols) ** 2 < case.radius**2
    keys = torch.cat([unit[number % (len(unit) - 1)] for number in range(case.context + 1)])
    values = torch.tensor(np.array(labels)).reshape(-1, LABELS)
    dtype = getattr(torch, case.dtype)
    return unit[-1].to(device, dtype), keys.to(device, dtype), values.to(device, dtype), mask.to(device)


def time_official(inputs: tuple, repeats: int, device: str = "cpu") -> tuple[dict, torch.Tensor]:
    """Time the official way in the layout that is faster on its first chunks."""

    def run(rows_are_queries: bool, limit: int | None = None) -> tuple[float, torch.Tensor]:
        start = time.perf_counter()
        result = official_frame(*inputs, rows_are_queries=rows_are_queries, limit=limit)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start, result

    with torch.inference_mode():
        trial = {layout: min(run(layout, 2)[0] for _ in range(2)) for layout in (True, False)}
        layout = min(trial, key=trial.__getitem__)
        seconds, results = zip(*(run(layout) for _ in range(repeats)), strict=True)
    return {**spread(list(seconds)), "layout": "queries first" if layout else "keys first"}, results[0]


# Ours.


def steady_memory(case: Case, video: list, labels: jax.Array) -> Memory:
    """Make the memory of a stream whose context is full, without propagating; the last frame of the video is next."""
    memory = start_memory(video[0], labels[0], num_context=case.context, radius=case.radius)
    frames = [
        start_memory(video[number % (len(video) - 1)], labels[0], num_context=0, radius=case.radius).first.frames[0]
        for number in range(1, case.context + 1)
    ]
    seen = jnp.asarray(case.context + 1, np.int32)
    return dataclasses.replace(memory, previous=Labeled(tuple(frames), labels[1:]), seen=seen)


class Stream:
    """`propagate_next` with a full memory, compiled once: what is timed is all but the handing on of kept frames."""

    def __init__(self, case: Case, video: list, labels: jax.Array):
        self.memory, self.frame = steady_memory(case, video, labels), video[-1]
        self.step = _step.lower(self.memory, self.frame, topk=TOPK, temperature=TEMPERATURE, ties="first").compile()
        self.size = size_of(self.memory.first.frames) * (case.context + 1) + size_of(self.memory.previous.labels)

    def labels(self) -> np.ndarray:
        """The labels that it gives."""
        return np.asarray(self.step(self.memory, self.frame)[0])

    def time(self, repeats: int) -> dict:
        """Times, memory above inputs, and the Memory's size in bytes."""
        return {
            **timed(self.step, self.memory, self.frame, repeats=repeats),
            "memory_above_inputs": memory_above_inputs(self.step),
            "memory_size": self.size,
        }


def measure_case(case: Case, options: argparse.Namespace, rate: float) -> dict:
    """Ours and the official way in turn, with the floor, for one setting."""
    video, labels = make_video(case, case.context + 2)
    stream = Stream(case, video, labels)
    result: dict = {"case": case._asdict(), "stream": stream.time(options.repeats)}
    result["official"], theirs = time_official(official_inputs(case, video, labels, "cpu"), options.official_repeats)
    result["stream_after"] = stream.time(options.repeats)
    result["largest_difference"] = float(np.abs(stream.labels().reshape(-1, LABELS) - theirs.numpy()).max())

    keys = jnp.stack([video[number % (len(video) - 1)] for number in range(case.context + 1)])
    one_frame = jax.jit(lambda q, k, v: propagate_frame(q, k, v, radius=case.radius))
    frame = one_frame.lower(video[-1], keys, labels).compile()
    result["propagate_frame"] = timed(frame, video[-1], keys, labels, repeats=max(1, options.repeats // 2))
    result["propagate_frame"]["memory_above_inputs"] = memory_above_inputs(frame)

    ours_s = min(result["stream"]["median_s"], result["stream_after"]["median_s"])
    floor = circle_operations(case) / rate
    result["ratio"] = result["official"]["median_s"] / ours_s
    result["floor"] = {"operations": circle_operations(case), "seconds": floor, "times_floor": ours_s / floor}
    print(
        f"{case.name}: {ours_s:.3f} s a frame ({result['stream']['min_s']:.3f}-{result['stream']['max_s']:.3f}), "
        f"official way {result['official']['median_s']:.2f} s: {result['ratio']:.1f} times as fast; "
        f"{ours_s / floor:.2f} times the floor of {floor:.3f} s; "
        f"{result['stream']['memory_above_inputs'] / 1e6:.0f} MB above inputs, Memory "
        f"{result['stream']['memory_size'] / 1e6:.0f} MB; propagate_frame "
        f"{result['propagate_frame']['median_s']:.3f} s; largest difference {result['largest_difference']:.1e}",
        flush=True,
    )
    return result


def exponent(sizes: list[float], seconds: list[float]) -> float:
    """Slope of the line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def measure_growth(base: Case, options: argparse.Namespace) -> dict:
    """Time against pixels, context and the frame's number; 1080p and 4K."""
    if options.toy:
        grids, contexts, last = [(6, 8), (9, 13)], [1, 3], 6
    else:
        grids, contexts, last = (
            [(30, 54), (45, 80), (60, 107), (85, 151), (135, 240), (270, 480)],
            [5, 10, 20, 40],
            1000,
        )
    growth: dict = {"pixels": [], "context": [], "frame_number": []}
    for height, width in grids:
        case = base._replace(height=height, width=width)
        entry = Stream(case, *make_video(case, 3)).time(3 if height < 200 else 1)
        total = entry["memory_above_inputs"] + entry["memory_size"]
        growth["pixels"].append({"height": height, "width": width, "total_memory": total, **entry})
        print(
            f"grid {height}x{width}: {entry['median_s']:.3f} s a frame, {total / 1e6:.0f} MB with its Memory",
            flush=True,
        )
    for context in contexts:
        case = base._replace(context=context)
        entry = Stream(case, *make_video(case, 3)).time(3)
        growth["context"].append({"context": context, **entry})
        print(f"context {context}: {entry['median_s']:.3f} s a frame", flush=True)

    small = base._replace(height=min(base.height, 15), width=min(base.width, 27), channels=min(base.channels, 64))
    video, labels = make_video(small, 8)
    memory = start_memory(video[0], labels[0], num_context=small.context, radius=small.radius)
    for number in range(1, last + 1):
        start = time.perf_counter()
        moved, memory = propagate_next(memory, video[number % len(video)])
        jax.block_until_ready(moved)
        growth["frame_number"].append(time.perf_counter() - start)
    early = statistics.median(growth["frame_number"][min(25, last // 2) : min(75, last)])
    late = statistics.median(growth["frame_number"][-50:])
    growth["last_over_early_frames"] = late / early
    growth["exponent_pixels"] = exponent(
        [entry["height"] * entry["width"] for entry in growth["pixels"]],
        [entry["median_s"] for entry in growth["pixels"]],
    )
    growth["exponent_context"] = exponent(
        [entry["context"] + 1 for entry in growth["context"]], [entry["median_s"] for entry in growth["context"]]
    )
    print(
        f"time grows with pixels to the power {growth['exponent_pixels']:.2f}, with context to "
        f"{growth['exponent_context']:.2f}; frame {last} costs {late / early:.2f} of an early one",
        flush=True,
    )
    return growth


def measure_correlation(options: argparse.Namespace) -> dict:
    """cross_correlate beside a grouped convolution, for the tracker's shapes."""
    size, search, channels, scales = (3, 6, 4, 2) if options.toy else (15, 32, 512, 3)
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.standard_normal((scales, n, n, channels)), np.float32) for n in (size, search)]

    def grouped(exemplar: jax.Array, region: jax.Array) -> jax.Array:
        kernel = jnp.transpose(exemplar, (1, 2, 3, 0))
        batch = jnp.transpose(region, (1, 2, 0, 3)).reshape(1, search, search, scales * channels)
        return jax.lax.conv_general_dilated(
            batch, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=scales
        )

    result = {}
    for name, function in (("cross_correlate", jax.jit(cross_correlate)), ("grouped convolution", jax.jit(grouped))):
        result[name] = timed(function, *arrays, repeats=options.repeats)
        result[name]["memory_above_inputs"] = memory_above_inputs(function.lower(*arrays).compile())
        print(
            f"{name} {size}x{size} over {search}x{search}, {channels} channels, {scales} at once: "
            f"{result[name]['median_s'] * 1e3:.1f} ms, {result[name]['memory_above_inputs'] / 1e6:.1f} MB",
            flush=True,
        )
    return result


def time_video(
    case: Case, features: jax.Array, labels: jax.Array, repeats: int, implementation: Implementation
) -> dict:
    """Time one scan over a video, and keep its labels."""
    video = functools.partial(
        propagate_video, num_context=case.context, radius=case.radius, implementation=implementation
    )
    scan = jax.jit(video).lower(features, labels).compile()
    times = timed(scan, features, labels, repeats=repeats)
    return {
        **times,
        "frames_per_second": (len(features) - 1) / times["median_s"],
        "memory_above_inputs": memory_above_inputs(scan),
        "labels": np.asarray(scan(features, labels)),
    }


def measure_gpu(cases: list[Case], options: argparse.Namespace) -> dict | str:
    """Frames a second of one scan over a video on a CUDA GPU, beside the official way there and the roofline."""
    if jax.default_backend() != "gpu":
        note = "no CUDA GPU is at hand: run this where jax and PyTorch see one for frames/s, the ratio and the roofline"
        print(note, flush=True)
        return note
    results: dict = {"device": jax.devices()[0].device_kind}
    for case in (case._replace(dtype=dtype) for case in cases for dtype in ("float32", "bfloat16")):
        frames = 8 if options.toy else 60
        video, labels = make_video(case, 4)
        features = jnp.stack([video[number % 4] for number in range(frames)])
        videos = {
            name: time_video(case, features, labels[0], options.repeats if number == 0 else 1, name)
            for number, name in enumerate(implementations())
        }
        found = {name: video.pop("labels") for name, video in videos.items()}
        differences = {name: float(np.abs(each - found["tiles"]).max()) for name, each in found.items()}
        seconds = 1 / videos[implementations()[0]]["frames_per_second"]
        # Ceilings of this device, measured: a matmul, and adding one to a large array (read and write).
        rate = best_matmul_rate(options.toy, case.dtype)
        large = jnp.zeros(10**6 if options.toy else 5 * 10**8, np.float32)
        bandwidth = 2 * large.nbytes / timed(jax.jit(lambda x: x + 1), large, repeats=5)["min_s"]
        read = features[0].nbytes * (case.context + 2) + labels.nbytes
        roofline = max(circle_operations(case) / rate, read / bandwidth)
        entry = {
            "videos": videos,
            "largest_difference_from_tiles": differences,
            "roofline_s": roofline,
            "times_roofline": seconds / roofline,
        }
        if torch.cuda.is_available():
            inputs = official_inputs(case, video, labels, "cuda")
            entry["official"], _ = time_official(inputs, options.official_repeats, "cuda")
            entry["ratio"] = entry["official"]["median_s"] / seconds
        results[f"{case.name} {case.dtype}"] = entry
        print(f"GPU {case.name} {case.dtype}: {json.dumps(entry)}", flush=True)
    return results


def seconds_a_frame(report: dict) -> dict[str, tuple[float, str]]:
    """What is kept of a report: ours and the official way, frame by frame and, on GPUs, of a whole video."""
    both = {
        f"propagate_next, {name} float32": (entry["stream"]["median_s"], entry["official"]["median_s"])
        for name, entry in report["cases"].items()
    }
    for name, entry in report["gpu"].items() if isinstance(report["gpu"], dict) else ():
        if name != "device" and "official" in entry:
            official = entry["official"]["median_s"]
            both[f"propagate_video, {name}"] = official / entry["ratio"], official
    sides = ("vfs_jax", "the official way in PyTorch")
    return {
        f"{name}: {side}": (seconds, "s a frame")
        for name, each in both.items()
        for side, seconds in zip(sides, each, strict=True)
    }


def main(arguments: list[str] | None = None) -> dict:
    """Run all parts; return what was written to operators.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for operators.json and the charts")
    parser.add_argument("--toy", action="store_true", help="tiny sizes: only to see that everything runs")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of ours")
    parser.add_argument("--keep", type=Path, help="JSON file to add the figures to")
    parser.add_argument("--official_repeats", type=int, default=1, help="timed runs of the official way")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    cases = TOY if options.toy else FULL
    rate = best_matmul_rate(options.toy)
    print(f"best matmul rate of this run: {rate / 1e9:.0f} GFLOP/s", flush=True)
    report = {
        "machine": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "load": os.getloadavg(),
            "jax": jax.__version__,
        },
        "matmul_rate": rate,
        "cases": {case.name: measure_case(case, options, rate) for case in cases},
        "growth": measure_growth(cases[0], options),
        "cross_correlation": measure_correlation(options),
        "gpu": measure_gpu(cases, options),
    }
    (options.out / "operators.json").write_text(json.dumps(report, indent=1))
    keep(options.keep, seconds_a_frame(report))
    draw(report, options.out)
    print(f"written: {options.out}/operators.json, growth.png, speed.png", flush=True)
    return report


if __name__ == "__main__":
    main()
