"""Weights of every kind, named by one string: a training folder, a checkpoint in it, a file of weights, random:SEED."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vfs_jax.errors import InputError
from vfs_jax.models.resnet import BLOCKS, ResNet, Variables, depth_of
from vfs_jax.models.vfs import backbone_of, init_variables, nest_backbone
from vfs_jax.models.vit import ViT
from vfs_jax.models.weights.architectures import NETWORKS, resnet_of
from vfs_jax.models.weights.files import SUFFIXES
from vfs_jax.models.weights.load import Network, load_whole

About = Mapping[str, str | int | bool | None]  # what weights are: see `resolve`


@dataclasses.dataclass(frozen=True)
class NamedWeights:
    """Weights with the name of their runs.

    Attributes:
        name: short, fit for a folder.
        source: the string that named them.
        network: that they belong to.
        variables: as `resolve` or `resolve_tracker` gives them.
        about: what they are, likewise.
    """

    name: str
    source: str
    network: Network
    variables: Variables
    about: About


def resolve(weights: str, depth: int = 18) -> tuple[Network, Variables, About]:
    """Load a backbone.

    Args:
        weights: a folder that vfs-train wrote (its newest checkpoint), one checkpoint in it, a file of weights (see
            `load_weights`; "NAME:FILE" says which of `NETWORKS` it is), "random:SEED" for a ResNet, or
            "random:SEED:NAME" for any of `NETWORKS`.
        depth: of the ResNet of "random:SEED"; all others tell what they are.

    Returns:
        The network, its variables, and what they are: "weights" as given, "kind", "network", "step" (None but for
        checkpoints) and "sha256" over names and numbers, the same for the same numbers wherever they come from.

    Raises:
        InputError: there are no such weights, or they cannot be read.

    Example:
        >>> network, variables, about = resolve("random:0")
        >>> network.name, about["kind"], about["sha256"] == checksum(variables)
        ('resnet18', 'random', True)
    """
    network, whole, about = _read(weights, depth, heads=False)
    variables = backbone_of(whole) if isinstance(network, ResNet) else whole
    return network, variables, {**about, "sha256": checksum(variables)}


def resolve_tracker(weights: str, depth: int = 18) -> tuple[ResNet, Variables, About]:
    """Load a ResNet with the tracking head where there is one.

    Args:
        weights: as for `resolve`; a folder that vfs-train-tracker wrote and a file of the release's tracker hold a
            head, all others the backbone alone.
        depth: of the ResNet of "random:SEED".

    Returns:
        The ResNet, {"backbone": ..., "head": ...} in "params" ("head" where there is one) and {"backbone": ...} in
        "batch_stats", and what they are, as `resolve` tells it, with "head" true or false.

    Raises:
        InputError: as `resolve` does, or they are no ResNet's.
    """
    network, whole, about = _read(weights, depth, heads=True)
    resnet = only_resnet(weights, network)
    backbone = backbone_of(whole)
    variables = nest_backbone(backbone)
    head = whole["params"].get("head")
    if head is not None:
        variables["params"]["head"] = head
    # Of a backbone alone it is the checksum that `resolve` gives.
    total = checksum(backbone if head is None else variables)
    return resnet, variables, {**about, "sha256": total, "head": head is not None}


def only_resnet(weights: str, network: Network) -> ResNet:
    """Return the network where it is a ResNet as VFS trains it, which box tracking needs; else raise InputError."""
    if not isinstance(network, ResNet) or network.family != "resnet":
        raise InputError(f"{weights}: holds {network.name}; boxes are tracked by the ResNets that VFS trains")
    return network


def resolve_several(weights: str, depth: int = 18, *, heads: bool = False) -> list[NamedWeights]:
    """Load comma-separated weights.

    Args:
        weights: each as `resolve` takes them.
        depth: of the ResNets of "random:SEED".
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
        path = Path(each.partition(":")[2] if each.partition(":")[0] in NETWORKS else each)
        if each.startswith("random:"):
            name = each.replace(":", "-")
        elif path.suffix in (*SUFFIXES, ".tar"):
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


def _read(weights: str, depth: int, *, heads: bool) -> tuple[Network, Variables, dict[str, str | int | None]]:
    """Read what there is once: the network, variables with whatever heads they have, and what they are."""
    name, step = weights.partition(":")[0] if weights.partition(":")[0] in NETWORKS else None, None
    path = Path(weights.removeprefix(f"{name}:"))
    network: Network
    if weights.startswith("random:"):
        kind = "random"
        network, variables = _draw(weights, depth)
    elif path.is_dir():
        # Imported here: checkpoints bring Orbax along, which random weights and files need not wait for.
        from vfs_jax.models.weights.checkpoints import checkpoint_folder, load_variables

        folder = checkpoint_folder(path)
        kind, step, variables = "checkpoint", int(folder.name), load_variables(folder)
        network = resnet_of("resnet", depth_of(variables))
    elif path.is_file():
        network, variables = load_whole(path, heads=["siamfc"] if heads else [], name=name)
        kind = "safetensors" if path.suffix == ".safetensors" else "torch"
    else:
        raise InputError(
            f"{weights}: no such weights; give a training folder, a .pth or .safetensors file or random:SEED"
        )
    if isinstance(network, ResNet):
        variables = nest_backbone(variables)
    return network, variables, {"weights": weights, "kind": kind, "network": network.name, "step": step}


def _draw(weights: str, depth: int) -> tuple[Network, Variables]:
    """Draw the random weights of "random:SEED" or "random:SEED:NAME"."""
    _, _, rest = weights.partition(":")
    seed, _, name = rest.partition(":")
    if not seed.isdecimal():
        raise InputError(f"{weights}: {seed!r} is no seed; write random:0")
    if not name and depth not in BLOCKS:
        raise InputError(f"depth={depth}: there is no such ResNet; choose among {', '.join(map(str, BLOCKS))}")
    name = name or f"resnet{depth}"
    if name not in NETWORKS:
        raise InputError(f"{weights}: there is no network {name!r}; choose among {', '.join(NETWORKS)}")
    network = NETWORKS[name]
    if isinstance(network, ResNet) and network.family == "resnet":
        return network, init_variables(int(seed), network.depth)
    # These random numbers compile in a fraction of the time that the usual ones take for hundreds of tensors.
    return network, dict(_init(network, jax.random.key(int(seed), impl="rbg")))


@functools.partial(jax.jit, static_argnums=0)
def _init(network: Network, key: jax.Array) -> Variables:
    # Under jit the forward pass falls away.
    side = network.patch if isinstance(network, ViT) else 32
    return dict(network.init(key, jnp.zeros((1, side, side, 3), jnp.float32)))
