"""JHMDB: propagate Gaussians around a person's joints, read the joints off as peaks.

  vfs-eval --config=configs/jhmdb.py --workdir=runs/jhmdb --config.data=JHMDB --config.weights=vfs_r18.pth

DATA holds Rename_Images, joint_positions and splits. The release's configuration was never published; protocol vfs has
the settings of the closest published ones (CRW, Spa-then-Temp): 320x320, radius 5, 10 keys of 20 frames, temperature
0.07. Other protocols: crw, cropmae, spa_then_temp.
Published, PCK@0.1 / @0.2: ResNet-18 60.5 / 79.5, ResNet-50 60.9 / 80.7 (VFS).

Variants, comma-separated: r18, r50 (depth), smoke (three frames, half the size).
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common

VARIANTS = {**common.DEPTHS, "smoke": {"short_side": 160, "max_frames": 3}}


def get_config(variants: str = "") -> ConfigDict:
    """Return the settings, changed by the variants."""
    config = common.propagation("jhmdb")
    config.data = "data/JHMDB"
    config.split = "1"
    config.published = (
        ("VFS ResNet-18 (paper, figure not checked)", (60.5, 79.5, None, None, None)),
        ("VFS ResNet-50 (paper, figure not checked)", (60.9, 80.7, None, None, None)),
    )
    return common.vary(config, variants, VARIANTS)
