"""Ablation of vfs_r18_fine: two frames a clip, one a view, instead of eight.

Reproduces the question, not a published run: the release has no such configuration for ResNet-18 (its ResNet-50 trains
with two frames). Everything but the frames is vfs_r18_fine's, the number of steps too.

    vfs-train --config=configs/vfs_r18_two_frames.py --workdir=runs/r18_two_frames --config.data=RECORDS

Hardware: 2 GPUs, or a TPU slice of 4 chips; 64 clips of 2 frames are 128 images of 224 pixels a step.
Time: not measured here. A quarter of vfs_r18_fine's operations.
Score: not known; to be compared with vfs_r18_fine's on DAVIS (vfs-eval).
Override: --config.segments=4 takes two frames a view.
"""

from ml_collections import ConfigDict

from vfs_jax.configs import vfs_r18_fine


def get_config(variants: str = "") -> ConfigDict:
    """Return the experiment; variant "smoke" shrinks it to seconds a step on two cores."""
    config = vfs_r18_fine.get_config(variants)
    config.segments = 2
    return config
