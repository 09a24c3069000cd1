"""Frames a second of the tracker against an independent one in PyTorch, by turns in one process.

  python tests/benchmarks/tracking.py [--frames=8] [--rounds=3] [--depth=18]

Noise for frames and random weights: the time depends on neither. Both track the same frames with two threads (PyTorch's
as many as there are cores); a round is one tracker's frames, then the other's. Prints the median seconds a frame of
each and the ratio; one line of JSON last.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import torch
from kept import keep

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("models", "evaluation")]
from torch_tracker import TorchTracker  # noqa: E402

from vfs_jax.evaluation import SiamFCTracker  # noqa: E402
from vfs_jax.models import SiamFCHead, backbone_of, init_variables, save_torch  # noqa: E402
from vfs_jax.models.resnet import feature_width  # noqa: E402


def measure(depth: int, frames: int, rounds: int, folder: Path) -> dict[str, float]:
    """Median seconds a frame of both trackers over all rounds, and how many times as fast ours is."""
    backbone = backbone_of(init_variables(0, depth))
    cells = jax.numpy.zeros((1, 1, 1, feature_width(depth)), "float32")
    head = SiamFCHead(feature_width(depth)).init(jax.random.key(0), cells, cells)["params"]
    variables = {
        "params": {"backbone": backbone["params"], "head": head},
        "batch_stats": {"backbone": backbone["batch_stats"]},
    }
    path = folder / "weights.pth"
    save_torch(variables, path, layout="siamfc")
    rng = np.random.default_rng(0)
    video = [rng.integers(0, 256, (240, 360, 3), dtype=np.uint8) for _ in range(frames)]
    trackers: dict[str, SiamFCTracker | TorchTracker] = {
        "ours": SiamFCTracker(variables),
        "torch": TorchTracker(depth, path),
    }
    seconds: dict[str, list[float]] = {name: [] for name in trackers}
    for round_ in range(rounds + 1):
        for name, tracker in trackers.items():
            tracker.init(video[0], np.array([150.0, 100, 40, 30]))
            for frame in video:
                begin = time.perf_counter()
                tracker.update(frame)
                if round_:  # the first round compiles
                    seconds[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {**medians, "ratio": medians["torch"] / medians["ours"]}


def main(arguments: list[str]) -> dict[str, float]:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--keep", type=Path, help="JSON file to add the figures to")
    options = parser.parse_args(arguments)

    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.depth, options.frames, options.rounds, Path(folder))
    print(f"ours {found['ours']:.3f} s a frame, PyTorch {found['torch']:.3f} s: {found['ratio']:.2f} times as fast")
    print(json.dumps(found))
    named = {"ours": "vfs_jax", "torch": "PyTorch"}
    figures = {f"tracking, ResNet-{options.depth}: {of}": (found[side], "s a frame") for side, of in named.items()}
    keep(options.keep, figures)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
