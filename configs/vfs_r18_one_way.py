"""Ablation of vfs_r18_fine: view 1 predicts view 2 and not the other way round (half of the symmetric loss).

Reproduces the question, not a published run: the release has no such configuration. Both views still go through the
network, view 2 for its projections alone.

    vfs-train --config=configs/vfs_r18_one_way.py --workdir=runs/r18_one_way --config.data=RECORDS

Hardware: as vfs_r18_fine, 8 GPUs or a TPU slice of 8 chips.
Time: not measured here. No gradient flows through view 2, which saves a third of vfs_r18_fine's operations.
Score: not known; to be compared with vfs_r18_fine's on DAVIS (vfs-eval).
Override: --config.steps=1_500_000 gives it as many predictions as the symmetric loss makes.
"""

import runpy
from pathlib import Path

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Return the experiment; variant "smoke" shrinks it to seconds a step on two cores."""
    config = runpy.run_path(str(Path(__file__).with_name("vfs_r18_fine.py")))["get_config"](variant)
    config.symmetric = False
    return config
