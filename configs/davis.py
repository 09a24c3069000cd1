"""DAVIS: propagate the first frame's mask through the video, as VFS section 4 does with res4 features.

  vfs-eval --config=configs/davis.py --workdir=runs/davis --config.data=DAVIS --config.weights=vfs_r18.pth
  vfs-eval --config=configs/davis.py:r50 --workdir=runs/davis_r50 --config.data=DAVIS --config.weights=vfs_r50.pth
  vfs-eval --config=configs/davis.py:r50,dino ...

DATA is a folder of the DAVIS 2017 layout (or DAVIS 2016, with --config.year=2016). Published on DAVIS-2017 val,
J&F / J / F: ResNet-18 66.7 / 64.0 / 69.5, ResNet-50 69.5 / 67.0 / 72.0 (the release's README).

Variants, comma-separated: r18, r50 (depth); crw, dino, dinov3, cropmae, rsp, spa_then_temp (the whole protocol of these
peers: input, first labels, propagation, output); smoke (three frames, a quarter of the size).
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common

PROTOCOLS = ("crw", "dino", "dinov3", "cropmae", "rsp", "spa_then_temp")
VARIANTS = {**common.PROPAGATION, **{name: {"protocol": name} for name in PROTOCOLS}}


def get_config(variants: str = "") -> ConfigDict:
    """Return the settings, changed by the variants."""
    config = common.propagation("davis")
    config.data = "data/DAVIS"
    config.split = "val"
    config.year = 2017
    # J&F, J mean, recall, decay, F mean, recall, decay.
    config.published = (
        ("VFS ResNet-18, DAVIS-2017 val (published)", (66.7, 64.0, None, None, 69.5, None, None)),
        ("VFS ResNet-50, DAVIS-2017 val (published)", (69.5, 67.0, None, None, 72.0, None, None)),
    )
    return common.vary(config, variants, VARIANTS)
