"""The parts of the GPU check: each yields rows, the figures of one measurement, as it finds them.

A row: {"what": ..., "figure": number, "unit": ..., "goal": text, "met": bool, "note": text, "detail": anything else}.
All but "what" may be missing; goals are those of an H100 or H200, so they are set beside figures of such a card only.
"""

import functools
import importlib.metadata
import importlib.util
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from device_profile import device_time
from full_affinity import full_propagation, full_video
from made_sequences import clouds, make_sequences
from operator_cases import FULL, TOY, Case, circle_operations, make_video, memory_above_inputs, timed
from precision_masks import compare, kinds_of, variables_of
from training import step_runs, time_in_turns
from training_run import make_records, measure_run

from vfs_jax.correspondence import implementations, propagate_frame, propagate_video
from vfs_jax.correspondence.backends import Implementation
from vfs_jax.evaluation import SiamFCTracker
from vfs_jax.evaluation.encoders import as_encoder
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.runs.propagation import count_programs, layouts_of, propagate_all
from vfs_jax.evaluation.tasks.masks import Davis
from vfs_jax.models import backbone_of, init_variables

Row = dict[str, Any]
TOLERANCE = 1e-5  # of labels in 0..1 by float32 scores, see full_affinity.assert_propagated


def software() -> dict[str, str]:
    """Name what runs on the machine, and the device that JAX takes."""
    found = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "torch": "missing: nothing is compared"}
    if has_torch():
        found["torch"] = f"{importlib.metadata.version('torch')} on {torch_device()}"
    return found


