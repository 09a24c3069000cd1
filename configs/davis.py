"""DAVIS: propagate the first frame's mask through the video, as VFS section 4 does with res4 features.

  vfs-eval --config=configs/davis.py --workdir=runs/davis --config.data=DAVIS --config.weights=vfs_r18.pth
  vfs-eval --config=configs/davis.py:r50 --workdir=runs/davis_r50 --config.data=DAVIS --config.weights=vfs_r50.pth

DATA is a folder of the DAVIS 2017 layout (or DAVIS 2016, with --config.year=2016). Published on DAVIS-2017 val,
J&F / J / F: ResNet-18 66.7 / 64.0 / 69.5, ResNet-50 69.5 / 67.0 / 72.0 (the release's README).
"""

import ml_collections


def get_config(variant: str = "r18") -> ml_collections.ConfigDict:
    """The release's settings; variant "r18", "r50" or "smoke" (two sequences, three frames, a quarter of the size)."""
    if variant not in ("r18", "r50", "smoke"):
        raise ValueError(f"davis.py has the variants r18, r50 and smoke, not {variant!r}")
    config = ml_collections.ConfigDict()
    config.task = "davis"
    config.data = "data/DAVIS"
    config.split = "val"
    config.year = 2017
    config.sequences = ""  # comma-separated names; all of the split where empty
    config.max_frames = ml_collections.config_dict.placeholder(int)  # None: whole videos

    config.weights = "random:0"  # a training folder, a checkpoint in it, a .pth, random:SEED; several, comma-separated
    config.depth = 50 if variant == "r50" else 18
    config.output = "res4"
    config.dtype = "float32"  # of the features; or bfloat16
    config.short_side = 120 if variant == "smoke" else 480
    config.batch_frames = 4  # frames a call of the network

    config.radius = 18.0 if variant == "r50" else 12.0  # grid cells; the release's neighbor_range is the diameter
    config.window = "circle"
    config.topk = 10
    config.temperature = 0.07
    config.num_context = 20
    config.first_frame_windowed = True
    config.fill_first = False
    if variant == "smoke":
        config.max_frames = 3
    return config
