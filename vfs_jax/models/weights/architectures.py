"""The published networks by name: what `random:SEED:NAME` makes, and what files are called in reports."""

from vfs_jax.models.resnet import BLOCKS, ResNet
from vfs_jax.models.vit import ViT

# width, depth, heads
_SIZES = {"vits": (384, 12, 6), "vitb": (768, 12, 12), "vitl": (1024, 24, 16)}


def _vits() -> dict[str, ViT]:
    vits = {}
    for name in ("vits16", "vits8", "vitb16", "vitb8"):
        width, depth, heads = _SIZES[name[:4]]
        patch = int(name[4:])
        vits[f"dino_{name}"] = ViT(patch, width, depth, heads, 4 * width, grid=224 // patch)
    for name, patch, (width, depth, heads) in (
        ("vitb16", 16, _SIZES["vitb"]),
        ("vitl16", 16, _SIZES["vitl"]),
        ("vith14", 14, (1280, 32, 16)),
    ):
        vits[f"mae_{name}"] = ViT(patch, width, depth, heads, 4 * width, grid=224 // patch, family="mae")
    for name, patch, (width, depth, heads) in (
        ("vitt16", 16, (192, 12, 3)),
        ("vits16", 16, _SIZES["vits"]),
        ("vitb16", 16, _SIZES["vitb"]),
        ("vitb8", 8, _SIZES["vitb"]),
        ("vitl16", 16, _SIZES["vitl"]),
        ("vith14", 14, (1280, 32, 16)),
    ):
        vits[name] = ViT(
            patch, width, depth, heads, 4 * width, positions="antialiased", grid=224 // patch, family="vit"
        )
    for name, (width, depth, heads) in {**_SIZES, "vitg": (1536, 40, 24)}.items():
        gated = name == "vitg"
        plain = ViT(
            14, width, depth, heads, 4096 if gated else 4 * width, gated, layer_scale=True, grid=37, family="dinov2"
        )
        vits[f"dinov2_{name}14"] = plain
        vits[f"dinov2_{name}14_reg"] = plain.clone(registers=4, positions="antialiased")
    for name, (width, depth, heads), hidden, gated in (
        ("vits16", _SIZES["vits"], 1536, False),
        ("vits16plus", _SIZES["vits"], 1536, True),
        ("vitb16", _SIZES["vitb"], 3072, False),
        ("vitl16", _SIZES["vitl"], 4096, False),
        ("vitl16plus", _SIZES["vitl"], 4096, True),
        ("vith16plus", (1280, 32, 20), 5120, True),
        ("vit7b16", (4096, 40, 32), 8192, True),
    ):
        vits[f"dinov3_{name}"] = ViT(
            *(16, width, depth, heads, hidden, gated),
            layer_scale=True,
            registers=4,
            positions="rotary",
            qkv_bias=name != "vit7b16",
            epsilon=1e-5,
            family="dinov3",
        )
    return vits


def resnet_of(family: str, depth: int, stride: int = 8) -> ResNet:
    """Return a ResNet with its name.

    Args:
        family: "resnet", "crw" (reflection padding, stride 8, no last stage) or "spa_then_temp" (no or mean pooling, no
            last stage, Lab).
        depth: of it.
        stride: of Spa-then-Temp's third stage, 8 or 4.

    Example:
        >>> resnet_of("crw", 18).stride_of("res4"), resnet_of("spa_then_temp", 18, stride=4).stride_of("res4")
        (8, 4)
    """
    if family == "crw":
        return ResNet(
            depth, (1, 2, 1, 1), outputs=("res4",), stages=3, reflect=True, family=family, name=f"crw_resnet{depth}"
        )
    if family == "spa_then_temp":
        return ResNet(
            depth,
            (1, 2, 2, 1) if stride == 8 else (1, 1, 1, 1),
            outputs=("res4",),
            stages=3,
            pooling="none" if stride == 8 else "mean",
            color="lab",
            family=family,
            name=f"spa_then_temp_resnet{depth}_d{stride}",
        )
    return ResNet(depth, name=f"resnet{depth}")


_RESNETS = (
    *(resnet_of("resnet", depth) for depth in BLOCKS),
    *(resnet_of("crw", depth) for depth in (18, 50)),
    *(resnet_of("spa_then_temp", depth, stride) for depth in (18, 50) for stride in (8, 4)),
)

NETWORKS: dict[str, ResNet | ViT] = {
    **{str(network.name): network for network in _RESNETS},
    **{name: network.clone(name=name) for name, network in _vits().items()},
}


def name_of_vit(network: ViT) -> ViT:
    """Return a network with its name and the heads of the published one of its sizes, else a name of its sizes.

    Example:
        >>> name_of_vit(ViT(8, grid=28)).name, name_of_vit(ViT(depth=3)).name
        ('dino_vits8', 'dino_384x3_16')
    """
    for name, known in NETWORKS.items():
        if isinstance(known, ViT) and _sizes(known) == _sizes(network):
            return network.clone(name=name, heads=known.heads)
    return network.clone(name=f"{network.family}_{network.width}x{network.depth}_{network.patch}")


def _sizes(network: ViT) -> tuple[object, ...]:
    return (
        network.family,
        network.patch,
        network.width,
        network.depth,
        network.hidden,
        network.gated,
        network.registers,
    )
