"""Files of weights into networks: which one a file holds is read from its tensors."""

import logging
import os
from collections.abc import Collection, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from vfs_jax.errors import InputError
from vfs_jax.models.heads import SiamFCHead
from vfs_jax.models.resnet import ResNet, Variables, feature_width
from vfs_jax.models.vfs import VFS
from vfs_jax.models.vit import ViT
from vfs_jax.models.weights import vit_names
from vfs_jax.models.weights.architectures import NETWORKS, resnet_of
from vfs_jax.models.weights.files import is_tensor, to_array
from vfs_jax.models.weights.fitting import TreePath, file_shape, fit
from vfs_jax.models.weights.names import Part, Recognized, part_of, recognize, rename_resnet, tensor_names
from vfs_jax.models.weights.states import State, read_state

_log = logging.getLogger(__name__)

Network = ResNet | ViT


def load_weights(
    path: str | os.PathLike[str], part: Literal["backbone", "vfs"] = "backbone", *, name: str | None = None
) -> tuple[Network | VFS, Variables]:
    """Read a file of weights, strictly, as the network that its tensors make.

    Known by the names of their tensors are, in .pth and .safetensors files: the vision transformers DINO, DINOv2 (with
    and without registers), DINOv3, MAE (and CropMAE, RSP) and timm's plain ones, under official names, timm's and
    those of Hugging Face's transformers; ResNets of VFS (and of SiamFC on top of it), torchvision, MoCo v2 and v3,
    SimSiam, DINO, SwAV, Barlow Twins, DenseCL and PixPro; the networks of CRW and Spa-then-Temp. Family, size, patch
    and native grid are read from the tensors. Wrappers ("module.", "_orig_mod.", "backbone.", "model.", "encoder.",
    "base_encoder.") are peeled off; of a teacher and a student the teacher is taken, with a logged note, as about
    tensors of heads, decoders, queues and momentum encoders, which are left out.

    What tensors cannot tell, `name` can. Without it a ResNet that has no last stage is CRW's under torchvision's names,
    else Spa-then-Temp's at stride 8 (as is one beside its teacher "backbone_t"); with a last stage it is an ordinary
    one. MAE's tensors are named as DINO's: a ViT is called MAE's where the file says "model" or holds a decoder; it is
    one of timm's plain ones, with their way to resample positions, where it has a classifier. Heads are those of the
    published network of its sizes, else of 64 channels each. DINOv3's periods are taken as the file has them, else
    computed in float32, as transformers and timm do.

    Args:
        path: the file. Nothing in it is run: objects of any class beside the tensors are passed over.
        part: "backbone" for a `ViT` or `ResNet` with its variables, "vfs" for `VFS` with projector and predictor.
        name: which network it is, one of `vfs_jax.models.weights.architectures.NETWORKS`.

    Returns:
        The network, whose fields can be changed by `network.clone(outputs=..., dtype=...)`, and its variables, float32
        NumPy arrays, bit for bit those of the file.

    Raises:
        InputError: the file is missing, torn, no file of weights (it says what it is), or names something that would
            run; or its tensors do not fit: the message names every missing, unexpected, misshapen and not finite one.

    Example:
        >>> from vfs_jax.models import init_variables, save_torch
        >>> folder = getfixture("tmp_path")
        >>> save_torch(init_variables(seed=0, depth=18), folder / "r18.safetensors", layout="torchvision")
        >>> network, variables = load_weights(folder / "r18.safetensors")
        >>> network.name, sorted(variables["params"])[:4]
        ('resnet18', ['bn1', 'conv1', 'res2_0', 'res2_1'])
    """
    if part not in ("backbone", "vfs"):
        raise ValueError(f'part is "backbone" or "vfs", not {part!r}')
    state, keys = read_state(path)
    return _load(path, state, keys, part, name)