def has_torch() -> bool:
    """Tell whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def torch_device() -> str:
    """Name the device that PyTorch compares on."""
    import torch

    return "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"


def judged(figure: float, goal: float | None, *, least: bool = False) -> Row:
    """Set a goal, where there is one, beside a figure: the most that it may be, or the least."""
    if goal is None or not any(name in jax.devices()[0].device_kind for name in ("H100", "H200")):
        return {}  # goals are those of such a card
    return {"goal": f"{'>=' if least else '<='} {goal:g}", "met": figure >= goal if least else figure <= goal}


# Exactness.


def exactness(toy: bool) -> Iterator[Row]:
    """Hold every implementation to float64: grids, radii, dtypes, windows, ties, frames and positions left out."""
    grids: list[tuple[int, int, int, int, dict[str, Any], str]] = [
        (13, 17, 40, 3, {"radius": 4.0}, "float32"),
    ]
    if not toy:
        grids += [
            (9, 64, 64, 2, {"radius": 6.0, "window": "square"}, "float16"),
            (13, 17, 40, 3, {"radius": 3.0, "first_frame_windowed": False}, "bfloat16"),
            (30, 53, 256, 5, {"radius": 12.0}, "float32"),
            (30, 53, 256, 5, {"radius": 12.0}, "bfloat16"),
            (20, 20, 1024, 4, {"radius": 18.0}, "float32"),
            (20, 20, 1024, 4, {"radius": 18.0}, "bfloat16"),
        ]
    for implementation in implementations():
        for (height, width, channels, frames, options, dtype), ties in itertools.product(grids, (False, True)):
            if ties and height * width > 1000:
                continue
            rng = np.random.default_rng(0)
            shapes = (height, width, channels), (frames, height, width, channels)
            if ties:  # whole numbers: scores are exact, and many are equal
                query, keys = (rng.integers(0, 2, shape).astype(np.float32) for shape in shapes)
            else:
                query, keys = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
                keys += 0.5 * query
            query, keys = (np.asarray(jnp.asarray(array, dtype)) for array in (query, keys))
            labels = rng.uniform(size=(frames, height, width, 3)).astype(np.float32)
            chosen = {**options, "key_valid": np.arange(frames) != 1, "normalize": not ties}
            chosen["key_mask"] = rng.uniform(size=(height, width)) < 0.9
            expected, slack = full_propagation(query, keys, labels, **chosen)
            found = propagate_frame(query, keys, labels, **chosen, implementation=implementation)
            off = float((np.abs(np.asarray(found, np.float64) - expected).max(axis=-1) - slack).max())
            yield {
                "what": f"{implementation}, {height}x{width}x{channels}, {frames} frames, {dtype}, "
                f"{', '.join(f'{name} {value}' for name, value in options.items())}{', ties' if ties else ''}",
                "figure": off,
                "unit": "off float64's labels",
                "goal": f"<= {TOLERANCE:g}",
                "met": off <= TOLERANCE,
            }
        features = np.random.default_rng(1).standard_normal((6, 13, 17, 40), dtype=np.float32)
        first = np.eye(3, dtype=np.float32)[np.random.default_rng(2).integers(0, 3, (13, 17))]
        expected, slack = full_video(features, first, num_context=2, radius=4.0)
        found = propagate_video(features, first, num_context=2, radius=4.0, implementation=implementation)
        off = float((np.abs(np.asarray(found, np.float64) - expected).max(axis=-1) - slack).max())
        met = off <= 10 * TOLERANCE  # labels of labels of labels
        yield {
            "what": f"{implementation}, a video of 6 frames",
            "figure": off,
            "unit": "off float64's labels",
            "goal": f"<= {10 * TOLERANCE:g}",
            "met": met,
        }


# Operators.


def ceilings(toy: bool) -> dict[str, float]:
    """Measure what the device can do: operations a second of a square product by kind, bytes a second of a copy."""
    size = 256 if toy else 8192

    def rate(dtype: str, precision: str) -> float:
        matrix = jnp.asarray(np.random.default_rng(0).standard_normal((size, size), np.float32), dtype)
        product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))
        return 2 * size**3 / timed(product, matrix, matrix, repeats=5)["min_s"]

    large = jnp.zeros(10**6 if toy else 5 * 10**8, np.float32)
    return {
        "float32": rate("float32", "highest"),
        "tf32": rate("float32", "default"),  # what XLA makes of float32 where it is not told otherwise
        "bfloat16": rate("bfloat16", "default"),
        "bytes": 2 * large.nbytes / timed(jax.jit(lambda x: x + 1), large, repeats=5)["min_s"],
    }


# Milliseconds a frame by implementation, MB above the inputs, times as fast as the official way on the same card.
MOST_MS = {
    "hopper": {"R18 bfloat16": 0.30, "R18 float32": 0.60, "R50 bfloat16": 1.2, "R50 float32": 2.5},
    "batched": {"R18 bfloat16": 1.5, "R18 float32": 4, "R50 bfloat16": 5, "R50 float32": 14},
}
MOST_MB = {"R18": 600, "R50": 1500}
LEAST_RATIO = {"hopper": {"R18 bfloat16": 100, "R18 float32": 100, "R50 bfloat16": 40, "R50 float32": 35}}


def operators(toy: bool) -> Iterator[Row]:
    """Time `propagate_video` by every implementation, beside the official way and the card's own limits."""
    rates = ceilings(toy)
    for name, rate in rates.items():
        unit = "TB/s" if name == "bytes" else "TFLOP/s"
        yield {"what": f"ceiling, {name}", "figure": rate / 1e12, "unit": unit}
    for case, dtype in itertools.product(TOY[:1] if toy else FULL, ("bfloat16", "float32")[toy:]):
        case = case._replace(dtype=dtype)
        video, labels = make_video(case, 4)
        features = jnp.stack([video[number % 4] for number in range(8 if toy else 60)])
        read = features[0].nbytes * (case.context + 2) + labels.nbytes
        floor = 1e3 * max(circle_operations(case) / rates[dtype], read / rates["bytes"])
        what = f"{case.name} {dtype}"
        yield {"what": f"{what}, roofline", "figure": floor, "unit": "ms a frame"}
        official = None
        if has_torch():
            from official_way import official_inputs, time_official

            card = torch_device()
            official = 1e3 * time_official(official_inputs(case, video, labels, card), 1, card)[0]["median_s"]
            yield {"what": f"{what}, official way in PyTorch", "figure": official, "unit": "ms a frame"}
        results: dict[str, np.ndarray] = {}
        for implementation in sorted(implementations(), key=lambda name: name != "tiles"):
            found, results[implementation] = time_video(case, features, labels[0], implementation)
            apart = np.abs(results[implementation] - results["tiles"]).max()
            by = f"{what}, {implementation}"
            yield {
                "what": by,
                "figure": found["ms"],
                "unit": "ms a frame",
                **judged(found["ms"], MOST_MS.get(implementation, {}).get(what)),
                "note": f"{found['ms'] / floor:.1f} times the roofline, {found['kernels']}, compiled in "
                f"{found['compile_s']:.1f} s, {apart:.0e} off tiles",
                "detail": found,
            }
            goal = MOST_MB[case.name]
            yield {"what": f"{by}, above inputs", "figure": found["mb"], "unit": "MB", **judged(found["mb"], goal)}
            if official:
                yield {
                    "what": f"{by}, beside the official way",
                    "figure": official / found["ms"],
                    "unit": "times as fast",
                    **judged(official / found["ms"], LEAST_RATIO.get(implementation, {}).get(what), least=True),
                }


