"""VIP: propagate 20 classes of body parts and clothes, given in the first frame.

  vfs-eval --config=configs/vip.py --workdir=runs/vip --config.data=VIP --config.weights=vfs_r18.pth

DATA holds Images, Annotations/Category_ids and lists. Frames are 560x560 as in the closest published settings; the rest
is as on DAVIS. Published, mIoU: ResNet-18 39.9, ResNet-50 43.2 (VFS). Variants: r18, r50, smoke.
"""

import ml_collections


def get_config(variant: str = "r18") -> ml_collections.ConfigDict:
    """Return the closest published settings; variant r18, r50 or smoke."""
    if variant not in ("r18", "r50", "smoke"):
        raise ValueError(f"vip.py has the variants r18, r50 and smoke, not {variant!r}")
    config = ml_collections.ConfigDict()
    config.task = "vip"
    config.data = "data/VIP"
    config.split = "val"
    config.sequences = ""  # comma-separated names; all where empty
    config.max_frames = ml_collections.config_dict.placeholder(int)  # None: whole videos

    config.weights = "random:0"  # a training folder, a checkpoint in it, a .pth, random:SEED; several, comma-separated
    config.depth = 50 if variant == "r50" else 18
    config.output = "res4"
    config.dtype = "float32"  # of the features; or bfloat16
    config.short_side = 160 if variant == "smoke" else 560
    config.square = True
    config.batch_frames = 4  # frames a call of the network

    config.radius = 18.0 if variant == "r50" else 12.0  # grid cells
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
        ("VFS ResNet-18 (paper, figure not checked)", (39.9,)),
        ("VFS ResNet-50 (paper, figure not checked)", (43.2,)),
    )
    if variant == "smoke":
        config.max_frames = 3
    return config
