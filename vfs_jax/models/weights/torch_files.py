"""PyTorch checkpoints (.pth) in and out: a table of names, one strict error, and no code ever run from a file."""

import io
import logging
import os
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vfs_jax.errors import InputError
from vfs_jax.models.heads import SiamFCHead
from vfs_jax.models.resnet import BLOCKS, STAGES, ResNet, Variables, depth_of, feature_width, is_bottleneck
from vfs_jax.models.vfs import VFS

Part = Literal["backbone", "vfs", "siamfc"]
Layout = Literal["vfs", "torchvision", "siamfc"]
Naming = Literal["vfs", "torchvision"]
TreePath = tuple[str, ...]  # of a leaf or a module in a tree of variables

_log = logging.getLogger(__name__)


class _Family(NamedTuple):
    """How a kind of file names its tensors ("module." in front of all of them aside)."""

    backbone: str  # the prefix of the backbone's tensors
    others: tuple[str, ...]  # prefixes of what such files hold besides; "fc." behind the backbone's prefix always may


_FAMILIES = (
    _Family("", ()),  # torchvision, DINO, and VFS files with torchvision's names
    _Family("backbone.", ("img_head.", "head.")),  # VFS, SiamFC on VFS, DINO
    _Family("encoder_q.", ("encoder_k.", "queue")),  # MoCo v2
    _Family("encoder.", ("predictor.",)),  # SimSiam
    _Family("base_encoder.", ("momentum_encoder.", "predictor.")),  # MoCo v3
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
    state = _read_state(path)
    family, naming, depth = _recognize(path, state)

    template = _template(depth, part)
    names = _torch_names(template, depth, part, naming, family.backbone)
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
        found = state[name]
        if isinstance(found, np.ndarray) and found.dtype.kind == "f" and found.shape == shape:
            values[leaf] = np.ascontiguousarray(_flax_order(found))
        else:
            kind = f"{found.dtype}{list(found.shape)}" if isinstance(found, np.ndarray) else type(found).__name__
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
    """
    if layout not in ("vfs", "torchvision", "siamfc"):
        raise ValueError(f'layout is "vfs", "torchvision" or "siamfc", not {layout!r}')
    torch = _import_torch(path)
    if not Path(path).parent.is_dir():
        raise InputError(f"{path}: there is no folder {Path(path).parent}; make it first")
    depth = depth_of(variables)
    trees = variables if "backbone" in variables["params"] else {c: {"backbone": variables[c]} for c in variables}
    if layout == "siamfc" and "head" not in trees["params"]:
        raise ValueError('layout "siamfc" needs variables with a "head"')
    parts = {
        "vfs": ("backbone", "projector", "predictor"),
        "torchvision": ("backbone",),
        "siamfc": ("backbone", "head"),
    }
    leaves = {leaf: value for leaf, value in flatten_dict(trees).items() if leaf[1] in parts[layout]}

    naming: Naming = "torchvision" if layout == "torchvision" else "vfs"
    state = {}
    names = _torch_names(leaves, depth, "vfs", naming, "" if layout == "torchvision" else "backbone.")
    for leaf, name in names.items():
        state[name] = torch.from_numpy(np.array(_torch_order(np.asarray(leaves[leaf])), np.float32, order="C"))
        if name.endswith(".running_var"):
            state[f"{name.removesuffix('running_var')}num_batches_tracked"] = torch.tensor(0, dtype=torch.int64)
    if "img_head.predictor_fcs.0.weight" in state:
        state["iteration"] = torch.tensor(0.0)  # a counter that the release's tracker module keeps
    _write(torch, state if layout == "torchvision" else {"state_dict": state, "meta": {}}, Path(path))


def part_of(path: str | os.PathLike[str]) -> Part:
    """Return which part `load_torch` can read whole: "vfs" or "siamfc" where the file has such heads, else "backbone".

    Raises:
        InputError: as `load_torch` does for a file that is not readable.
    """
    names = _read_state(path)
    if any(name.startswith("img_head.") for name in names):
        return "vfs"
    return "siamfc" if any(name.startswith(tuple(_SIAMFC_MODULES.values())) for name in names) else "backbone"


def _describe(depth: int, part: Part) -> str:
    heads = {"backbone": "", "vfs": " with VFS heads", "siamfc": " with a SiamFC head"}
    return f"ResNet-{depth}{heads[part]}"


def _import_torch(path: str | os.PathLike[str]) -> Any:
    try:
        import torch
    except ImportError:
        raise InputError(f"{path}: .pth files need PyTorch; pip install 'vfs_jax[torch]'") from None
    return torch


def _read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the tensors of a file as numpy arrays, under their names less a common "module."."""
    torch = _import_torch(path)
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    scalar = np.float64(0).__reduce__()[0]
    # numpy 2 moved the scalar's module; files written before name the old one.
    allowed = [np.dtype, np.dtypes.Float64DType, scalar, (scalar, "numpy.core.multiarray.scalar")]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if asked := re.search(r"(?:GLOBAL|class) (\S+)", str(error)):
            raise InputError(
                f"{path}: refused, since reading it would run code ({asked[1]}); "
                "save its state_dict alone with the program that wrote it"
            ) from None
        raise _unreadable(path, error) from None
    except Exception as error:  # a torn or foreign file fails in any way at all
        raise _unreadable(path, error) from None

    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise InputError(
            f"{path}: holds no state_dict (named tensors); save one with torch.save(model.state_dict(), ...)"
        )
    prefix = "module." if all(name.startswith("module.") for name in content) else ""
    return {
        name.removeprefix(prefix): _to_numpy(value) if isinstance(value, torch.Tensor) else value
        for name, value in content.items()
    }


def _to_numpy(tensor: Any) -> Any:
    """Return a NumPy array, float32 for any floating type; a tensor that holds no plain numbers stays."""
    if tensor.device.type != "cpu" or tensor.is_sparse or tensor.is_quantized:
        return tensor
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()


def _unreadable(path: str | os.PathLike[str], error: Exception) -> InputError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return InputError(f"{path}: is no whole PyTorch checkpoint ({reason}); download or write it again")


def _write(torch: Any, content: Mapping[str, Any], path: Path) -> None:
    """Write through a temporary file, so that what stands at `path` is always whole."""
    buffer = io.BytesIO()  # written to a path, torch would put the file's name inside
    torch.save(content, buffer)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(buffer.getbuffer())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _recognize(path: str | os.PathLike[str], state: Mapping[str, Any]) -> tuple[_Family, Naming, int]:
    """Return the family, naming and depth whose backbone's names fit a file's best."""

    def misfits(family: _Family, naming: Naming, depth: int) -> int:
        expected = {f"{family.backbone}{name}.weight" for name in _backbone_modules(depth, naming).values()}
        found = {name for name in state if name.endswith(".weight") and name.startswith(family.backbone)}
        return len(expected - found) - len(expected & found) + len(found - expected)

    candidates: list[tuple[_Family, Naming, int]] = [
        (family, naming, depth) for family in _FAMILIES for naming in ("vfs", "torchvision") for depth in BLOCKS
    ]
    best = min(candidates, key=lambda candidate: misfits(*candidate))
    if not any(f"{best[0].backbone}{name}.weight" in state for name in _backbone_modules(best[2], best[1]).values()):
        names = ", ".join(list(state)[:5]) or "none"
        raise InputError(f"{path}: holds no ResNet of a known layout (its first names: {names}); choose another file")
    return best


def _backbone_modules(depth: int, naming: Naming) -> dict[TreePath, str]:
    """Return the path of a module in ResNet's variables -> torch's name for it."""

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


def _torch_names(
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


def _torch_order(array: np.ndarray) -> np.ndarray:
    """[h, w, in, out] to torch's [out, in, h, w] and [in, out] to [out, in]; vectors stay."""
    return array.transpose((3, 2, 0, 1) if array.ndim == 4 else None)


def _flax_order(array: np.ndarray) -> np.ndarray:
    """Return the inverse of `_torch_order`."""
    return array.transpose((2, 3, 1, 0) if array.ndim == 4 else None)


def _template(depth: int, part: Part) -> dict[TreePath, jax.ShapeDtypeStruct]:
    """Return the path -> shape of every leaf of the variables of a part."""
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
