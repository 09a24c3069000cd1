"""DAVIS: propagate the first frame's mask through the video, as VFS section 4 does with res4 features.

  vfs-eval --config=configs/davis.py --workdir=runs/davis --config.data=DAVIS --config.weights=vfs_r18.pth
  vfs-eval --config=configs/davis.py:r50 --workdir=runs/davis_r50 --config.data=DAVIS --config.weights=vfs_r50.pth
  vfs-eval --config=configs/davis.py:r50,dino ...

DATA is a folder of the DAVIS 2017 layout (or DAVIS 2016, with --config.year=2016). Published on DAVIS-2017 val,
J&F / J / F: ResNet-18 66.7 / 64.0 / 69.5, ResNet-50 69.5 / 67.0 / 72.0 (the release's README).

Variants, comma-separated: r18, r50 (depth, and the release's radius for it); the peers' way to propagate crw, dino,
dinov3 (the input's size, the first mask and the readout stay VFS's; extra keys at exact ties, which DINO keeps, are
left out); smoke (three frames, a quarter of the size).
"""

import math

import ml_collections


def get_config(variant: str = "r18") -> ml_collections.ConfigDict:
    """Return the release's settings, changed by the variants."""
    config = ml_collections.ConfigDict()
    config.task = "davis"
    config.data = "data/DAVIS"
    config.split = "val"
    config.year = 2017
    config.sequences = ""  # comma-separated names; all of the split where empty
    config.max_frames = ml_collections.config_dict.placeholder(int)  # None: whole videos

    config.weights = "random:0"  # a training folder, a checkpoint in it, a .pth, random:SEED; several, comma-separated
    config.depth = 18
    config.output = "res4"
    config.dtype = "float32"  # of the features; or bfloat16
    config.short_side = 480
    config.square = False
    config.batch_frames = 4  # frames a call of the network

    config.radius = 12.0  # grid cells; the release's neighbor_range is the diameter
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

    # Shown below the results: J&F, J mean, recall, decay, F mean, recall, decay in percent.
    config.published = (
        ("VFS ResNet-18, DAVIS-2017 val (published)", (66.7, 64.0, None, None, 69.5, None, None)),
        ("VFS ResNet-50, DAVIS-2017 val (published)", (69.5, 67.0, None, None, 72.0, None, None)),
    )
    for name in variant.split(","):
        if name not in VARIANTS:
            raise ValueError(f"davis.py has the variants {', '.join(VARIANTS)}, not {name!r}")
        config.update(VARIANTS[name])
    return config


# CRW: frame 0 fills the missing past and is searched without a window. DINO, DINOv3: seven frames and the first.
VARIANTS = {
    "r18": {"depth": 18, "radius": 12.0},
    "r50": {"depth": 50, "radius": 18.0},
    "crw": {"radius": 12.0, "temperature": 0.05, "first_frame_windowed": False, "fill_first": True},
    "dino": {
        "num_context": 7,
        "topk": 5,
        "temperature": 0.1,
        "window": "square",
        "radius": 12.0,
        "first_frame_windowed": False,
    },
    "dinov3": {"num_context": 7, "topk": 5, "temperature": 0.2, "radius": math.sqrt(144.5)},  # distance <= 12
    "smoke": {"short_side": 120, "max_frames": 3},
}
