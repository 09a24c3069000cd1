"""PyTorch checkpoints (.pth) in and out: variables of our networks from their tensors, with one strict error."""

import logging
import os
from collections.abc import Collection, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vfs_jax.errors import InputError
from vfs_jax.models.heads import SiamFCHead
from vfs_jax.models.resnet import ResNet, Variables, depth_of, feature_width
from vfs_jax.models.vfs import VFS, nest_backbone
from vfs_jax.models.weights.names import Naming, Part, TreePath, part_of, recognize, tensor_names
from vfs_jax.models.weights.pth import read_pth, write_pth

Layout = Literal["vfs", "torchvision", "siamfc"]

_log = logging.getLogger(__name__)


def load_torch(path: str | os.PathLike[str], part: Part = "backbone") -> Variables:
    """Read a PyTorch checkpoint of a ResNet, strictly.

    Understood are the files of VFS (and of SiamFC on top of it), torchvision, MoCo v2, MoCo v3, SimSiam and DINO
    (ResNet-50). The depth is read from the file. Tensors of other parts that such files are known to hold (a classifier
    `fc`, other heads, queues, momentum encoders) are left out with a logged note.

    Args:
        path: the .pth file. It is read without running any code that it may hold; besides tensors and plain Python
            values only numpy's float scalars (of a learning-rate schedule) are allowed.
        part: "backbone" for the variables of `ResNet`, "vfs" for those of `VFS`, "siamfc" for {"backbone": those of
            ResNet, "head": those of SiamFCHead}.

    Returns:
        {"params": ..., "batch_stats": ...} of float32 numpy arrays, bit for bit those of the file.

    Raises:
        InputError: PyTorch is not installed; the file is missing, torn, no checkpoint, or would run code; or its
            tensors do not fit: the message names every missing, unexpected and misshapen one.

    Example:
        >>> from vfs_jax.models import init_variables
        >>> folder = getfixture("tmp_path")
        >>> save_torch(init_variables(seed=0, depth=18), folder / "r18.pth", layout="torchvision")
        >>> sorted(load_torch(folder / "r18.pth")["params"])[:4]
        ['bn1', 'conv1', 'res2_0', 'res2_1']
    """
    if part not in ("backbone", "vfs", "siamfc"):
        raise ValueError(f'part is "backbone", "vfs" or "siamfc", not {part!r}')
    return _variables(path, read_pth(path), part)


def load_whole(path: str | os.PathLike[str], heads: Collection[Part] = ("vfs", "siamfc")) -> Variables:
    """Read what a PyTorch checkpoint holds, backbone and heads, in one go.

    Args:
        path: the .pth file.
        heads: parts whose heads are read where there are any; others are left out.

    Returns:
        As `load_torch` of the largest part that the file has of these, or of the backbone.

    Raises:
        InputError: as `load_torch` does.
    """
    state = read_pth(path)
    part = part_of(state)
    return _variables(path, state, part if part in heads else "backbone")


def _variables(path: str | os.PathLike[str], state: Mapping[str, object], part: Part) -> Variables:
    """Return the variables of a part from a file's tensors by name."""
    family, naming, depth = recognize(path, state)
    template = _template(depth, part)
    names = tensor_names(template, depth, part, naming, family.backbone)
    missing = [name for name in names.values() if name not in state]
    counters = {"iteration", *(f"{name.removesuffix('running_var')}num_batches_tracked" for name in names.values())}
    others = (f"{family.backbone}fc.", *family.others)
    left = [name for name in state if name not in {*names.values(), *counters}]
    dropped = [name for name in left if name.startswith(others)]
    unexpected = [name for name in left if not name.startswith(others)]

    values, misshapen = {}, []
    for leaf, expected in template.items():
        if (name := names[leaf]) not in state:
            continue
        shape = _torch_order(np.empty(expected.shape)).shape
        value = state[name]
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.shape == shape:
            values[leaf] = np.ascontiguousarray(_flax_order(value))
        else:
            kind = f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
            misshapen.append(f"{name} (is {kind}, not float{list(shape)})")

    wrong = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    if missing or unexpected or misshapen:
        lists = "; ".join(f"{len(these)} {kind}: {', '.join(these)}" for kind, these in wrong.items() if these)
        raise InputError(f"{path}: does not fit {_describe(depth, part)}; choose another file or part; {lists}")
    if dropped:
        heads = {others[0][:-1] if name.startswith(others[0]) else name.split(".")[0] for name in dropped}
        _log.warning("%s: left out %d tensors under %s", path, len(dropped), ", ".join(sorted(heads)))
    return unflatten_dict(values)


