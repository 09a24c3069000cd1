"""ResNet-18 for object-level correspondence: as vfs_r18_fine with color augmentation (VFS section 3.2).

Reproduces the release's ResNet-18 for box tracking (res5): Kinetics-400, 240,000 clips, 2 x 100 passes,
64 clips a step.
Against vfs_r18_fine it is the ablation of color augmentation: nothing else differs.

    vfs-train --config=configs/vfs_r18_object.py --workdir=runs/r18_object --config.data=RECORDS

Hardware: 8 GPUs, or a TPU slice of 8 chips; 64 clips of 8 frames are 512 images of 224 pixels a step.
Time: 8.7 hours on one H200 at the 24 steps/s of 5,000 steps in bfloat16 without colors (2026-11-27). Forward and
  backward cost about 5.0 TFLOP a step, 3.8e18 in all.
Score: OTB-100 precision 70.0, success 52.3, with a SiamFC head trained on GOT-10k (the release's README).
Override: --config.color_augmentation.blur_sigma="(0.1, 2.0)" blurs visibly.
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common, vfs_r18_fine


def get_config(variants: str = "") -> ConfigDict:
    """Return the recipe; variant "smoke" shrinks it to seconds a step on two cores."""
    config = vfs_r18_fine.get_config(variants)
    common.augment_colors(config)
    return config
