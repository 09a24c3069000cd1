"""The settings that the operators are measured at, their inputs, and how time, memory and operations are counted."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vfs_jax.correspondence.affinity import window_offsets

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