def time_video(
    case: Case, features: jax.Array, labels: jax.Array, implementation: Implementation
) -> tuple[Row, np.ndarray]:
    """Compile and time one video; returns the figures, and its labels."""
    whole = jax.jit(
        lambda f, v: propagate_video(f, v, num_context=case.context, radius=case.radius, implementation=implementation)
    )
    start = time.perf_counter()
    program = whole.lower(features, labels).compile()
    compile_s = time.perf_counter() - start
    result = np.asarray(program(features, labels))
    frames = len(features) - 1
    profile = device_time(lambda: program(features, labels), frames)
    return {
        "ms": 1e3 * timed(program, features, labels, repeats=3)["median_s"] / frames,
        "compile_s": compile_s,
        "mb": memory_above_inputs(program) / 1e6,
        "kernels": f"{profile.busy_ms:.3f} ms in {profile.kernels:.0f} kernels" if profile else "no profile on a CPU",
        "largest": profile.largest if profile else [],
    }, result


# Training.

# Milliseconds that the device is busy for a step, times as fast as PyTorch, images a second from records.
STEP_GOALS = {18: (20, 1.6, 16_000), 50: (None, None, 5_000)}


def training_sizes(toy: bool) -> list[dict[str, int]]:
    """Give the networks and batches that training is measured at."""
    if toy:
        return [{"depth": 18, "clips": 2, "frames": 2, "size": 72}]
    return [
        {"depth": 18, "clips": 64, "frames": 8, "size": 224},
        {"depth": 50, "clips": 256, "frames": 2, "size": 224},
    ]


def step(toy: bool) -> Iterator[Row]:
    """Time the training step with its batch on the way, beside PyTorch's, and what the device does in it."""
    for sizes in training_sizes(toy):
        most_ms, least_ratio, _ = STEP_GOALS[sizes["depth"]]
        what = f"ResNet-{sizes['depth']}, {sizes['clips']} clips of {sizes['frames']} frames, {sizes['size']} px"
        runs = step_runs(**sizes)
        seconds = time_in_turns(runs, steps=1 if toy else 10, repeat=1 if toy else 3)
        medians = {name: statistics.median(each) for name, each in seconds.items()}
        images = sizes["clips"] * sizes["frames"]
        for name, each in medians.items():
            note = f"{images / each:,.0f} images/s"
            yield {"what": f"{what}, {name}", "figure": 1e3 * each, "unit": "ms a step", "note": note}
        if "PyTorch" in medians:
            ratio = medians["PyTorch"] / medians["vfs_jax"]
            judgement = judged(ratio, least_ratio, least=True)
            yield {"what": f"{what}, beside PyTorch", "figure": ratio, "unit": "times as fast", **judgement}
        if profile := device_time(functools.partial(runs["vfs_jax"], 5), 5, largest=25):
            yield {
                "what": f"{what}, device busy",
                "figure": profile.busy_ms,
                "unit": "ms a step",
                **judged(profile.busy_ms, most_ms),
                "note": f"{profile.kernels:.0f} kernels",
                "detail": profile.largest,
            }


