"""vfs_r18_fine on two cores: the recipe of the paper, small enough to show within 90 minutes that it learns.

Differs from vfs_r18_fine in batch, crops, frames a clip, steps and learning rate, which is twice the release's although
the batch is smaller. launch/real_proof.sh trains it on 33 videos; docs/proof tells how the settings were chosen.
Variants: smoke (three steps), and the single changes of proof_sweep.py.

    vfs-train --config=configs/real_proof.py --workdir=runs/real_proof/train-0 --config.data=RECORDS
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common, proof_sweep, vfs_r18_fine

VARIANTS = {"smoke": {**vfs_r18_fine.VARIANTS["smoke"], "eval_every": 3}, **proof_sweep.LEVERS}


def get_config(variants: str = "") -> ConfigDict:
    """Return the experiment, changed by the variants."""
    config = vfs_r18_fine.get_config()
    config.steps = 5000
    config.batch_size = 16
    config.segments = 2
    config.image_size = 128
    config.learning_rate = 0.1
    config.checkpoint_every = 250
    config.log_every = 20
    config.num_workers = 0
    config.eval_every = 1000
    return common.vary(config, variants, VARIANTS)
