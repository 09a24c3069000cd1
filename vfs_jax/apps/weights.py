"""Weights of every kind, named by one string: a training folder, one of its checkpoints, a .pth file, random:SEED."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vfs_jax.errors import InputError
from vfs_jax.models import backbone_of, depth_of, init_variables
from vfs_jax.models.resnet import BLOCKS, Variables


def resolve(weights: str, depth: int) -> tuple[Variables, dict[str, Any]]:
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
    """
    if depth not in BLOCKS:
        raise InputError(f"depth {depth}: there is no such ResNet; choose among {', '.join(map(str, BLOCKS))}")
    path, step = Path(weights), None
    if weights.startswith("random:"):
        seed = weights.removeprefix("random:")
        if not seed.isdecimal():
            raise InputError(f"{weights}: {seed!r} is no seed; write random:0")
        kind, variables = "random", backbone_of(init_variables(int(seed), depth))
    elif path.is_dir():
        # Imported here: checkpoints bring Orbax along, which random weights and .pth files need not wait for.
        from vfs_jax.training import checkpoints

        kind, step = "checkpoint", int(checkpoints.checkpoint_folder(path).name)
        variables = backbone_of(checkpoints.load_variables(path))
    elif path.is_file():
        from vfs_jax.models.weights.torch_files import load_torch

        kind, variables = "torch", load_torch(path)
    else:
        raise InputError(f"{weights}: no such weights; give a training folder, a .pth file or random:SEED")
    if depth_of(variables) != depth:
        raise InputError(f"{weights}: holds a ResNet-{depth_of(variables)}; set --config.depth={depth_of(variables)}")
    return variables, {"weights": weights, "kind": kind, "step": step, "sha256": checksum(variables)}


def resolve_tracker(weights: str, depth: int) -> tuple[Variables, dict[str, Any]]:
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
    backbone, about = resolve(weights, depth)
    variables: Variables = {name: {"backbone": backbone[name]} for name in ("params", "batch_stats")}
    head = None
    if about["kind"] == "checkpoint":
        from vfs_jax.training.checkpoints import load_variables

        head = load_variables(weights)["params"].get("head")
    elif about["kind"] == "torch":
        from vfs_jax.models.weights.torch_files import load_torch, part_of

        if part_of(weights) == "siamfc":
            head = load_torch(weights, "siamfc")["params"]["head"]
    if head is not None:
        variables["params"]["head"] = head
        about = {**about, "sha256": checksum(variables)}
    return variables, {**about, "head": head is not None}


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