def loop(toy: bool) -> Iterator[Row]:
    """Run vfs-train from records made on the spot: images a second, and what the device waits for by its own log."""
    with tempfile.TemporaryDirectory() as name:
        folder, cores = Path(name), os.cpu_count() or 1
        make_records(folder, **({"videos": 3, "frames": 16, "height": 60, "width": 80} if toy else {}))
        for sizes in training_sizes(toy):
            found = measure_run(
                folder,
                **sizes,
                steps=4 if toy else 400 if sizes["depth"] == 18 else 120,
                workers=min(cores, 16) if not toy else 0,
                dtype="float32" if toy else "bfloat16",
            )
            what, rate = f"vfs-train, ResNet-{sizes['depth']}", found["images_per_second"]
            goal = STEP_GOALS[sizes["depth"]][2] if cores >= 16 else None
            waits = ", ".join(f"{cause} {found[f'idle_for_{cause}']:.1%}" for cause in ("records", "transfer", "host"))
            yield {
                "what": what,
                "figure": rate,
                "unit": "images/s",
                **judged(rate, goal, least=True),
                "note": f"{cores} cores",
            }
            idle = 100 * found["device_idle"]
            yield {"what": f"{what}, device idle", "figure": idle, "unit": "%", **judged(idle, 5), "note": waits}


# Evaluation and tracking.


def evaluation(toy: bool) -> Iterator[Row]:
    """Time DAVIS-size sequences from files to masks, by ResNet-18, and what compiling for them takes."""
    size, frames, short_side = ((64, 96), 6, 64) if toy else ((480, 854), 67, 480)
    backbone = backbone_of(init_variables(0, 18))
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sequences = make_sequences(folder, 2 if toy else 6, frames, size)
        dtypes: tuple[Literal["bfloat16", "float32"], ...] = ("bfloat16", "float32")
        for dtype in dtypes[toy:]:
            settings = Settings(short_side=short_side, dtype=dtype, radius=3.0 if toy else 12.0)
            encoder = as_encoder(backbone)
            layouts = layouts_of(sequences, settings, encoder, max_sizes=6)

            start = time.perf_counter()
            with count_programs() as compiled:
                propagate_all(Davis(), encoder, [sequences[0].cut(5)], {folder / f"{dtype}-first": settings}, layouts)
            first = time.perf_counter() - start
            yield {
                "what": f"ResNet-18 {dtype}, {size[0]}x{size[1]}: the first five frames",
                "figure": first,
                "unit": "s",
                "note": f"{len(compiled)} programs compiled in {sum(compiled):.1f} s",
            }
            start = time.perf_counter()
            propagate_all(Davis(), encoder, sequences[1:], {folder / f"{dtype}-steady": settings}, layouts)
            rate = frames * (len(sequences) - 1) / (time.perf_counter() - start)
            yield {
                "what": f"ResNet-18 {dtype}, from files to masks",
                "figure": rate,
                "unit": "frames/s",
                **(judged(rate, 300, least=True) if cores >= 16 else {}),
                "note": f"{cores} cores" + ("" if toy else f"; DAVIS-2017 val's 1,999 frames in {1999 / rate:.1f} s"),
            }
        settings = Settings(short_side=short_side, radius=3.0 if toy else 12.0)
        # Random weights whose blocks all speak, so that rounding adds up.
        found = compare(kinds_of(variables_of("perturbed:0", 18), settings), sequences[0], 3 if toy else 10)
        for kind in ("tensorfloat32", "bfloat16"):
            yield {
                "what": f"ResNet-18, masks by {kind} products beside float32's",
                "figure": 100 * found[kind]["share_of_pixels"],
                "unit": "% of the pixels differ",
                "note": f"features by {found[kind]['rms_of_features']:.1e} of their size; J&F "
                f"{100 * found[kind]['J&F']:.2f} and {100 * found['float32']['J&F']:.2f}",
            }


def tracking(toy: bool) -> Iterator[Row]:
    """Time the tracker of boxes, beside PyTorch where it is there."""
    for depth in (18,) if toy else (18, 50):
        variables = init_variables(0, depth)
        small = {"exemplar_size": 56, "search_size": 119} if toy else {}
        tracker = SiamFCTracker(backbone_of(variables), **small)
        video = [clouds(np.random.default_rng(0), (240, 360))] * (2 if toy else 60)
        seconds = []
        for _ in range(2):  # the first round compiles
            tracker.init(video[0], np.array([150.0, 100, 40, 30]))
            start = time.perf_counter()
            for frame in video:
                tracker.update(frame)
            seconds.append(time.perf_counter() - start)
        yield {"what": f"ResNet-{depth}, one target", "figure": len(video) / seconds[-1], "unit": "frames/s"}
