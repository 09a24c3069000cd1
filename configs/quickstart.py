"""R18 on a handful of clips in a few minutes on two cores: the method at its smallest, not the paper's recipe.

One frame a view and crops of 96 pixels, no color augmentation, the optimizer of the release. launch/quickstart.sh
trains it on one-second clips and compares it with random weights on composed sequences.

    vfs-train --config=configs/quickstart.py --workdir=runs/quickstart/train --config.data=RECORDS
    ... --config.steps=1000     for a longer run

Variants, comma-separated: r18, r50 (depth), smoke (three steps).
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common

VARIANTS = {
    **common.DEPTHS,
    "smoke": {"steps": 3, "batch_size": 4, "image_size": 32, "checkpoint_every": 3, "log_every": 1},
}


def get_config(variants: str = "") -> ConfigDict:
    """Return the experiment, changed by the variants."""
    config = ConfigDict()
    config.data = ""
    config.depth = 18
    config.seed = 0
    config.steps = 300
    config.batch_size = 16
    config.segments = 2
    config.image_size = 96
    config.min_area = 0.2
    config.color = False
    config.learning_rate = 0.05
    config.momentum = 0.9
    config.weight_decay = 1e-4
    config.dtype = "float32"
    config.checkpoint_every = 100
    config.keep_checkpoints = 3
    config.log_every = 10
    config.num_workers = 0
    return common.vary(config, variants, VARIANTS)
