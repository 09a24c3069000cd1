"""ResNet-50 for fine-grained correspondence: one frame a view, no color augmentation (VFS section 3.2).

Reproduces the release's ResNet-50 for DAVIS, JHMDB and VIP: Kinetics-400, 240,000 clips, 5 x 100 passes,
256 clips a step.

    vfs-train --config=configs/vfs_r50_fine.py --workdir=runs/r50_fine --config.data=RECORDS

Hardware: 8 GPUs of 40 GB or more, or a TPU slice of 16 chips; 256 clips of 2 frames are 512 images a step.
Time: not measured here. Forward and backward cost about 12 TFLOP a step, 5.6e18 in all.
Score: DAVIS-2017 val J&F 69.5 (J 67.0, F 72.0; the release's README). JHMDB PCK@.1 60.9, VIP mIoU 43.2 (the
  paper's, figures not checked against it).
Override: --config.remat=True --config.accumulate=2 where memory is short (BatchNorm then sees half batches).
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common


def get_config(variants: str = "") -> ConfigDict:
    """Return the recipe; variant "smoke" shrinks it to seconds a step on two cores."""
    config = common.training(depth=50, steps=468_750, batch_size=256, segments=2)
    return common.vary(config, variants, common.TRAINING)
