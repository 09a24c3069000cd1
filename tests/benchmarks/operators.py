"""How fast, how large and how exact the correspondence operators are, beside the official way.

    python tests/benchmarks/operators.py --out=DIR            # everything, a quarter of an hour on two cores
    python tests/benchmarks/operators.py --out=DIR --toy      # seconds: only that it runs

Prints every figure as it comes; writes DIR/operators.json and charts. The official way is full affinity in chunks of 32
queries, mask, top-k, softmax and gather, in PyTorch, timed in turn with ours in the same process. The floor is the
multiply-adds inside the circles at the best rate that any matmul reached in this run. Memory is what the compiled
program asks for above its inputs: its temporary arrays and its results, from XLA's own account. What a GPU makes of
them is measured by launch/gpu_check.sh.
"""

import argparse
import dataclasses
import json
import os
import platform
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from kept import keep
from official_way import official_inputs, time_official
from operator_cases import (
    FULL,
    LABELS,
    TEMPERATURE,
    TOPK,
    TOY,
    Case,
    best_matmul_rate,
    circle_operations,
    make_video,
    memory_above_inputs,
    timed,
)
from operators_charts import draw

from vfs_jax.correspondence import Memory, cross_correlate, propagate_frame, propagate_next, start_memory
from vfs_jax.correspondence.memory import Labeled, _step


def size_of(tree: object) -> int:
    """Bytes of all distinct arrays of a pytree."""
    return sum({id(leaf): leaf.nbytes for leaf in jax.tree.leaves(tree)}.values())


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


def seconds_a_frame(report: dict) -> dict[str, tuple[float, str]]:
    """What is kept of a report: ours and the official way, frame by frame."""
    return {
        f"propagate_next, {name} float32: {side}": (entry[key]["median_s"], "s a frame")
        for name, entry in report["cases"].items()
        for side, key in (("vfs_jax", "stream"), ("the official way in PyTorch", "official"))
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
    }
    (options.out / "operators.json").write_text(json.dumps(report, indent=1))
    keep(options.keep, seconds_a_frame(report))
    draw(report, options.out)
    print(f"written: {options.out}/operators.json, growth.png, speed.png", flush=True)
    return report


if __name__ == "__main__":
    main()
