"""How much masks change when features are computed in bfloat16 instead of float32.

    python tests/benchmarks/bf16_masks.py --data=DAVIS --out=DIR --sequences=blackswan,dog --frames=10
    python tests/benchmarks/bf16_masks.py --data=DAVIS --out=DIR --weights=random:0,vfs_r18.pth,runs/mine

Propagates the first mask with both kinds of features, everything else the same (the release's settings: scores, softmax
and labels are float32 either way), and compares the predicted masks pixel by pixel. The given first mask is not
counted. Prints a line a sequence; writes DIR/bf16_masks.json.

"perturbed:SEED" are seeded random weights in which every BatchNorm has a random scale, bias and statistics. In
random:SEED the last BatchNorm of every block has the scale 0, as training starts: blocks without a projection pass
their input on, and less rounding adds up.
"""

import argparse
import dataclasses
import itertools
import json
import platform
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vfs_jax.data.mask_datasets import MaskSequence, open_davis
from vfs_jax.evaluation.encoders import as_encoder
from vfs_jax.evaluation.metrics.davis import region_similarity
from vfs_jax.evaluation.propagation.labels import Settings, propagate_masks
from vfs_jax.evaluation.propagation.settings import default_radius
from vfs_jax.models.resnet import Variables
from vfs_jax.models.weights.resolve import checksum, resolve


def variables_of(weights: str, depth: int) -> Variables:
    """Weights of every kind that evaluation takes, and "perturbed:SEED"."""
    if not weights.startswith("perturbed:"):
        return resolve(weights, depth)[1]
    seed = weights.removeprefix("perturbed:")
    rng = np.random.default_rng(int(seed))

    def change(path: tuple[jax.tree_util.DictKey, ...], leaf: np.ndarray) -> np.ndarray:
        name = path[-1].key
        if name == "kernel":
            return np.asarray(leaf)
        low, high = (0.5, 1.5) if name in ("scale", "var") else (-0.1, 0.1)
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(change, resolve(f"random:{seed}", depth)[1])


def compare(variables: Variables, sequence: MaskSequence, settings: Settings, frames: int | None) -> dict[str, Any]:
    """Masks of one sequence by both dtypes: the share of pixels that differ, and J against the truth."""
    frames = len(sequence) if frames is None else min(frames, len(sequence))
    masks = {}
    for dtype in ("float32", "bfloat16"):
        images = (sequence.frame(index) for index in range(frames))
        chosen = dataclasses.replace(settings, dtype=dtype)
        found = propagate_masks(as_encoder(variables), images, sequence.mask(0), chosen)
        masks[dtype] = np.stack([np.asarray(mask) for mask in itertools.islice(found, 1, None)])
    differ = masks["float32"] != masks["bfloat16"]
    truth = np.stack([sequence.mask(index) for index in range(1, frames)])
    labels = range(1, int(sequence.mask(0).max()) + 1)
    return {
        "frames": frames,
        "share_of_pixels": float(differ.mean()),
        "share_of_pixels_worst_frame": float(differ.mean(axis=(1, 2)).max()),
        "J": {
            dtype: float(np.mean([region_similarity(found == label, truth == label) for label in labels]))
            for dtype, found in masks.items()
        },
    }


def main(arguments: list[str] | None = None) -> dict:
    """Compares all sequences under all weights; returns what was written to bf16_masks.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of the DAVIS layout")
    parser.add_argument("--split", default="val")
    parser.add_argument("--sequences", default="", help="comma-separated; all of the split where empty")
    parser.add_argument("--frames", type=int, help="first frames of each sequence (default: all)")
    parser.add_argument("--weights", default="perturbed:0", help="comma-separated")
    parser.add_argument("--depth", type=int, default=18, choices=(18, 50))
    parser.add_argument("--short_side", type=int, default=480)
    parser.add_argument("--out", type=Path, required=True, help="folder for bf16_masks.json")
    options = parser.parse_args(arguments)
    settings = Settings(short_side=options.short_side, radius=default_radius(options.depth))
    sequences = open_davis(
        options.data, options.split, sequences=[name for name in options.sequences.split(",") if name]
    )
    report = {
        "machine": {"platform": platform.platform(), "jax": jax.__version__, "device": jax.devices()[0].device_kind},
        "depth": options.depth,
        "settings": dataclasses.asdict(settings),
        "weights": {},
    }
    del report["settings"]["dtype"]  # both
    for weights in options.weights.split(","):
        variables = variables_of(weights, options.depth)
        scores = {}
        for sequence in sequences:
            score = scores[sequence.name] = compare(variables, sequence, settings, options.frames)
            print(
                f"{weights} {sequence.name}, {score['frames']} frames: {score['share_of_pixels']:.4%} of the pixels "
                f"differ (worst frame {score['share_of_pixels_worst_frame']:.4%}); "
                f"J {score['J']['float32']:.4f} in float32, {score['J']['bfloat16']:.4f} in bfloat16",
                flush=True,
            )
        mean = float(np.mean([score["share_of_pixels"] for score in scores.values()]))
        report["weights"][weights] = {"sha256": checksum(variables), "share_of_pixels": mean, "sequences": scores}
        print(f"{weights}: {mean:.4%} of the pixels, mean of {len(scores)} sequences", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bf16_masks.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {options.out}/bf16_masks.json", flush=True)
    return report


if __name__ == "__main__":
    main()
