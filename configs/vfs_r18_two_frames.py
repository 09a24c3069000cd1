"""Ablation of vfs_r18_fine: two frames a clip, one a view, instead of eight.

Reproduces the question, not a published run: the release has no such configuration for ResNet-18 (its ResNet-50 trains
with two frames). Everything but the frames is vfs_r18_fine's, the number of steps too.

    vfs-train --config=configs/vfs_r18_two_frames.py --workdir=runs/r18_two_frames --config.data=RECORDS

Hardware: 2 GPUs, or a TPU slice of 4 chips; 64 clips of 2 frames are 128 images of 224 pixels a step.
Time: not measured here. A quarter of vfs_r18_fine's operations.
Score: not known; to be compared with vfs_r18_fine's on DAVIS (vfs-eval).
Override: --config.segments=4 takes two frames a view.
"""

import runpy
from pathlib import Path

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Return the experiment; variant "smoke" shrinks it to seconds a step on two cores."""
    config = runpy.run_path(str(Path(__file__).with_name("vfs_r18_fine.py")))["get_config"](variant)
    config.segments = 2
    return config
