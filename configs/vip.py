"""VIP: propagate 20 classes of body parts and clothes, given in the first frame.

  vfs-eval --config=configs/vip.py --workdir=runs/vip --config.data=VIP --config.weights=vfs_r18.pth

DATA holds Images, Annotations/Category_ids and lists. Under protocol vfs frames are 560x560 as in the closest published
settings; the rest is as on DAVIS. Other protocols: cropmae, spa_then_temp. Published, mIoU: ResNet-18 39.9, ResNet-50
43.2 (VFS).

Variants, comma-separated: r18, r50 (depth), smoke (three frames, small).
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common

VARIANTS = {**common.PROPAGATION, "smoke": {"short_side": 160, "max_frames": 3}}


def get_config(variants: str = "") -> ConfigDict:
    """Return the settings, changed by the variants."""
    config = common.propagation("vip")
    config.data = "data/VIP"
    config.split = "val"
    config.published = (
        ("VFS ResNet-18 (paper, figure not checked)", (39.9,)),
        ("VFS ResNet-50 (paper, figure not checked)", (43.2,)),
    )
    return common.vary(config, variants, VARIANTS)