def save_torch(variables: Mapping[str, Any], path: str | os.PathLike[str], layout: Layout = "vfs") -> None:
    """Write variables as a PyTorch checkpoint that `load_torch` and the original code read.

    Args:
        variables: {"params": ..., "batch_stats": ...} of ResNet, of VFS, or {"backbone": ..., "head": ...} of a
            tracker.
        path: the .pth file; an earlier one is replaced once the new one is whole.
        layout: "vfs" writes the names of the release, with the projector and predictor where there are any;
            "torchvision" the backbone alone under torchvision's names (without `fc`); "siamfc" backbone and tracking
            head. Counters are written as 0. The running variances are Flax's, biased by (n-1)/n.

    Raises:
        InputError: PyTorch is not installed, or the folder does not exist.
        ValueError: the variables are no ResNet's, or layout "siamfc" lacks a head.

    Example:
        >>> from vfs_jax.models import init_variables
        >>> path = getfixture("tmp_path") / "vfs_r18.pth"
        >>> save_torch(init_variables(seed=0, depth=18), path)
        >>> sorted(load_torch(path, part="vfs")["params"])
        ['backbone', 'predictor', 'projector']
    """
    if layout not in ("vfs", "torchvision", "siamfc"):
        raise ValueError(f'layout is "vfs", "torchvision" or "siamfc", not {layout!r}')
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
        state[name] = np.array(_torch_order(np.asarray(leaves[leaf])), np.float32, order="C")
        if name.endswith(".running_var"):
            state[f"{name.removesuffix('running_var')}num_batches_tracked"] = np.array(0, np.int64)
    if "img_head.predictor_fcs.0.weight" in state:
        state["iteration"] = np.array(0, np.float32)  # a counter that the release's tracker module keeps
    write_pth(state, path, nested=layout != "torchvision")


def _describe(depth: int, part: Part) -> str:
    heads = {"backbone": "", "vfs": " with VFS heads", "siamfc": " with a SiamFC head"}
    return f"ResNet-{depth}{heads[part]}"


def _torch_order(array: np.ndarray) -> np.ndarray:
    """Transpose [h, w, in, out] to torch's [out, in, h, w] and [in, out] to [out, in]; vectors stay."""
    return array.transpose((3, 2, 0, 1) if array.ndim == 4 else None)


def _flax_order(array: np.ndarray) -> np.ndarray:
    """Return the inverse of `_torch_order`."""
    return array.transpose((2, 3, 1, 0) if array.ndim == 4 else None)


def _template(depth: int, part: Part) -> dict[TreePath, jax.ShapeDtypeStruct]:
    """Return the shape of every leaf of a part's variables, by its path."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    if part == "vfs":
        views = jax.ShapeDtypeStruct((1, 2, 1, 32, 32, 3), jnp.float32)
        return flatten_dict(jax.eval_shape(VFS(depth).init, key, views))
    trees = jax.eval_shape(ResNet(depth).init, key, images)
    if part == "siamfc":
        cells = jax.ShapeDtypeStruct((1, 1, 1, feature_width(depth)), jnp.float32)
        head = jax.eval_shape(SiamFCHead(feature_width(depth)).init, key, cells, cells)
        trees = {
            "params": {"backbone": trees["params"], "head": head["params"]},
            "batch_stats": {"backbone": trees["batch_stats"]},
        }
    return flatten_dict(trees)