def load_torch(path: str | os.PathLike[str], part: Part = "backbone") -> Variables:
    """Read the variables of a file of weights, strictly; `load_weights` tells the network too.

    Args:
        path: a .pth or .safetensors file of one of the networks that `load_weights` knows.
        part: "backbone", "vfs" for the variables of `VFS`, "siamfc" for {"backbone": those of ResNet, "head": those of
            SiamFCHead}.

    Returns:
        {"params": ..., "batch_stats": ...} of float32 numpy arrays, bit for bit those of the file.

    Raises:
        InputError: as `load_weights` does.

    Example:
        >>> from vfs_jax.models import init_variables, save_torch
        >>> folder = getfixture("tmp_path")
        >>> save_torch(init_variables(seed=0, depth=18), folder / "r18.pth", layout="torchvision")
        >>> sorted(load_torch(folder / "r18.pth")["params"])[:4]
        ['bn1', 'conv1', 'res2_0', 'res2_1']
    """
    if part not in ("backbone", "vfs", "siamfc"):
        raise ValueError(f'part is "backbone", "vfs" or "siamfc", not {part!r}')
    state, keys = read_state(path)
    return _load(path, state, keys, part)[1]


def load_whole(
    path: str | os.PathLike[str], heads: Collection[Part] = ("vfs", "siamfc"), *, name: str | None = None
) -> tuple[Network, Variables]:
    """Read what a file of weights holds, backbone and heads, in one go.

    Args:
        path: the file.
        heads: parts whose heads are read where there are any; others are left out.
        name: which network it is, where its tensors cannot tell.

    Returns:
        The network of the backbone, and the variables of the largest part that the file has of these, as `load_torch`
        gives them, or of the backbone.

    Raises:
        InputError: as `load_weights` does.
    """
    state, keys = read_state(path)
    part = part_of(state)
    network, variables = _load(path, state, keys, part if part in heads else "backbone", name)
    return (ResNet(network.depth, name=f"resnet{network.depth}") if isinstance(network, VFS) else network), variables


def _load(
    path: str | os.PathLike[str], state: State, keys: Collection[str], part: Part, name: str | None = None
) -> tuple[Network | VFS, Variables]:
    network = None
    if name is not None:
        if name not in NETWORKS:
            raise InputError(f"{path}: there is no network {name!r}; choose among {', '.join(NETWORKS)}")
        network = NETWORKS[name]
    if isinstance(network, ResNet if vit_names.is_vit(state) else ViT):
        raise InputError(f"{path}: does not hold a {name}, as its tensors tell; name another network")
    if vit_names.is_vit(state):
        if part != "backbone":
            raise InputError(f"{path}: holds a vision transformer, which has no heads; take its backbone")
        return _load_vit(path, state, keys, network if isinstance(network, ViT) else None)
    return _load_resnet(path, state, part, network if isinstance(network, ResNet) else None)


def _load_vit(
    path: str | os.PathLike[str], state: State, keys: Collection[str], network: ViT | None
) -> tuple[ViT, Variables]:
    names = vit_names.rename(state)
    written = {new: state[name][0] for name, new in names.items()}
    arrays = {new: to_array(path, *state[name]) for name, new in names.items() if not new.startswith(vit_names.OTHERS)}
    others: dict[str, object] = {new: None for new in names.values() if new.startswith(vit_names.OTHERS)}
    joined = vit_names.join({name: array for name, array in arrays.items() if isinstance(array, np.ndarray)})
    network = network or vit_names.network_of(
        path,
        joined,
        is_mae="model" in keys or any(name.startswith(vit_names.OF_MAE) for name in [*others, *written.values()]),
        is_classifier=any(name in ("head.weight", "classifier.weight") for name in others),
    )
    if network.positions == "rotary" and "periods" not in joined:
        joined["periods"] = vit_names.missing_periods(network)
    wanted = {
        leaf: (vit_names.official_name(leaf[1:]), file_shape(leaf, shape)) for leaf, shape in _template(network).items()
    }
    # Of what is no tensor only what stands in a tensor's place is told.
    no_tensors = {name: arrays[name] for name, _ in wanted.values() if name in arrays and name not in joined}
    variables = fit(
        path,
        f"the vision transformer {network.name}",
        wanted,
        {**no_tensors, **joined, **others},
        written=written,
        is_known=lambda name: name.startswith(vit_names.OTHERS),
    )
    if network.name not in NETWORKS:
        _log.warning(
            "%s: no published network has its sizes; tensors do not tell the heads, took %d of %d channels each",
            path,
            network.heads,
            network.width // network.heads,
        )
    return network, variables


