"""How fast a DINO network is evaluated on two CPU cores, and in how much memory, beside the way of DINO's own script.

    python tests/benchmarks/dino.py --data=DAVIS --out=DIR     # ViT-S/8 at 480x832; some minutes on two cores
    python tests/benchmarks/dino.py --toy --out=DIR            # seconds: only that it runs

Each side runs in a process of its own, so that its peak memory is its own, on the same frames, with the same random
weights: frames from files, features, propagation with frame 0 and seven previous frames (full context), masks to files.

Theirs is an independent PyTorch version of what DINO's script does: attention with all scores at once, the affinity of
all pairs of positions, exp, a mask for the window, topk. `--official=DIR` takes a checkout of github
facebookresearch/dino instead: its own network and its own `label_propagation`.

Seconds are of CPU time of all threads, so that what else a machine does counts little; wall time is beside them.
"""

import argparse
import importlib
import json
import resource
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from kept import keep

from vfs_jax.data.images import read_frame
from vfs_jax.data.mask_datasets import open_davis

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))  # the independent vision transformer of the tests
CONTEXT, RADIUS, TOPK, TEMPERATURE = 7, 12, 5, 0.1
Clock = tuple[float, float]


def clock() -> Clock:
    return time.process_time(), time.perf_counter()


def since(start: Clock) -> dict[str, float]:
    now = clock()
    return {"cpu_s": now[0] - start[0], "wall_s": now[1] - start[1]}


def images_of(options: argparse.Namespace) -> list[np.ndarray]:
    """Frames, RGB uint8, as DINO's input rule makes them of 480p landscape: 480x832."""
    import cv2

    if options.toy:
        return list(np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), np.uint8))
    (sequence,) = open_davis(options.data, sequences=[options.sequence])
    frames = [read_frame(path) for path in sequence.frames[:3]]
    return [cv2.resize(frame, (832, 480), interpolation=cv2.INTER_LINEAR) for frame in frames]


def normalized(images: list[np.ndarray]) -> np.ndarray:
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.228, 0.224, 0.225], np.float32)
    return (np.stack(images).astype(np.float32) / 255 - mean) / std


