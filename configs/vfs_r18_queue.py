"""Ablation of vfs_r18_fine: other videos as negatives, of the batch and of a momentum queue (MoCo; He et al. 2020).

Reproduces the question, not a published run: the settings of the paper's variant were not released. The projections
come from a network that follows the trained one (0.1% a step), and its latest 65,536 are negatives too. A clip's own
frames of an earlier pass may be among them.

    vfs-train --config=configs/vfs_r18_queue.py --workdir=runs/r18_queue --config.data=RECORDS

Hardware: as vfs_r18_fine, 8 GPUs or a TPU slice of 8 chips; the queue takes 134 MB on each device.
Time: not measured here. A third more than vfs_r18_fine's operations: the slow network's forward pass.
Score: not known; to be compared with vfs_r18_negatives.
Override: --config.queue_size=16_384 --config.encoder_momentum=0.99 for small data.
"""

from ml_collections import ConfigDict

from vfs_jax.configs import vfs_r18_fine


def get_config(variants: str = "") -> ConfigDict:
    """Return the experiment; variant "smoke" shrinks it to seconds a step on two cores."""
    config = vfs_r18_fine.get_config(variants)
    config.negatives = "queue"
    return config
