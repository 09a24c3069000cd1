"""How fast whole videos are evaluated: beside the release's pipeline in PyTorch, and beside its own slowest stage.

    python tests/benchmarks/evaluation.py --data=DAVIS --out=DIR     # some minutes on two cores
    python tests/benchmarks/evaluation.py --toy --out=DIR            # seconds: only that it runs

1. Ours, from image files to PNG masks, as vfs-eval runs it; and each of its three stages alone: reading and resizing
   frames, features with propagation and readout, writing PNGs. Overlap is good where the whole takes little more than
   the slowest stage. What the host does itself is told in CPU time: reading, writing, and the thread that feeds the
   device, with programs of next to no work in place of the network, the operator and the readout. Without a device to
   wait for, that thread bounds the frames a second, and all of it the cores that are needed.
2. The release's pipeline in the same process: images decoded, ResNet run to res5 although res4 is read, full affinity
   in chunks of 32 queries for every frame. A frame costs more while the context fills, so some frames are timed and the
   others interpolated between them; `official_frame` of official_way.py is the propagation. Masks of both are compared.

On a CUDA GPU the same command gives the seconds for the 1,999 frames of DAVIS-2017 val as well.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch
from kept import keep
from official_way import official_frame
from PIL import Image

from vfs_jax.correspondence import Memory
from vfs_jax.correspondence import memory as memory_of_frames
from vfs_jax.data.images import read_index_mask, write_index_mask
from vfs_jax.data.mask_datasets import MaskSequence, open_davis
from vfs_jax.evaluation.encoders import as_encoder
from vfs_jax.evaluation.encoders import network as networks
from vfs_jax.evaluation.propagation import readout
from vfs_jax.evaluation.propagation.features import iterate_features, prepare_frame, stack_frames
from vfs_jax.evaluation.propagation.first_masks import first_labels
from vfs_jax.evaluation.propagation.labels import masks_along
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.readout import merge_groups
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.runs import propagation as runs
from vfs_jax.evaluation.tasks.masks import Davis
from vfs_jax.models import backbone_of, init_variables, normalize_images, save_torch
from vfs_jax.models.resnet import Variables
from vfs_jax.models.weights import Network

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from torch_reference import Backbone

LENGTH = 67  # frames of the mean sequence of DAVIS-2017 val: 1,999 frames in 30 sequences


def toy_sequence(folder: Path) -> MaskSequence:
    """Noise that moves, at a size that takes no time."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (64, 120, 3), dtype=np.uint8)
    frames, masks = [], []
    for t in range(6):
        frames.append(folder / f"{t:05d}.png")
        masks.append(folder / f"mask{t:05d}.png")
        Image.fromarray(ground[:, 2 * t : 2 * t + 96]).save(frames[-1])
        mask = np.zeros((64, 96), np.uint8)
        mask[20:44, 40 - 2 * t : 64 - 2 * t] = 1
        write_index_mask(masks[-1], mask)
    return MaskSequence("toy", tuple(frames), tuple(masks))


def time_ours(variables: Variables, sequence: MaskSequence, settings: Settings, folder: Path) -> dict[str, float]:
    """Seconds of the whole and of each stage alone, programs compiled before."""
    encoder = as_encoder(variables)
    layout = Layout.of(sequence.size, settings, encoder)
    task = Davis()
    runs.propagate_sequence(task, encoder, sequence.cut(min(6, len(sequence))), folder / "compile", settings)

    def whole(name: str) -> float:
        start = time.perf_counter()
        runs.propagate_sequence(task, encoder, sequence, folder / name, settings)
        return time.perf_counter() - start

    result = {"whole_s": whole("first")}
    start, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor() as pool:
        frames = list(pool.map(lambda index: prepare_frame(sequence.frame(index), layout), range(len(sequence))))
    result["reading_s"] = time.perf_counter() - start
    result["reading_cpu_ms"] = 1000 * (time.process_time() - cpu) / len(sequence)
    result["feeding_cpu_ms"] = time_feeding(variables, frames, sequence.mask(0), settings, layout)
    start = time.perf_counter()
    encoded = iterate_features(encoder.on_device(), stack_frames(frames, settings.batch_frames), settings, layout)
    features = (each["res4"] for each in encoded)
    masks = [np.asarray(mask) for mask in masks_along(features, sequence.mask(0), settings, layout)]
    result["computing_s"] = time.perf_counter() - start
    (folder / "png").mkdir()
    start, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda item: write_index_mask(folder / f"png/{item[0]}.png", item[1]), enumerate(masks)))
    result["writing_s"] = time.perf_counter() - start
    result["writing_cpu_ms"] = 1000 * (time.process_time() - cpu) / len(sequence)
    result["whole_again_s"] = whole("second")
    slowest = max(result[f"{stage}_s"] for stage in ("reading", "computing", "writing"))
    result["whole_over_slowest_stage"] = min(result["whole_s"], result["whole_again_s"]) / slowest
    return result


