"""Other people's names for the tensors of a vision transformer, and which one their shapes make it."""

import math
import os
import re
from collections.abc import Iterable, Mapping

import numpy as np
from flax.traverse_util import flatten_dict

from vfs_jax.errors import InputError
from vfs_jax.models.position_codes import Positions, rotary_periods
from vfs_jax.models.vit import ViT
from vfs_jax.models.weights.architectures import name_of_vit
from vfs_jax.models.weights.fitting import file_order

# Ways to say the same, rewritten one after the other until names are those of the official files (DINO's, DINOv2's,
# DINOv3's and MAE's agree), but for "q", "k" and "v" where these are apart.
_RENAMES = (
    # Hugging Face's transformers
    (r"^(vit|dinov2|dinov2_with_registers|dinov3_vit)\.", ""),
    (r"^encoder\.layer\.", "layer."),
    (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.", ""),
    (r"^layernorm\.", "norm."),
    (r"^layer\.(\d+)\.", r"blocks.\1."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.attention\.(q|k|v)(uery|ey|alue)\.", r".attn.\1."),
    (r"\.attention\.(q|k|v)_proj\.", r".attn.\1."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.weights_out\.", ".mlp.w3."),
    (r"\.mlp\.gate_proj\.", ".mlp.w1."),
    (r"\.mlp\.up_proj\.", ".mlp.w2."),
    (r"\.mlp\.down_proj\.", ".mlp.w3."),
    # timm
    (r"\.attn\.(q|k|v)_proj\.", r".attn.\1."),
    (r"\.attn\.(q|v)_bias$", r".attn.\1.bias"),
    (r"\.gamma_(\d)$", r".ls\1.gamma"),
    (r"\.mlp\.fc1_g\.", ".mlp.w1."),
    (r"\.mlp\.fc1_x\.", ".mlp.w2."),
    (r"^reg_token$", "register_tokens"),
    # DINOv3
    (r"^storage_tokens$", "register_tokens"),
    (r"^rope_embed\.periods$", "periods"),
    # DINOv2's training code keeps blocks in chunks: blocks.CHUNK.BLOCK, where BLOCK counts through all of them.
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),
    # One name for the layers of all feed-forward networks.
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)

# What such files hold besides: heads, decoders, and what only training masks or normalizes with.
OTHERS = (
    "head",
    "fc.",
    "classifier.",
    "pooler.",
    "mask_token",
    "masked_embed",
    "decoder",
    "to_posterior.",
    "to_prior.",
    "local_cls_norm.",
    "dino_head.",
    "ibot_head.",
    "projectors.",
    "momentum_encoder.",
    "predictor.",
)

# Names that MAE's and its kin's files have beside the encoder's, or before it.
OF_MAE = ("decoder", "to_posterior.", "vit.")

# Our leaves -> official names.
_TOP = {
    "patch_kernel": "patch_embed.proj.weight",
    "patch_bias": "patch_embed.proj.bias",
    "class_token": "cls_token",
    "position_embedding": "pos_embed",
    "register_tokens": "register_tokens",
    "periods": "periods",
}
_BLOCK = {
    "norm1": "norm1",
    "qkv": "attn.qkv",
    "proj": "attn.proj",
    "scale1": "ls1.gamma",
    "norm2": "norm2",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
    "scale2": "ls2.gamma",
}
_KINDS = {"kernel": "weight", "scale": "weight", "bias": "bias"}


def official_name(leaf: tuple[str, ...]) -> str:
    """Return the official name of a leaf of our parameters, queries, keys and values in one.

    >>> official_name(("block_3", "qkv", "kernel")), official_name(("norm", "scale"))
    ('blocks.3.attn.qkv.weight', 'norm.weight')
    """
    if leaf[0] in _TOP:
        return _TOP[leaf[0]]
    *module, last = leaf
    if module[0] == "norm":
        return f"norm.{_KINDS[last]}"
    block = f"blocks.{module[0].removeprefix('block_')}"
    return f"{block}.{_BLOCK[last]}" if len(leaf) == 2 else f"{block}.{_BLOCK[module[1]]}.{_KINDS[last]}"


def is_vit(names: Iterable[str]) -> bool:
    """Tell whether a file with these names holds a vision transformer."""
    return any(_rename(name) == "patch_embed.proj.weight" for name in names)


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def rename(state: Iterable[str]) -> dict[str, str]:
    """Return the official name of each name in a file; an "up_proj" without a gate beside it is the first layer."""
    renamed = {name: _rename(name) for name in state}
    gated = {new.rsplit("w1.", 1)[0] for new in renamed.values() if ".mlp.w1." in new}
    return {
        name: new if new.split("w2.")[0] in gated else new.replace(".mlp.w2.", ".mlp.fc1.")
        for name, new in renamed.items()
    }


def join(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Join what files keep apart: queries, keys and values, a gate and what it gates; keys' masked bias becomes 0.

    Args:
        state: arrays under official names (see `rename`).

    Returns:
        Arrays under the names of `official_name`; what cannot be joined stays under its own.
    """
    joined = dict(state)
    for block in {name.rsplit(".attn.", 1)[0] for name in state if ".attn." in name}:
        attention = f"{block}.attn"
        for kind in ("weight", "bias"):
            parts = [joined.get(f"{attention}.{part}.{kind}") for part in "qkv"]
            if kind == "bias" and parts[1] is None and parts[2] is not None:
                parts[1] = np.zeros_like(parts[2])
            found = [part for part in parts if part is not None]
            if len(found) == 3:
                joined = {n: a for n, a in joined.items() if n not in {f"{attention}.{part}.{kind}" for part in "qkv"}}
                joined[f"{attention}.qkv.{kind}"] = np.concatenate(found)
        mask, bias = joined.get(f"{attention}.qkv.bias_mask"), joined.get(f"{attention}.qkv.bias")
        if mask is not None and bias is not None and mask.shape == bias.shape:
            joined[f"{attention}.qkv.bias"] = np.where(mask == 0, np.zeros_like(bias), bias * mask)
            del joined[f"{attention}.qkv.bias_mask"]
    for name in [name for name in joined if ".mlp.w1." in name]:
        other, whole = name.replace(".w1.", ".w2."), name.replace(".w1.", ".fc1.")
        if other in joined:
            joined[whole] = np.concatenate([joined.pop(name), joined.pop(other)])
    embedding = joined.get("pos_embed")
    if embedding is not None and embedding.ndim == 3 and math.isqrt(embedding.shape[1]) ** 2 == embedding.shape[1]:
        # timm's models with registers have no position for the class token.
        joined["pos_embed"] = np.concatenate([np.zeros_like(embedding[:, :1]), embedding], axis=1)
    return joined


def network_of(
    path: str | os.PathLike[str], state: Mapping[str, np.ndarray], *, is_mae: bool, is_classifier: bool
) -> ViT:
    """Build the network that tensors belong to, by their shapes.

    Heads cannot be told from shapes: they are those of the published network of these sizes, else of 64 channels.

    Args:
        path: the file, for messages.
        state: arrays under the names of `official_name`.
        is_mae: whether the file has marks of MAE's: its tensors alone are named as DINO's.
        is_classifier: whether there is a classifier: then it is one of timm's plain ones.

    Raises:
        InputError: the patches' kernel is that of no ViT.
    """
    kernel = state["patch_embed.proj.weight"]
    if kernel.ndim != 4 or kernel.shape[1] != 3 or kernel.shape[2] != kernel.shape[3] or kernel.shape[0] % 2:
        shape = list(kernel.shape)
        raise InputError(f"{path}: is no ViT of a known kind (patch_embed.proj.weight is {shape}); choose another file")
    width, patch = kernel.shape[0], kernel.shape[-1]
    depth = 1 + max((int(name.split(".")[1]) for name in state if re.match(r"blocks\.\d+\.", name)), default=-1)
    fc1, fc2 = (state.get(f"blocks.0.mlp.{layer}.weight", np.empty((0, 0))).shape for layer in ("fc1", "fc2"))
    registers = state["register_tokens"].shape[1] if "register_tokens" in state else 0
    layer_scale = "blocks.0.ls1.gamma" in state
    embedding = state.get("pos_embed")
    positions: Positions = "rotary" if embedding is None else "antialiased" if registers or is_classifier else "offset"
    if embedding is None:
        family = "dinov3"
    elif is_classifier:
        family = "vit"
    else:
        family = "dinov2" if layer_scale else "mae" if is_mae else "dino"
    network = ViT(
        patch=patch,
        width=width,
        depth=depth,
        heads=max(width // 64, 2),  # no published network has a single head
        hidden=fc2[-1],
        gated=fc1[0] == 2 * fc2[-1],
        layer_scale=layer_scale,
        registers=registers,
        positions=positions,
        grid=14 if embedding is None else math.isqrt(embedding.shape[1] - 1),
        qkv_bias="blocks.0.attn.qkv.bias" in state,
        epsilon=1e-5 if embedding is None else 1e-6,
        family=family,
    )
    if "periods" in state:
        network = network.clone(heads=max(width // (4 * len(state["periods"])), 1))
    return name_of_vit(network)


def missing_periods(network: ViT) -> np.ndarray:
    """Return the periods of a file that has none, as transformers and timm compute them: exact ones in float32.

    The official files hold them rounded to bfloat16, so that features differ by 4e-3 of their standard deviation.
    """
    return rotary_periods(network.width // network.heads)


def official_tensors(params: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Return the tensors of an official file for the parameters of a ViT, float32.

    A gated first layer is written as one, as DINOv2 has it; DINOv3's has its two halves and the mask of the keys' bias.
    """
    leaves = flatten_dict(params)
    is_rotary = ("periods",) in leaves
    tensors = {
        official_name(leaf): np.array(file_order(leaf, np.asarray(value)), np.float32, order="C")
        for leaf, value in leaves.items()
    }
    hidden = {name: array.shape[-1] for name, array in tensors.items() if name.endswith(".mlp.fc2.weight")}
    official: dict[str, np.ndarray] = {}
    for name, array in tensors.items():
        block, _, kind = name.partition(".mlp.fc")
        is_gated = kind and len(tensors[f"{block}.mlp.fc1.weight"]) == 2 * hidden[f"{block}.mlp.fc2.weight"]
        if not is_gated:
            official[name] = array
        elif kind.startswith("2"):
            official[name.replace(".fc2.", ".w3.")] = array
        elif is_rotary:
            for part, half in zip(("w1", "w2"), np.split(array, 2), strict=True):
                official[name.replace("fc1", part)] = half
        else:
            official[name.replace(".fc1.", ".w12.")] = array
    if is_rotary:
        official["rope_embed.periods"] = official.pop("periods")
        if "register_tokens" in official:
            official["storage_tokens"] = official.pop("register_tokens")
        for name in [name for name in official if name.endswith(".attn.qkv.bias")]:
            official[f"{name}_mask"] = np.repeat(np.array([1, 0, 1], np.float32), len(official[name]) // 3)
    return official
