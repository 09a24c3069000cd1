"""YouTube-VOS: objects that enter at different frames; masks for the official server.

  vfs-eval --config=configs/youtube_vos.py --workdir=runs/ytvos --config.data=YTVOS --config.weights=vfs_r18.pth

DATA holds valid/JPEGImages, valid/Annotations and valid/meta.json. Propagation is as on DAVIS; the objects of one frame
are propagated together from their own first frame on. Masks of the frames in meta.json are written to
WORKDIR/masks/VIDEO/*.png; the score is the server's.

Variants, comma-separated: r18, r50 (depth), smoke (three frames, small).
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common

VARIANTS = common.PROPAGATION


def get_config(variants: str = "") -> ConfigDict:
    """Return the settings of DAVIS, changed by the variants."""
    config = common.propagation("youtube_vos")
    config.data = "data/YouTube-VOS"
    config.split = "valid"
    return common.vary(config, variants, VARIANTS)
