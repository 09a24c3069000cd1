"""R18 on a handful of clips in a few minutes on two cores: the method at its smallest, not the paper's recipe.

One frame a view and crops of 96 pixels, no color augmentation, the optimizer of the release. launch/quickstart.sh
trains it on one-second clips and compares it with random weights on composed sequences.

    vfs-train --config=configs/quickstart.py --workdir=runs/quickstart/train --config.data=RECORDS
    ... --config.steps=1000     for a longer run
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Return the experiment; variant "smoke" is a run of three steps."""
    if variant not in ("", "smoke"):
        raise ValueError(f"no variant {variant!r}; there is smoke")
    smoke = variant == "smoke"
    config = ml_collections.ConfigDict()
    config.data = ""
    config.depth = 18
    config.seed = 0
    config.steps = 3 if smoke else 300
    config.batch_size = 4 if smoke else 16
    config.segments = 2
    config.image_size = 32 if smoke else 96
    config.min_area = 0.2
    config.color = False
    config.learning_rate = 0.05
    config.momentum = 0.9
    config.weight_decay = 1e-4
    config.dtype = "float32"
    config.checkpoint_every = 3 if smoke else 100
    config.keep_checkpoints = 3
    config.log_every = 1 if smoke else 10
    config.num_workers = 0
    return config
