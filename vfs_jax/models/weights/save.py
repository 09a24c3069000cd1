"""Variables into files of weights, under names that the original code and `load_weights` read."""

import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from flax.traverse_util import flatten_dict

from vfs_jax.models.resnet import depth_of
from vfs_jax.models.vfs import nest_backbone
from vfs_jax.models.weights.files import write_file
from vfs_jax.models.weights.fitting import file_order
from vfs_jax.models.weights.names import Naming, tensor_names
from vfs_jax.models.weights.vit_names import official_tensors

Layout = Literal["vfs", "torchvision", "siamfc"]


def save_torch(variables: Mapping[str, Any], path: str | os.PathLike[str], layout: Layout = "vfs") -> None:
    """Write variables as a file of weights that `load_weights` and the original code read.

    Args:
        variables: {"params": ..., "batch_stats": ...} of ResNet, of VFS, or {"backbone": ..., "head": ...} of a
            tracker; or {"params": ...} of a ViT, which is written under the official names whatever the layout.
        path: the file, .safetensors, else as PyTorch writes it; an earlier one is replaced once the new one is whole.
        layout: "vfs" writes the names of the release, with the projector and predictor where there are any;
            "torchvision" the backbone alone under torchvision's names (without `fc`); "siamfc" backbone and tracking
            head. Counters are written as 0. The running variances are Flax's, biased by (n-1)/n.

    Raises:
        InputError: PyTorch is not installed (it writes .pth), or the folder does not exist.
        ValueError: the variables are no network's, or layout "siamfc" lacks a head.

    Example:
        >>> from vfs_jax.models import init_variables, load_torch
        >>> path = getfixture("tmp_path") / "vfs_r18.pth"
        >>> save_torch(init_variables(seed=0, depth=18), path)
        >>> sorted(load_torch(path, part="vfs")["params"])
        ['backbone', 'predictor', 'projector']
    """
    if layout not in ("vfs", "torchvision", "siamfc"):
        raise ValueError(f'layout is "vfs", "torchvision" or "siamfc", not {layout!r}')
    if "class_token" in variables["params"]:
        write_file(official_tensors(variables["params"]), path, nested=False)
        return
    depth = depth_of(variables)
    trees = nest_backbone(variables)
    if layout == "siamfc" and "head" not in trees["params"]:
        raise ValueError('layout "siamfc" needs variables with a "head"')
    parts = {
        "vfs": ("backbone", "projector", "predictor"),
        "torchvision": ("backbone",),
        "siamfc": ("backbone", "head"),
    }
    leaves = {leaf: value for leaf, value in flatten_dict(trees).items() if leaf[1] in parts[layout]}

    naming: Naming = "torchvision" if layout == "torchvision" else "vfs"
    state: dict[str, np.ndarray] = {}
    names = tensor_names(leaves, depth, "vfs", naming, "" if layout == "torchvision" else "backbone.")
    for leaf, name in names.items():
        state[name] = np.array(file_order(leaf, np.asarray(leaves[leaf])), np.float32, order="C")
        if name.endswith(".running_var"):
            state[f"{name.removesuffix('running_var')}num_batches_tracked"] = np.array(0, np.int64)
    if "img_head.predictor_fcs.0.weight" in state:
        state["iteration"] = np.array(0, np.float32)  # a counter that the release's tracker module keeps
    write_file(state, path, nested=layout != "torchvision")
