"""Other people's names for our variables: one table a family of files, and which family a file is of."""

import os
from collections.abc import Collection, Iterable, Iterator
from typing import Literal, NamedTuple

from vfs_jax.errors import InputError
from vfs_jax.models.resnet import BLOCKS, STAGES, is_bottleneck

Part = Literal["backbone", "vfs", "siamfc"]
Naming = Literal["vfs", "torchvision"]
TreePath = tuple[str, ...]  # of a leaf or a module in a tree of variables


class Family(NamedTuple):
    """How a kind of file names its tensors ("module." in front of all of them aside)."""

    backbone: str  # the prefix of the backbone's tensors
    others: tuple[str, ...]  # prefixes of what such files hold besides; "fc." behind the backbone's prefix always may


_FAMILIES = (
    Family("", ()),  # torchvision, DINO, and VFS files with torchvision's names
    Family("backbone.", ("img_head.", "head.")),  # VFS, SiamFC on VFS, DINO
    Family("encoder_q.", ("encoder_k.", "queue")),  # MoCo v2
    Family("encoder.", ("predictor.",)),  # SimSiam
    Family("base_encoder.", ("momentum_encoder.", "predictor.")),  # MoCo v3
)

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


def recognize(path: str | os.PathLike[str], state: Collection[str]) -> tuple[Family, Naming, int]:
    """Return the family, naming and depth whose backbone's names fit those of a file's tensors best."""

    def misfits(family: Family, naming: Naming, depth: int) -> int:
        expected = {f"{family.backbone}{name}.weight" for name in _backbone_modules(depth, naming).values()}
        found = {name for name in state if name.endswith(".weight") and name.startswith(family.backbone)}
        return len(expected - found) - len(expected & found) + len(found - expected)

    candidates: list[tuple[Family, Naming, int]] = [
        (family, naming, depth) for family in _FAMILIES for naming in ("vfs", "torchvision") for depth in BLOCKS
    ]
    best = min(candidates, key=lambda candidate: misfits(*candidate))
    if not any(f"{best[0].backbone}{name}.weight" in state for name in _backbone_modules(best[2], best[1]).values()):
        names = ", ".join(list(state)[:5]) or "none"
        raise InputError(f"{path}: holds no ResNet of a known layout (its first names: {names}); choose another file")
    return best


def _backbone_modules(depth: int, naming: Naming) -> dict[TreePath, str]:
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
    for stage, (stage_name, blocks) in enumerate(zip(STAGES, BLOCKS[depth], strict=True)):
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
    modules = {root + ours: prefix + theirs for ours, theirs in _backbone_modules(depth, naming).items()}
    modules.update({**_HEAD_MODULES, **_SIAMFC_MODULES})
    names = {}
    for collection, *module, leaf in leaves:
        kinds = _BATCH_NORM if "bn" in module[-1] else _WEIGHT
        names[collection, *module, leaf] = f"{modules[tuple(module)]}.{kinds[collection, leaf]}"
    return names
