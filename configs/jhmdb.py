"""JHMDB: propagate Gaussians around a person's joints, read the joints off as peaks.

  vfs-eval --config=configs/jhmdb.py --workdir=runs/jhmdb --config.data=JHMDB --config.weights=vfs_r18.pth

DATA holds Rename_Images, joint_positions and splits. The release's configuration was never published; these are the
settings of the closest published ones (CRW, Spa-then-Temp): 320x320, radius 5, 10 keys of 20 frames, temperature 0.07.
Published, PCK@0.1 / @0.2: ResNet-18 60.5 / 79.5, ResNet-50 60.9 / 80.7 (VFS). Variants: r18, r50, smoke.
"""

import ml_collections


def get_config(variant: str = "r18") -> ml_collections.ConfigDict:
    """Return the closest published settings; variant r18, r50 or smoke."""
    if variant not in ("r18", "r50", "smoke"):
        raise ValueError(f"jhmdb.py has the variants r18, r50 and smoke, not {variant!r}")
    config = ml_collections.ConfigDict()
    config.task = "jhmdb"
    config.data = "data/JHMDB"
    config.split = "1"
    config.sequences = ""  # comma-separated names; all where empty
    config.max_frames = ml_collections.config_dict.placeholder(int)  # None: whole videos

    config.weights = "random:0"  # a training folder, a checkpoint in it, a .pth, random:SEED; several, comma-separated
    config.depth = 50 if variant == "r50" else 18
    config.output = "res4"
    config.dtype = "float32"  # of the features; or bfloat16
    config.short_side = 160 if variant == "smoke" else 320
    config.square = True
    config.batch_frames = 4  # frames a call of the network

    config.radius = 5.0  # grid cells
    config.window = "circle"
    config.topk = 10
    config.temperature = 0.07
    config.num_context = 20
    config.first_frame_windowed = True
    config.keep_first = True
    config.fill_first = False

    config.all_blocks = False  # every block of the ResNet in place of `output`, in one pass
    config.sweep = ""  # settings from radius to fill_first, in one pass: "topk=5,10;temperature=0.05,0.07"
    config.max_sizes = 6  # sizes of frames that programs are compiled for; of more, some are padded to others
    config.inspect = 2  # sequences whose features the report shows: the worst, the best, the next worst ...
    config.inspect_frame = -1  # of which frame; -1 for the middle one
    config.inspect_point = ""  # "x,y" in pixels; the middle of what is labeled where empty
    # Shown below the results, in percent.
    config.published = (
        ("VFS ResNet-18 (paper, figure not checked)", (60.5, 79.5, None, None, None)),
        ("VFS ResNet-50 (paper, figure not checked)", (60.9, 80.7, None, None, None)),
    )
    if variant == "smoke":
        config.max_frames = 3
    return config