def time_feeding(
    variables: Variables, frames: list[np.ndarray], mask: np.ndarray, settings: Settings, layout: Layout
) -> float:
    """CPU milliseconds a frame of the thread that feeds the device, of which next to nothing is asked."""
    rows, cols = layout.grid(settings.output)

    @functools.partial(jax.jit, static_argnames=("network", "colors"))
    def encode(variables: Variables, frames: jax.Array, size: None, *, network: Network, colors: Any) -> Any:
        value = frames[:, :1, :1, :1].astype(np.float32)
        return {name: jnp.broadcast_to(value, (len(frames), rows, cols, 1)) for name in network.outputs}

    @functools.partial(jax.jit, static_argnames=("topk", "temperature", "ties"))
    def step(memory: Memory, features: jax.Array, **options: Any) -> Any:
        frame = jax.tree.map(lambda kept: jnp.broadcast_to(features[:1, :1, :1], kept.shape), memory.first.frames[0])
        return memory.first.labels[0], frame, memory.previous.labels, memory.seen + 1

    @functools.partial(jax.jit, static_argnames="min_max")
    def merge(maps: list[jax.Array], tables: Any, *, min_max: str) -> jax.Array:
        return jnp.broadcast_to(maps[0][:1, :1, 0].astype(np.uint8), layout.shown)

    def feed(count: int) -> float:
        batches = stack_frames(itertools.islice(itertools.cycle(frames), count), settings.batch_frames)
        features = (each["res4"] for each in iterate_features(encoder, batches, settings, layout))
        start = time.thread_time()
        for found in masks_along(features, mask, settings, layout):
            np.asarray(found)
        return 1000 * (time.thread_time() - start) / count

    with (
        mock.patch.object(networks, "_encode", encode),
        mock.patch.object(memory_of_frames, "_step", step),
        mock.patch.object(readout, "_merge", merge),
    ):
        encoder = as_encoder(variables).on_device()
        feed(8)
        return min(feed(200) for _ in range(3))


