"""Ablation of vfs_r18_fine: view 1 predicts view 2 and not the other way round (half of the symmetric loss).

Reproduces the question, not a published run: the release has no such configuration. Both views still go through the
network, view 2 for its projections alone.

    vfs-train --config=configs/vfs_r18_one_way.py --workdir=runs/r18_one_way --config.data=RECORDS

Hardware: as vfs_r18_fine, 8 GPUs or a TPU slice of 8 chips.
Time: not measured here. The operations of vfs_r18_fine: view 2's gradients are zeros, but computed.
Score: not known; to be compared with vfs_r18_fine's on DAVIS (vfs-eval).
Override: --config.steps=1_500_000 gives it as many predictions as the symmetric loss makes.
"""

from ml_collections import ConfigDict

from vfs_jax.configs import vfs_r18_fine


def get_config(variants: str = "") -> ConfigDict:
    """Return the experiment; variant "smoke" shrinks it to seconds a step on two cores."""
    config = vfs_r18_fine.get_config(variants)
    config.symmetric = False
    return config
