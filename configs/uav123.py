"""UAV123: follow the first frame's box with SiamFC on frozen res5 features, tracked as on OTB (see otb.py).

  vfs-eval-tracker --config=configs/uav123.py --workdir=runs/uav123 --config.data=UAV123 --config.weights=runs/siamfc

DATA: data_seq/UAV123/FOLDER/000001.jpg, anno/UAV123/NAME.txt and configSeqs.m.
OTB's measures over the annotated frames. VFS published none.

Variants, comma-separated: r18, r50, smoke (three frames).
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common

VARIANTS = common.TRACKING


def get_config(variants: str = "") -> ConfigDict:
    """Return the release's settings, changed by the variants."""
    config = common.tracking("uav123")
    config.data = "data/UAV123"
    config.split = "UAV123"  # UAV123 or UAV20L
    return common.vary(config, variants, VARIANTS)
