"""YouTube-VOS: objects that enter at different frames; masks for the official server.

  vfs-eval --config=configs/youtube_vos.py --workdir=runs/ytvos --config.data=YTVOS --config.weights=vfs_r18.pth

DATA holds valid/JPEGImages, valid/Annotations and valid/meta.json. Propagation is as on DAVIS; the objects of one frame
are propagated together from their own first frame on. Masks of the frames in meta.json are written to
WORKDIR/masks/VIDEO/*.png; the score is the server's. Variants: r18, r50, smoke.
"""

import ml_collections


def get_config(variant: str = "r18") -> ml_collections.ConfigDict:
    """Return the settings of DAVIS; variant r18, r50 or smoke."""
    if variant not in ("r18", "r50", "smoke"):
        raise ValueError(f"youtube_vos.py has the variants r18, r50 and smoke, not {variant!r}")
    config = ml_collections.ConfigDict()
    config.task = "youtube_vos"
    config.data = "data/YouTube-VOS"
    config.split = "valid"
    config.sequences = ""  # comma-separated names; all where empty
    config.max_frames = ml_collections.config_dict.placeholder(int)  # None: whole videos

    config.weights = "random:0"  # a training folder, a checkpoint in it, a .pth, random:SEED; several, comma-separated
    config.depth = 50 if variant == "r50" else 18
    config.output = "res4"
    config.dtype = "float32"  # of the features; or bfloat16
    config.short_side = 120 if variant == "smoke" else 480
    config.square = False
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
    config.published = ()
    if variant == "smoke":
        config.max_frames = 3
    return config