def run_ours(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Features and propagation by this package, programs compiled before."""
    import jax
    import jax.numpy as jnp

    from vfs_jax.correspondence import propagate_next, start_memory
    from vfs_jax.models import ViT

    images = normalized(images_of(options))
    network = ViT(patch=8, depth=2 if options.toy else 12, positions="offset", grid=28)
    variables = network.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))

    @jax.jit
    def encode(variables: Any, image: Any) -> Any:
        features: Any = network.apply(variables, image[None])
        return features["norm"][0]

    encode(variables, images[0]).block_until_ready()
    start = clock()
    features = [encode(variables, image).block_until_ready() for image in images]
    encoding = {name: value / len(images) for name, value in since(start).items()}
    labels = jnp.asarray(np.random.default_rng(0).random((*features[0].shape[:2], 2), np.float32))

    settings: dict[str, Any] = {"num_context": CONTEXT, "radius": float(RADIUS), "window": "square", "first_once": True}
    memory = start_memory(features[0], labels, **settings)
    for index in range(CONTEXT + 1):  # the context is full, and everything is compiled
        soft, memory = propagate_next(memory, features[index % 3], topk=TOPK, temperature=TEMPERATURE, ties="all")
    soft.block_until_ready()
    start = clock()
    for index in range(3):
        soft, memory = propagate_next(memory, features[index], topk=TOPK, temperature=TEMPERATURE, ties="all")
        soft.block_until_ready()
    propagation = {name: value / 3 for name, value in since(start).items()}
    np.savez(folder / "ours.npz", *(np.asarray(each) for each in features))
    return {"features": encoding, "propagation": propagation}


def run_theirs(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The same in PyTorch as DINO's script goes about it."""
    import torch

    del folder
    torch.set_num_threads(options.threads)
    images = torch.from_numpy(normalized(images_of(options))).permute(0, 3, 1, 2)
    encode, propagate = official(options) if options.official else independent(options)
    with torch.inference_mode():
        start = clock()
        features = [encode(image[None]) for image in images]  # [h, w, c]
        encoding = {name: value / len(images) for name, value in since(start).items()}
        keys = [features[index % 3] for index in range(CONTEXT + 1)]
        labels = torch.rand(CONTEXT + 1, 2, *features[0].shape[:2])
        propagate(features[0][:8, :8], [key[:8, :8] for key in keys], labels[..., :8, :8])  # whatever is made once
        mask = window(*features[0].shape[:2]) if not options.official else None
        start = clock()
        propagate(features[1], keys, labels, mask)
        propagation = since(start)
    return {"features": encoding, "propagation": propagation}


def window(rows: int, cols: int) -> Any:
    """Which pairs of positions are in the window: float [query, key]."""
    import torch

    row, col = (index.flatten() for index in torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij"))
    near = (row[:, None] - row[None]).abs() <= RADIUS
    return (near & ((col[:, None] - col[None]).abs() <= RADIUS)).float()


def independent(options: argparse.Namespace) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The network of the tests, and propagation over all pairs of positions."""
    import torch
    from torch_vit import Shape, TorchViT

    shape = Shape(8, 384, 2 if options.toy else 12, 6, 1536, positions="offset", grid=28)
    network = TorchViT(shape).eval()

    def propagate(query: Any, keys: list[Any], labels: Any, mask: Any = None) -> Any:
        unit = [torch.nn.functional.normalize(each.flatten(0, 1), dim=1) for each in (query, *keys)]
        scores = torch.exp(torch.stack([unit[0] @ key.T for key in unit[1:]]) / TEMPERATURE)  # [t, query, key]
        scores *= window(*query.shape[:2]) if mask is None else mask
        scores = scores.permute(0, 2, 1).reshape(-1, scores.shape[1])  # [t * key, query]
        fifth = torch.topk(scores, TOPK, dim=0).values.min(dim=0).values
        scores[scores < fifth] = 0
        scores /= scores.sum(dim=0, keepdim=True)
        return labels.flatten(2).permute(1, 0, 2).flatten(1) @ scores

    return lambda image: network(image)["norm"][0], propagate


def official(options: argparse.Namespace) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """DINO's own functions, from a checkout; only device calls and imports that are not needed are replaced."""
    import torch

    for name in ("torchvision", "torchvision.transforms", "torchvision.models"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]  # type: ignore[attr-defined]
    sys.modules["torchvision"].models = sys.modules["torchvision.models"]  # type: ignore[attr-defined]
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    sys.path.insert(0, str(options.official))
    script: Any = importlib.import_module("eval_video_segmentation")
    network: Any = importlib.import_module("vision_transformer").vit_small(patch_size=8, num_classes=0).eval()
    arguments = argparse.Namespace(size_mask_neighborhood=RADIUS, topk=TOPK, patch_size=8, n_last_frames=CONTEXT)
    script.args = arguments

    def encode(image: Any) -> Any:
        tokens = network.get_intermediate_layers(image, n=1)[0][:, 1:]
        return tokens.unflatten(1, (image.shape[2] // 8, -1))[0]

    def propagate(query: Any, keys: list[Any], labels: Any, mask: Any = None) -> Any:
        rows, cols, _ = query.shape
        script.extract_feature = lambda *_, **__: (query.flatten(0, 1), rows, cols)
        near = window(rows, cols) if mask is None else mask  # as its own, whose four nested loops take half a minute
        stacked = near[None].repeat(len(keys), 1, 1)
        flat = [key.flatten(0, 1).T for key in keys]
        return script.label_propagation(arguments, None, None, flat, list(labels[:, None]), stacked)[0]

    return encode, propagate


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/DAVIS")
    parser.add_argument("--sequence", default="blackswan")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--official", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--keep", type=Path, help="JSON file to add the figures to")
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.side:
        result = {"ours": run_ours, "theirs": run_theirs}[options.side](options, options.out)
        result["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        (options.out / f"{options.side}.json").write_text(json.dumps(result))
        return result
    sides = {}
    for side in ("ours", "theirs"):
        given = sys.argv[1:] if arguments is None else arguments
        subprocess.run([sys.executable, __file__, *given, f"--side={side}"], check=True)
        sides[side] = json.loads((options.out / f"{side}.json").read_text())
    ours, theirs = sides["ours"], sides["theirs"]
    ratios = {part: theirs[part]["cpu_s"] / ours[part]["cpu_s"] for part in ("features", "propagation")}
    both = [sum(side[part]["cpu_s"] for part in ratios) for side in (theirs, ours)]
    report = {
        **sides,
        "ratios": {**ratios, "both": both[0] / both[1], "memory": ours["peak_memory_mb"] / theirs["peak_memory_mb"]},
        "theirs_is": "official" if options.official else "independent",
    }
    for part in ratios:
        print(
            f"{part}: {ours[part]['cpu_s']:.2f} CPU s a frame, theirs {theirs[part]['cpu_s']:.2f} "
            f"({ratios[part]:.1f} times as fast); wall {ours[part]['wall_s']:.2f} and {theirs[part]['wall_s']:.2f} s"
        )
    print(
        f"both: {both[0] / both[1]:.1f} times as fast; peak memory {ours['peak_memory_mb']:.0f} MB, theirs "
        f"{theirs['peak_memory_mb']:.0f} MB ({report['ratios']['memory']:.2f} of it)"
    )
    (options.out / "dino.json").write_text(json.dumps(report, indent=1) + "\n")
    named = {"vfs_jax": ours, f"PyTorch, {report['theirs_is']}": theirs}
    for part in ratios:
        figures = {f"DINO, {part}: {of}": (side[part]["cpu_s"], "CPU s a frame") for of, side in named.items()}
        keep(options.keep, figures)
    return report


if __name__ == "__main__":
    main()
