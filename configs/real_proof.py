"""vfs_r18_fine on two cores: the recipe of the paper, small enough to show within 90 minutes that it learns.

Differs from vfs_r18_fine in batch, crops, frames a clip, steps and learning rate, which is twice the release's although
the batch is smaller. launch/real_proof.sh trains it on 33 videos; docs/proof tells how the settings were chosen.

    vfs-train --config=configs/real_proof.py --workdir=runs/real_proof/train-0 --config.data=RECORDS
"""

import runpy
from pathlib import Path

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Return the experiment; variant "smoke" is a run of three steps."""
    config = runpy.run_path(str(Path(__file__).with_name("vfs_r18_fine.py")))["get_config"](variant)
    config.learning_rate = 0.1
    config.num_workers = 0
    config.eval_every = config.steps
    if variant != "smoke":
        config.steps = 5000
        config.batch_size = 16
        config.segments = 2
        config.image_size = 128
        config.checkpoint_every = 250
        config.log_every = 20
        config.eval_every = 1000
    return config
