"""TAP-Vid: propagate a Gaussian around every query point; beyond the release, which does not track points.

  vfs-eval --config=configs/tapvid.py --workdir=runs/tapvid --config.data=tapvid_davis.pkl --config.weights=vfs_r18.pth

A point is queried at the first frame that shows it, its place is read off the map at 256x256, and it is taken to be
hidden where the map's highest value falls below a share of that at the query.

Variants, comma-separated: r18, r50 (depth), smoke (three frames, small).
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common

VARIANTS = common.PROPAGATION


def get_config(variants: str = "") -> ConfigDict:
    """Return the settings of DAVIS with points, changed by the variants."""
    config = common.propagation("tapvid")
    config.data = "data/tapvid_davis.pkl"
    config.occlusion_threshold = 0.5
    return common.vary(config, variants, VARIANTS)
