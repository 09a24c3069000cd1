"""GOT-10k: follow the first frame's box with SiamFC on frozen res5 features, tracked as on OTB (see otb.py).

  vfs-eval-tracker --config=configs/got10k.py --workdir=runs/got10k --config.data=GOT-10k --config.weights=runs/siamfc

DATA: SPLIT/list.txt and SPLIT/NAME/00000001.jpg, groundtruth.txt, cover.label; boxes of "test" are for the server.
The toolkit's measures: AO, SR at 0.50 and 0.75. VFS published none.

Variants, comma-separated: r18, r50, smoke (three frames).
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common

VARIANTS = common.TRACKING


def get_config(variants: str = "") -> ConfigDict:
    """Return the release's settings, changed by the variants."""
    config = common.tracking("got10k")
    config.data = "data/GOT-10k"
    config.split = "val"  # val, train or test
    return common.vary(config, variants, VARIANTS)
