"""How much features and masks change with the bits of the network's products: float32, TensorFloat-32, bfloat16.

    python tests/benchmarks/precision_masks.py --data=DAVIS --out=DIR --sequences=blackswan,dog --frames=10
    python tests/benchmarks/precision_masks.py --data=DAVIS --out=DIR --weights=random:0,vfs_r18.pth,runs/mine

Propagates the first mask with each kind of features, everything else the same (the release's settings: scores, softmax
and labels are float32 throughout), and compares features and predicted masks with float32's. The given first mask is
not counted. Prints a line a sequence and kind; writes DIR/precision_masks.json.

A GPU makes TensorFloat-32 products itself. Elsewhere they are emulated: the operands of every convolution and matrix
product are rounded to 10 bits of mantissa, products and sums are float32's.

"perturbed:SEED" are seeded random weights in which every BatchNorm has a random scale, bias and statistics. In
random:SEED the last BatchNorm of every block has the scale 0, as training starts: blocks without a projection pass
their input on, and less rounding adds up.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

from vfs_jax.data.mask_datasets import MaskSequence, open_davis
from vfs_jax.evaluation.encoders import Encoder, NetworkEncoder, as_encoder
from vfs_jax.evaluation.metrics.davis import contour_accuracy, region_similarity
from vfs_jax.evaluation.propagation.features import features_of
from vfs_jax.evaluation.propagation.labels import Settings, masks_along
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import default_radius
from vfs_jax.models import normalize_images, winograd
from vfs_jax.models.resnet import Variables
from vfs_jax.models.weights.resolve import checksum, resolve

Kinds = dict[str, tuple[Encoder, Settings]]
# Primitives that run a program once, as it is.
CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call")


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


def with_rounded_operands(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function whose convolutions and matrix products see operands of 10 bits of mantissa."""

    def evaluate(jaxpr: Jaxpr, consts: list[Any], *args: Any) -> list[Any]:
        values: dict[Var, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
        for eqn in jaxpr.eqns:
            inputs = [each.val if isinstance(each, Literal) else values[each] for each in eqn.invars]
            inner = [each for each in jax.tree.leaves(eqn.params) if isinstance(each, Jaxpr | ClosedJaxpr)]
            called = inner[0] if eqn.primitive.name in CALLS else None
            if isinstance(called, ClosedJaxpr):
                outputs = evaluate(called.jaxpr, called.consts, *inputs)
            elif inner:  # a loop or a choice: evaluated once it would be another program, left whole it is not rounded
                raise ValueError(f"{eqn.primitive} in the network: only calls are looked into")
            else:
                if eqn.primitive.name in ("conv_general_dilated", "dot_general"):
                    inputs = [jax.lax.reduce_precision(each, 8, 10) for each in inputs]
                found = eqn.primitive.bind(*inputs, **eqn.params)
                outputs = found if eqn.primitive.multiple_results else [found]
            values |= dict(zip(eqn.outvars, outputs, strict=True))
        return [each.val if isinstance(each, Literal) else values[each] for each in jaxpr.outvars]

    def call(*args: Any) -> Any:
        with mock.patch.object(winograd, "_pays", return_value=False):  # accelerators convolve by definition
            closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        flat = evaluate(closed.jaxpr, closed.consts, *jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), flat)

    return call


def emulated(encoder: NetworkEncoder, settings: Settings) -> Encoder:
    """The same network with the products that a GPU makes of TensorFloat-32."""
    network = encoder.network.clone(outputs=(settings.output,), dtype=np.float32)

    @jax.jit
    @with_rounded_operands
    def apply(images: jax.Array) -> jax.Array:
        found = network.apply(encoder.variables, normalize_images(images, settings.mean, settings.std))
        assert isinstance(found, dict)
        return found[settings.output]

    return as_encoder(apply, "TensorFloat-32, emulated")


def kinds_of(variables: Variables, settings: Settings) -> Kinds:
    """Name the kinds of features, each with what encodes and the settings; the first is what others differ from."""
    encoder = as_encoder(variables)
    assert isinstance(encoder, NetworkEncoder)
    with_ = functools.partial(dataclasses.replace, settings)
    rounding = encoder if jax.default_backend() == "gpu" else emulated(encoder, settings)
    return {
        "float32": (encoder, with_(precision="float32")),
        "tensorfloat32": (rounding, with_(precision="tensorfloat32")),
        "bfloat16": (encoder, with_(dtype="bfloat16")),
    }


