"""Other people's names for the variables of a ResNet and its heads, and which ResNet has those of a file."""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Literal, NamedTuple

from vfs_jax.errors import InputError
from vfs_jax.models.resnet import BLOCKS, STAGES, is_bottleneck
from vfs_jax.models.weights.fitting import TreePath

Part = Literal["backbone", "vfs", "siamfc"]
Naming = Literal["vfs", "torchvision"]


# What stands before the names of the ResNet that is wanted, once wrappers are off (see `states`): nothing in most
# files; MoCo v2's and DenseCL's networks have a part of their own for it.
_PREFIXES = ("", "encoder_q.", "encoder_q.0.")

# What such files hold besides: classifiers and other heads, queues, momentum encoders, and in Spa-then-Temp's the
# teacher that it was trained by.
_OTHERS = (
    *("fc.", "head.", "img_head.", "projector", "projection_head.", "predictor.", "prototypes", "neck."),
    *("encoder_q.", "encoder_k.", "momentum_encoder.", "queue", "backbone_t.", "bn."),
    *("value_transform.", "selfsim_fc."),
)


class Recognized(NamedTuple):
    """The ResNet whose names a file has."""

    prefix: str
    naming: Naming
    depth: int
    stages: int  # 4, or 3 where the file has none of the last one's

    def is_other(self, name: str) -> bool:
        """Tell whether a name is one of what such files hold besides."""
        if self.prefix and name.startswith(self.prefix):
            return name.startswith(f"{self.prefix}fc.")
        return name.startswith(_OTHERS)


# Leaves of our modules -> what torch calls them. Convolutions without a bias simply have no such leaf.
_WEIGHT = {("params", "kernel"): "weight", ("params", "bias"): "bias"}
_BATCH_NORM = {
    ("params", "scale"): "weight",
    ("params", "bias"): "bias",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}

_HEAD_MODULES: dict[TreePath, str] = {
    ("projector", "linear1"): "img_head.projection_fcs.0",
    ("projector", "bn1"): "img_head.projection_fcs.1",
    ("projector", "linear2"): "img_head.projection_fcs.3",
    ("projector", "bn2"): "img_head.projection_fcs.4",
    ("projector", "linear3"): "img_head.projection_fcs.6",
    ("projector", "bn3"): "img_head.projection_fcs.7",
    ("predictor", "linear1"): "img_head.predictor_fcs.0",
    ("predictor", "bn1"): "img_head.predictor_fcs.1",
    ("predictor", "linear2"): "img_head.predictor_fcs.3",
}
_SIAMFC_MODULES: dict[TreePath, str] = {("head", "exemplar"): "head.z_convs.0", ("head", "search"): "head.x_convs.0"}


def part_of(names: Iterable[str]) -> Part:
    """Return which part a file with these names holds whole: "vfs" or "siamfc" where it has such heads."""
    names = list(names)
    if any(name.startswith("img_head.") for name in names):
        return "vfs"
    return "siamfc" if any(name.startswith(tuple(_SIAMFC_MODULES.values())) for name in names) else "backbone"


def rename_resnet(name: str) -> str:
    """Undo the quirk of CRW's files, whose padded convolutions may stand behind a padding layer.

    >>> rename_resnet("layer1.0.conv2.1.weight"), rename_resnet("layer1.0.conv2.weight")
    ('layer1.0.conv2.weight', 'layer1.0.conv2.weight')
    """
    return re.sub(r"\b(conv\d)\.1\.weight$", r"\1.weight", name)


def recognize(path: str | os.PathLike[str], state: Collection[str]) -> Recognized:
    """Return the ResNet whose names fit those of a file's tensors best."""

    def misfits(candidate: Recognized) -> int:
        prefix, naming, depth, stages = candidate
        modules = backbone_modules(depth, naming, stages)
        expected = {f"{prefix}{name}.weight" for name in modules.values()}
        own = (name for name in state if name.startswith(prefix) and not candidate.is_other(name))
        found = {name for name in own if name.endswith(".weight")}
        return len(expected - found) - len(expected & found) + len(found - expected)

    def stages(prefix: str) -> int:
        return 4 if any(name.startswith(f"{prefix}layer4.") for name in state) else 3

    namings: tuple[Naming, ...] = ("vfs", "torchvision")
    candidates = [
        Recognized(prefix, naming, depth, stages(prefix))
        for prefix in _PREFIXES
        for naming in namings
        for depth in BLOCKS
    ]
    best = min(candidates, key=misfits)
    names = backbone_modules(best.depth, best.naming, best.stages).values()
    if sum(f"{best.prefix}{name}.weight" in state for name in names) < 2:
        shown = ", ".join(list(state)[:5]) or "none"
        raise InputError(f"{path}: holds no network of a known layout (its first names: {shown}); choose another file")
    return best


def backbone_modules(depth: int, naming: Naming, stages: int = 4) -> dict[TreePath, str]:
    """Return torch's name for every module of a ResNet, by the module's path in our variables."""

    def pair(conv: TreePath, bn: TreePath, torch_name: str) -> Iterator[tuple[TreePath, str]]:
        if naming == "vfs":
            names = f"{torch_name}.conv", f"{torch_name}.bn"
        elif torch_name.endswith("downsample"):
            names = f"{torch_name}.0", f"{torch_name}.1"
        else:
            names = torch_name, torch_name.replace("conv", "bn")
        yield from zip((conv, bn), names, strict=True)

    modules = dict(pair(("conv1",), ("bn1",), "conv1"))
    for stage, (stage_name, blocks) in enumerate(zip(STAGES[:stages], BLOCKS[depth], strict=False)):
        for block in range(blocks):
            ours, theirs = f"{stage_name}_{block}", f"layer{stage + 1}.{block}"
            for i in (1, 2, 3) if is_bottleneck(depth) else (1, 2):
                modules |= pair((ours, f"conv{i}"), (ours, f"bn{i}"), f"{theirs}.conv{i}")
            if block == 0 and (stage > 0 or is_bottleneck(depth)):
                modules |= pair((ours, "shortcut_conv"), (ours, "shortcut_bn"), f"{theirs}.downsample")
    return modules


def tensor_names(
    leaves: Iterable[TreePath], depth: int, part: Part, naming: Naming, prefix: str
) -> dict[TreePath, str]:
    """Map the leaves of a part to names: ("params", "conv1", "kernel") -> "backbone.conv1.conv.weight"."""
    root: TreePath = () if part == "backbone" else ("backbone",)
    modules = {root + ours: prefix + theirs for ours, theirs in backbone_modules(depth, naming).items()}
    modules.update({**_HEAD_MODULES, **_SIAMFC_MODULES})
    names = {}
    for collection, *module, leaf in leaves:
        kinds = _BATCH_NORM if "bn" in module[-1] else _WEIGHT
        names[collection, *module, leaf] = f"{modules[tuple(module)]}.{kinds[collection, leaf]}"
    return names