def _load_resnet(
    path: str | os.PathLike[str], state: State, part: Part, network: ResNet | None
) -> tuple[ResNet | VFS, Variables]:
    arrays = {rename_resnet(name): value for name, (_, value) in state.items()}
    written = {rename_resnet(name): shown for name, (shown, _) in state.items()}
    found = recognize(path, arrays)
    is_known = network is not None
    network = network or _resnet(found, beside_teacher=any(name.startswith("backbone_t.") for name in arrays))
    found = found._replace(depth=network.depth)
    template = _template(network) if part == "backbone" else _template_with_heads(found.depth, part)
    names = tensor_names(template, found.depth, part, found.naming, found.prefix)
    wanted = {leaf: (names[leaf], file_shape(leaf, shape)) for leaf, shape in template.items()}
    counters = {"iteration", *(f"{name.removesuffix('running_var')}num_batches_tracked" for name in names.values())}
    used = set(names.values())
    heads = {"backbone": "", "vfs": " with VFS heads", "siamfc": " with a SiamFC head"}
    variables = fit(
        path,
        f"{_describe(network)}{heads[part]}",
        wanted,
        {
            name: to_array(path, written[name], value) if name in used else None
            for name, value in arrays.items()
            if name in used or is_tensor(value)
        },
        written=written,
        is_known=lambda name: found.is_other(name) or (network.stages == 3 and name.startswith("layer4.")),
        counters=tuple(counters),
    )
    if network.family == "spa_then_temp" and not is_known:
        _log.warning("%s: is one of Spa-then-Temp's, taken to be of stride 8: names do not tell it from stride 4", path)
    return (VFS(found.depth) if part == "vfs" else network), variables


def _resnet(found: Recognized, *, beside_teacher: bool) -> ResNet:
    """Return the network that names make: CRW's and Spa-then-Temp's have no last stage."""
    family = "resnet"
    if beside_teacher or (found.stages == 3 and found.naming == "vfs"):
        family = "spa_then_temp"
    elif found.stages == 3:
        family = "crw"
    return resnet_of(family, found.depth)


def _describe(network: ResNet) -> str:
    names = {"crw": "CRW's ", "spa_then_temp": "Spa-then-Temp's "}
    return f"{names.get(network.family, '')}ResNet-{network.depth}"


def _template(network: Network) -> dict[TreePath, tuple[int, ...]]:
    """Return the shape of every leaf of a network's variables, by its path."""
    side = network.patch if isinstance(network, ViT) else 32
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return _shapes(jax.eval_shape(network.init, jax.eval_shape(lambda: jax.random.key(0)), images))


def _template_with_heads(depth: int, part: Part) -> dict[TreePath, tuple[int, ...]]:
    key = jax.eval_shape(lambda: jax.random.key(0))
    if part == "vfs":
        views = jax.ShapeDtypeStruct((1, 2, 1, 32, 32, 3), jnp.float32)
        return _shapes(jax.eval_shape(VFS(depth).init, key, views))
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    trees = jax.eval_shape(ResNet(depth).init, key, images)
    cells = jax.ShapeDtypeStruct((1, 1, 1, feature_width(depth)), jnp.float32)
    head = jax.eval_shape(SiamFCHead(feature_width(depth)).init, key, cells, cells)
    return _shapes(
        {
            "params": {"backbone": trees["params"], "head": head["params"]},
            "batch_stats": {"backbone": trees["batch_stats"]},
        }
    )


def _shapes(tree: Mapping[str, object]) -> dict[TreePath, tuple[int, ...]]:
    return {leaf: array.shape for leaf, array in flatten_dict(tree).items()}
