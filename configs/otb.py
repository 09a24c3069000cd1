"""OTB: follow the first frame's box with SiamFC on frozen res5 features, as the release does (VFS section 4).

  vfs-eval-tracker --config=configs/otb.py --workdir=runs/otb --config.data=OTB --config.weights=runs/siamfc
  vfs-eval-tracker --config=configs/otb.py:r50,otb50 --workdir=runs/otb50_r50 --config.data=OTB --config.weights=r50.pth

DATA holds a folder a sequence: SEQUENCE/img/0001.jpg and SEQUENCE/groundtruth_rect.txt. WEIGHTS with a trained head are
a folder of vfs-train-tracker or a .pth of the release's tracker; without one the features themselves are correlated.
Published on OTB-100, precision / success: ResNet-18 70.0 / 52.3, ResNet-50 73.9 / 52.5 (the release's README).

Variants, comma-separated: r18, r50, otb50 (the harder half), smoke (three frames).
"""

import ml_collections


def get_config(variant: str = "r18") -> ml_collections.ConfigDict:
    """Return the release's settings, changed by the variants."""
    config = ml_collections.ConfigDict()
    config.task = "otb"
    config.data = "data/OTB"
    config.split = "otb100"
    config.sequences = ""  # comma-separated names; all of the split where empty
    config.max_frames = ml_collections.config_dict.placeholder(int)  # None: whole sequences
    # Folder of SEQUENCE.txt with 0 or 1 for each attribute ("anno/att" of the benchmark's toolkit); none where empty.
    config.attributes = ""
    config.attribute_names = ("IV", "OPR", "SV", "OCC", "DEF", "MB", "FM", "IPR", "OV", "BC", "LR")

    config.weights = "random:0"  # a training folder, a checkpoint in it, a .pth, random:SEED; several, comma-separated
    config.depth = 18
    config.sequences_per_device = 1  # tracked at once; more where frames are read slower than they are tracked

    config.tracker = ml_collections.ConfigDict()
    config.tracker.out_scale = ml_collections.config_dict.placeholder(float)  # None: 1e-3, 1e-5 from ResNet-50 on
    config.tracker.head = ml_collections.config_dict.placeholder(bool)  # None: where the weights hold one
    config.tracker.exemplar_size = 120  # pixels of the patches
    config.tracker.search_size = 255
    config.tracker.context = 0.5  # around the box, a share of width + height
    config.tracker.scale_count = 3
    config.tracker.scale_step = 1.0375
    config.tracker.scale_rate = 0.59
    config.tracker.scale_penalty = 0.9745
    config.tracker.window_influence = 0.176
    config.tracker.response_cells = 17  # it has 18; see TrackerSettings
    config.tracker.response_upsampling = 16
    config.tracker.stride = 8

    # Shown below the results: success, precision, success rate in percent.
    config.published = (
        ("VFS ResNet-18, OTB-100 (published)", (52.3, 70.0, None)),
        ("VFS ResNet-50, OTB-100 (published)", (52.5, 73.9, None)),
    )
    variants = {
        "r18": {"depth": 18},
        "r50": {"depth": 50},
        "otb50": {"split": "otb50", "published": ()},
        "smoke": {"max_frames": 3},
    }
    for name in variant.split(","):
        if name not in variants:
            raise ValueError(f"otb.py has the variants {', '.join(variants)}, not {name!r}")
        config.update(variants[name])
    return config
