"""Ablation of vfs_r18_fine: other videos as negatives, InfoNCE over the global batch (the paper's question).

Reproduces the question, not a published run: the settings of the paper's variant were not released. Here a frame is to
be told from the frames of the 63 other clips in the batch.

    vfs-train --config=configs/vfs_r18_negatives.py --workdir=runs/r18_negatives --config.data=RECORDS

Hardware: as vfs_r18_fine, 8 GPUs or a TPU slice of 8 chips.
Time: not measured here. The operations of vfs_r18_fine.
Score: not known; to be compared with vfs_r18_fine's on DAVIS and with vfs_r18_object's on OTB.
Override: --config.temperature=0.07 sharpens the softmax.
"""

from ml_collections import ConfigDict

from vfs_jax.configs import vfs_r18_fine


def get_config(variants: str = "") -> ConfigDict:
    """Return the experiment; variant "smoke" shrinks it to seconds a step on two cores."""
    config = vfs_r18_fine.get_config(variants)
    config.negatives = "batch"
    return config