def torch_network(variables: Variables, folder: Path, device: str) -> Backbone:
    """The same weights in PyTorch."""
    save_torch(variables, folder / "weights.pth", layout="vfs")
    state = torch.load(folder / "weights.pth", weights_only=True)["state_dict"]
    network = Backbone(18, strides=(1, 2, 1, 1))
    network.load_state_dict(
        {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")},
        strict=False,  # num_batches_tracked is not there
    )
    return network.eval().to(device)


def time_official(
    variables: Variables,
    sequence: MaskSequence,
    settings: Settings,
    folder: Path,
    counts: list[int],
    device: str,
) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
    """Seconds a frame of features, and of propagation by the number of previous frames; masks of frame 1 and 2."""
    network = torch_network(variables, folder, device)

    def clock() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def features_of(index: int) -> torch.Tensor:
        image = np.asarray(normalize_images(prepare_frame(sequence.frame(index), layout)))
        with torch.inference_mode():
            features = network(torch.tensor(image).permute(2, 0, 1)[None].to(device))["res4"]
        return torch.nn.functional.normalize(features[0].permute(1, 2, 0).reshape(-1, features.shape[1]), dim=1)

    layout = Layout.of(sequence.size, settings, as_encoder(variables))
    height, width = layout.grid("res4")
    needed = min(max(counts), settings.num_context, len(sequence) - 1)
    features_of(0)
    start, features = clock(), []
    for index in range(min(3, needed + 1)):
        features.append(features_of(index))
    per_frame = (clock() - start) / len(features)
    while len(features) < needed + 1:
        features.append(features_of(len(features)))

    assert settings.radius is not None
    rows, cols = (axis.reshape(-1) for axis in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    near = (rows[:, None] - rows) ** 2 + (cols[:, None] - cols) ** 2 < settings.radius**2
    near = near.to(device)
    first = torch.tensor(first_labels(sequence.mask(0), settings, layout).reshape(height * width, -1)).to(device)
    soft, masks, seconds = [first], {}, {}
    with torch.inference_mode():
        for number in sorted({1, 2, *counts}):
            previous = min(number, needed)
            keys = torch.cat([features[0], *features[:previous]])
            labels = torch.cat([first, *(soft + [first] * previous)[:previous]])  # later ones only for their time
            start = clock()
            found = official_frame(features[previous], keys, labels, near, rows_are_queries=True)
            seconds[previous] = clock() - start
            if number <= 2 and number == len(soft):
                soft.append(found)
                labels_ = jax.numpy.asarray(found.cpu().numpy().reshape(height, width, -1))
                names = tuple(range(labels_.shape[-1]))
                masks[number] = np.asarray(merge_groups([labels_], [names], layout, settings))
    return {"features_s": per_frame, "propagation_s": seconds}, masks


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measures all; returns what was written to evaluation.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of the DAVIS layout")
    parser.add_argument("--sequence", default="blackswan")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--toy", action="store_true", help="tiny sizes: only to see that everything runs")
    parser.add_argument("--out", type=Path, required=True, help="folder for evaluation.json")
    parser.add_argument("--keep", type=Path, help="JSON file to add the figures to")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(os.cpu_count() or 1)
    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    variables = init_variables(0, 18)
    settings = Settings()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.toy:
            sequence, counts = toy_sequence(folder), [1, 3]
            settings = dataclasses.replace(settings, short_side=64, radius=3.0, num_context=3)
        else:
            (sequence,) = open_davis(options.data, sequences=[options.sequence])
            sequence, counts = sequence.cut(options.frames), [1, 2, 5, 10, 15, 20]
        ours = time_ours(backbone_of(variables), sequence, settings, folder)
        per_frame = min(ours["whole_s"], ours["whole_again_s"]) / len(sequence)
        official, masks = time_official(variables, sequence, settings, folder, counts, device)
        found = {number: read_index_mask(folder / f"first/masks/{sequence.name}/{number:05d}.png") for number in masks}
    known = sorted(official["propagation_s"])
    times = [official["propagation_s"][count] for count in known]
    total = sum(np.interp(min(number, settings.num_context), known, times) for number in range(1, LENGTH))
    total += LENGTH * official["features_s"]
    differing = {number: float(np.mean(found[number] != mask)) for number, mask in masks.items()}
    report = {
        "machine": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "load": os.getloadavg(),
            "device": jax.devices()[0].device_kind,
        },
        "frames": len(sequence),
        "ours": {**ours, "frame_s": per_frame},
        "official": {**official, "video_s": float(total)},
        "ratio_of_a_mean_video": float(total / (LENGTH * per_frame)),
        "pixels_that_differ": differing,
    }
    print(
        f"ours: {per_frame:.3f} s a frame from files to masks ({len(sequence)} frames); alone: reading "
        f"{ours['reading_s']:.2f} s, computing {ours['computing_s']:.2f} s, writing {ours['writing_s']:.2f} s; the "
        f"whole takes {ours['whole_over_slowest_stage']:.2f} times the slowest"
    )
    host = {name: ours[f"{name}_cpu_ms"] for name in ("reading", "feeding", "writing")}
    print(
        f"the host's CPU time a frame: reading {host['reading']:.2f} ms, feeding the device {host['feeding']:.2f}, "
        f"writing {host['writing']:.2f}: with cores enough {1000 / host['feeding']:.0f} frames/s, for 300 of them "
        f"{0.3 * sum(host.values()):.1f} cores"
    )
    print(
        f"the release's pipeline: features {official['features_s']:.2f} s a frame, propagation "
        + ", ".join(f"{seconds:.2f} s with {count} before it" for count, seconds in official["propagation_s"].items())
    )
    print(
        f"a video of {LENGTH} frames: {total:.0f} s against {LENGTH * per_frame:.0f} s, "
        f"{report['ratio_of_a_mean_video']:.1f} times as fast; of the pixels "
        + ", ".join(f"{share:.4%} differ in frame {number}" for number, share in differing.items())
    )
    if device == "cuda":
        report["davis_val_s"] = 1999 * per_frame
        print(f"the 1,999 frames of DAVIS-2017 val: {report['davis_val_s']:.1f} s")
    else:
        print("no CUDA GPU is at hand: run this where jax and PyTorch see one for the time of DAVIS-2017 val")
    (options.out / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")
    figures = {"vfs_jax": per_frame, "the release's pipeline in PyTorch": float(total) / LENGTH}
    keep(options.keep, {f"evaluation, files to masks: {of}": (each, "s a frame") for of, each in figures.items()})
    return report


if __name__ == "__main__":
    main()
