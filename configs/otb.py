"""OTB: follow the first frame's box with SiamFC on frozen res5 features, as the release does (VFS section 4).

  vfs-eval-tracker --config=configs/otb.py --workdir=runs/otb --config.data=OTB --config.weights=runs/siamfc
  vfs-eval-tracker --config=configs/otb.py:r50,otb50 --workdir=runs/otb50_r50 --config.data=OTB --config.weights=r50.pth

DATA holds a folder a sequence: SEQUENCE/img/0001.jpg and SEQUENCE/groundtruth_rect.txt. WEIGHTS with a trained head are
a folder of vfs-train-tracker or a .pth of the release's tracker; without one the features themselves are correlated.
Published on OTB-100, precision / success: ResNet-18 70.0 / 52.3, ResNet-50 73.9 / 52.5 (the release's README).

Variants, comma-separated: r18, r50, otb50 (the harder half), smoke (three frames).
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common

VARIANTS = {**common.TRACKING, "otb50": {"split": "otb50", "published": ()}}


def get_config(variants: str = "") -> ConfigDict:
    """Return the release's settings, changed by the variants."""
    config = common.tracking("otb")
    config.data = "data/OTB"
    config.split = "otb100"
    # Of the toolkit's files, "anno/att"; give their folder as config.attributes.
    config.attribute_names = ("IV", "OPR", "SV", "OCC", "DEF", "MB", "FM", "IPR", "OV", "BC", "LR")
    # Success, precision, success rate.
    config.published = (
        ("VFS ResNet-18, OTB-100 (published)", (52.3, 70.0, None)),
        ("VFS ResNet-50, OTB-100 (published)", (52.5, 73.9, None)),
    )
    return common.vary(config, variants, VARIANTS)
