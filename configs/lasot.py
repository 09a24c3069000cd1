"""LaSOT: follow the first frame's box with SiamFC on frozen res5 features, tracked as on OTB (see otb.py).

  vfs-eval-tracker --config=configs/lasot.py --workdir=runs/lasot --config.data=LaSOT --config.weights=runs/siamfc

DATA: CLASS/CLASS-N/img/00000001.jpg, groundtruth.txt, full_occlusion.txt, out_of_view.txt, and testing_set.txt.
OTB's measures over the frames in which the target is to be seen. VFS published none.

Variants, comma-separated: r18, r50, smoke (three frames).
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common

VARIANTS = common.TRACKING


def get_config(variants: str = "") -> ConfigDict:
    """Return the release's settings, changed by the variants."""
    config = common.tracking("lasot")
    config.data = "data/LaSOT"
    config.split = "test"  # test, train or all
    return common.vary(config, variants, VARIANTS)
