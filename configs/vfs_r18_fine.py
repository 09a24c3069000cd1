"""R18 for fine-grained correspondence: four frames a view, no colour augmentation (VFS section 3, table 1).

Reproduces the release's R18 model that is evaluated on DAVIS, JHMDB and VIP: J&F 66.7 on DAVIS-2017 val (the release's
README), from Kinetics-400 (240,000 clips), 2 x 100 passes at 64 clips a step. With 30,000 clips J&F 60.86 (a user's
report in the release's issues).

    vfs-train --config=configs/vfs_r18_fine.py --workdir=runs/r18_fine --config.data=RECORDS
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; variant "smoke" shrinks it to seconds a step on two cores."""
    config = ml_collections.ConfigDict()
    config.data = ""
    config.depth = 18
    config.seed = 0
    config.steps = 750_000
    config.batch_size = 64
    config.segments = 8
    config.image_size = 224
    config.min_area = 0.2
    config.color = False
    config.learning_rate = 0.05
    config.momentum = 0.9
    config.weight_decay = 1e-4
    config.dtype = "float32"
    config.checkpoint_every = 1000
    config.keep_checkpoints = 3
    config.log_every = 20
    config.num_workers = 8
    if variant == "smoke":
        config.steps = 6
        config.batch_size = 4
        config.segments = 4
        config.image_size = 72  # XLA computes 3x3 convolutions of 2x2 cells (64 px) twenty times slower than of 3x3
        config.checkpoint_every = 3
        config.log_every = 1
        config.num_workers = 0
    elif variant:
        raise ValueError(f"no variant {variant!r}; there is smoke")
    return config