def compare(kinds: Kinds, sequence: MaskSequence, frames: int | None) -> dict[str, dict[str, float]]:
    """Propagate through one sequence by features of every kind.

    Args:
        kinds: by name; the others are compared with the first.
        sequence: with its ground truth.
        frames: how many are propagated through; all where None.

    Returns:
        By kind: J, F, J&F against the ground truth, and apart from the first kind: rms of the features' difference in
        units of that of the features, share of the pixels of masks that differ, over all frames and in the worst.
    """
    frames = len(sequence) if frames is None else min(frames, len(sequence))
    truth = np.stack([sequence.mask(index) for index in range(1, frames)])
    labels = range(1, int(sequence.mask(0).max()) + 1)
    features: dict[str, list[np.ndarray]] = {}
    masks, out = {}, {}
    for name, (encoder, settings) in kinds.items():
        layout = Layout.of(sequence.size, settings, encoder)
        images = (sequence.frame(index) for index in range(frames))
        given, kept = itertools.tee(features_of(encoder, images, settings, layout))
        found = masks_along(given, sequence.mask(0), settings, layout)
        masks[name] = np.stack([np.asarray(mask) for mask in itertools.islice(found, 1, None)])
        features[name] = [np.asarray(each, np.float32) for each in kept]
        pairs = [(masks[name] == label, truth == label) for label in labels]
        j, f = (float(np.mean([measure(*pair) for pair in pairs])) for measure in (region_similarity, contour_accuracy))
        out[name] = {"J": j, "F": f, "J&F": (j + f) / 2}
        first = next(iter(kinds))
        if name != first:
            squares = [
                (np.square(a - b).mean(), np.square(b).mean())
                for a, b in zip(features[name], features[first], strict=True)
            ]
            error, size = np.mean(squares, axis=0)
            differ = masks[name] != masks[first]
            out[name] |= {
                "rms_of_features": float(np.sqrt(error / size)),
                "share_of_pixels": float(differ.mean()),
                "share_of_pixels_worst_frame": float(differ.mean(axis=(1, 2)).max()),
            }
    return out


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Compares all sequences under all weights; returns what was written to precision_masks.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of the DAVIS layout")
    parser.add_argument("--split", default="val")
    parser.add_argument("--sequences", default="", help="comma-separated; all of the split where empty")
    parser.add_argument("--frames", type=int, help="first frames of each sequence (default: all)")
    parser.add_argument("--weights", default="perturbed:0", help="comma-separated")
    parser.add_argument("--depth", type=int, default=18, choices=(18, 50))
    parser.add_argument("--short_side", type=int, default=480)
    parser.add_argument("--out", type=Path, required=True, help="folder for precision_masks.json")
    options = parser.parse_args(arguments)
    settings = Settings(short_side=options.short_side, radius=default_radius(options.depth))
    sequences = open_davis(
        options.data, options.split, sequences=[name for name in options.sequences.split(",") if name]
    )
    report: dict[str, Any] = {
        "machine": {"platform": platform.platform(), "jax": jax.__version__, "device": jax.devices()[0].device_kind},
        "depth": options.depth,
        "settings": {
            name: value for name, value in dataclasses.asdict(settings).items() if name not in ("dtype", "precision")
        },
        "weights": {},
    }
    for weights in options.weights.split(","):
        variables = variables_of(weights, options.depth)
        kinds = kinds_of(variables, settings)
        scores = {}
        for sequence in sequences:
            scores[sequence.name] = compare(kinds, sequence, options.frames)
            for kind, score in scores[sequence.name].items():
                print(f"{weights} {sequence.name} {kind}: {_said(score)}", flush=True)
        means = {
            kind: {key: float(np.mean([score[kind][key] for score in scores.values()])) for key in found}
            for kind, found in scores[sequences[0].name].items()
        }
        report["weights"][weights] = {"sha256": checksum(variables), "mean": means, "sequences": scores}
        for kind, score in means.items():
            print(f"{weights} mean of {len(scores)} sequences, {kind}: {_said(score)}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "precision_masks.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {options.out}/precision_masks.json", flush=True)
    return report


def _said(score: dict[str, float]) -> str:
    text = f"J&F {score['J&F']:.4f}"
    if "share_of_pixels" in score:
        text += (
            f"; features off by {score['rms_of_features']:.1e} of their size, {score['share_of_pixels']:.4%} of the "
            f"pixels differ (worst frame {score['share_of_pixels_worst_frame']:.4%})"
        )
    return text


if __name__ == "__main__":
    main()
