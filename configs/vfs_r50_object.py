"""ResNet-50 for object-level correspondence: as vfs_r50_fine with color augmentation (VFS section 3.2).

Reproduces the release's ResNet-50 for box tracking (res5): Kinetics-400, 240,000 clips, 5 x 100 passes,
256 clips a step.
Against vfs_r50_fine it is the ablation of color augmentation: nothing else differs.

    vfs-train --config=configs/vfs_r50_object.py --workdir=runs/r50_object --config.data=RECORDS

Hardware: 8 GPUs of 40 GB or more, or a TPU slice of 16 chips; 256 clips of 2 frames are 512 images a step.
Time: not measured here. Forward and backward cost about 12 TFLOP a step, 5.6e18 in all.
Score: OTB-100 precision 73.9, success 52.5, with a SiamFC head trained on GOT-10k (the release's README).
Override: --config.dtype=bfloat16 for about half the time and memory on GPUs and TPUs (scores not compared).
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common, vfs_r50_fine


def get_config(variants: str = "") -> ConfigDict:
    """Return the recipe; variant "smoke" shrinks it to seconds a step on two cores."""
    config = vfs_r50_fine.get_config(variants)
    common.augment_colors(config)
    return config
