"""ResNet-18 for fine-grained correspondence: four frames a view, no color augmentation (VFS section 3.2).

Reproduces the release's ResNet-18 for DAVIS, JHMDB and VIP: Kinetics-400, 240,000 clips, 2 x 100 passes,
64 clips a step.

    vfs-train --config=configs/vfs_r18_fine.py --workdir=runs/r18_fine --config.data=RECORDS

Hardware: 8 GPUs, or a TPU slice of 8 chips; 64 clips of 8 frames are 512 images of 224 pixels a step.
Time: 8.7 hours on one H200 at the 24 steps/s of 5,000 steps in bfloat16 (2026-11-27). Forward and backward cost about
  5.0 TFLOP a step, 3.8e18 in all.
Score: DAVIS-2017 val J&F 66.7 (J 64.0, F 69.5; the release's README). JHMDB PCK@.1 60.5, VIP mIoU 39.9 (the
  paper's, figures not checked against it).
  With 30,000 clips instead, J&F 60.86 (a user's report in the release's issue 10).
Override: --config.batch_size=128 --config.steps=375_000 doubles the batch; the learning rate follows.
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common

VARIANTS = {"smoke": {**common.TRAINING["smoke"], "segments": 4}}


def get_config(variants: str = "") -> ConfigDict:
    """Return the recipe; variant "smoke" shrinks it to seconds a step on two cores."""
    config = common.training(depth=18, steps=750_000, batch_size=64, segments=8)
    return common.vary(config, variants, VARIANTS)
