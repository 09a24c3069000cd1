"""Weights of every kind, named by one string: a training folder, one of its checkpoints, a .pth file, random:SEED."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from vfs_jax.errors import InputError
from vfs_jax.models.resnet import BLOCKS, Variables, depth_of
from vfs_jax.models.vfs import backbone_of, init_variables, nest_backbone
from vfs_jax.models.weights.torch_files import load_whole

About = Mapping[str, str | int | bool | None]  # what weights are: see `resolve`


@dataclasses.dataclass(frozen=True)
class NamedWeights:
    """Weights with the name of their runs.

    Attributes:
        name: short, fit for a folder.
        source: the string that named them.
        variables: as `resolve` or `resolve_tracker` gives them.
        about: what they are, likewise.
    """

    name: str
    source: str
    variables: Variables
    about: About


def resolve(weights: str, depth: int) -> tuple[Variables, About]:
    """Load a ResNet backbone.

    Args:
        weights: a folder that vfs-train wrote (its newest checkpoint), one checkpoint in it, a PyTorch file (.pth,
            .pt), or "random:SEED".
        depth: of the ResNet.

    Returns:
        The variables of the ResNet, and what they are: "weights" as given, "kind", "step" (None but for checkpoints)
        and "sha256" over names and numbers, the same for the same numbers wherever they come from.

    Raises:
        InputError: there are no such weights, they cannot be read, or they are of another depth.

    Example:
        >>> variables, about = resolve("random:0", depth=18)
        >>> about["kind"], about["sha256"] == checksum(variables)
        ('random', True)
    """
    whole, kind, step = _read(weights, depth, heads=False)
    variables = backbone_of(whole)
    return variables, {"weights": weights, "kind": kind, "step": step, "sha256": checksum(variables)}


def resolve_tracker(weights: str, depth: int) -> tuple[Variables, About]:
    """Load a ResNet with the tracking head where there is one.

    Args:
        weights: as for `resolve`; a folder that vfs-train-tracker wrote and a .pth file of the release's tracker hold a
            head, all others the backbone alone.
        depth: of the ResNet.

    Returns:
        {"backbone": ..., "head": ...} in "params" ("head" where there is one) and {"backbone": ...} in "batch_stats",
        and what they are, as `resolve` tells it, with "head" true or false.

    Raises:
        InputError: as `resolve` does.
    """
    whole, kind, step = _read(weights, depth, heads=True)
    backbone = backbone_of(whole)
    variables = nest_backbone(backbone)
    head = whole["params"].get("head")
    if head is not None:
        variables["params"]["head"] = head
    # Of a backbone alone it is the checksum that `resolve` gives.
    total = checksum(backbone if head is None else variables)
    return variables, {"weights": weights, "kind": kind, "step": step, "sha256": total, "head": head is not None}


def resolve_several(weights: str, depth: int, *, heads: bool = False) -> list[NamedWeights]:
    """Load comma-separated weights.

    Args:
        weights: each as `resolve` takes them.
        depth: of the ResNets.
        heads: whether tracking heads are wanted, as `resolve_tracker` gives them.

    Returns:
        All of them, in order, under names that differ.

    Raises:
        InputError: there are none, or one of them cannot be loaded.
    """
    load = resolve_tracker if heads else resolve
    return [NamedWeights(name, source, *load(source, depth)) for name, source in run_names(weights).items()]


def run_names(weights: str) -> dict[str, str]:
    """Return a short name for each of the comma-separated weights, which is also its folder's.

    >>> run_names("runs/train,random:0,weights/vfs_r18.pth,other/train/checkpoints/500")
    {'train': 'runs/train', 'random-0': 'random:0', 'vfs_r18': 'weights/vfs_r18.pth',
     'train-500': 'other/train/checkpoints/500'}
    """
    names: dict[str, str] = {}
    for each in filter(None, (part.strip() for part in weights.split(","))):
        path = Path(each)
        if each.startswith("random:"):
            name = each.replace(":", "-")
        elif path.suffix in (".pth", ".pt", ".tar"):
            name = path.name.split(".")[0]
        elif path.parent.name == "checkpoints":
            name = f"{path.parent.parent.name}-{path.name}"
        else:
            name = path.resolve().name
        unique, number = name, 1
        while unique in names:
            number += 1
            unique = f"{name}-{number}"
        names[unique] = each
    if not names:
        raise InputError(f"weights={weights}: is empty; give a training folder, a .pth file or random:SEED")
    return names


def checksum(variables: Variables) -> str:
    """Return SHA-256 over the sorted names, shapes and numbers of all arrays, in hexadecimal.

    >>> checksum({"params": {"a": np.zeros(2)}})[:8] == checksum({"params": {"a": np.ones(2)}})[:8]
    False
    """
    digest = hashlib.sha256()
    for path, leaf in sorted((jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(variables)):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{path} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _read(weights: str, depth: int, *, heads: bool) -> tuple[Variables, str, int | None]:
    """Read what there is once: variables with whatever heads they have, their kind, and the step of a checkpoint."""
    if depth not in BLOCKS:
        raise InputError(f"depth={depth}: there is no such ResNet; choose among {', '.join(map(str, BLOCKS))}")
    path, step = Path(weights), None
    if weights.startswith("random:"):
        seed = weights.removeprefix("random:")
        if not seed.isdecimal():
            raise InputError(f"{weights}: {seed!r} is no seed; write random:0")
        kind, variables = "random", init_variables(int(seed), depth)
    elif path.is_dir():
        # Imported here: checkpoints bring Orbax along, which random weights and .pth files need not wait for.
        from vfs_jax.models.weights.checkpoints import checkpoint_folder, load_variables

        folder = checkpoint_folder(path)
        kind, step, variables = "checkpoint", int(folder.name), load_variables(folder)
    elif path.is_file():
        kind, variables = "torch", load_whole(path, heads=["siamfc"] if heads else [])
    else:
        raise InputError(f"{weights}: no such weights; give a training folder, a .pth file or random:SEED")
    if (found := depth_of(variables)) != depth:
        raise InputError(f"depth={depth}: {weights} holds a ResNet-{found}; set {found}")
    return nest_backbone(variables), kind, step
