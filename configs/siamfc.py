"""The SiamFC head on frozen res5 features, trained on GOT-10k as the release does for OTB (VFS section 4).

  vfs-train-tracker --config=configs/siamfc.py --workdir=runs/siamfc --config.data=GOT-10k --config.weights=vfs_r18.pth
  vfs-train-tracker --config=configs/siamfc.py:r50 --workdir=runs/siamfc_r50 --config.data=GOT-10k --config.weights=...

DATA holds train/list.txt and train/NAME/00000001.jpg, groundtruth.txt, cover.label. An epoch takes one pair from every
sequence. Time: not measured here.
Score with the published object-level weights, OTB-100, precision / success: ResNet-18 70.0 / 52.3, ResNet-50
73.9 / 52.5 (the release's README).

Variants, comma-separated: r18, r50 (depth), smoke (two epochs, small patches).
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from vfs_jax.configs import common

VARIANTS = {
    **common.DEPTHS,
    "smoke": {
        "epochs": 2,
        "pairs": {"exemplar_size": 40, "search_size": 96, "crop_margin": 4},
        "checkpoint_every": 1,
        "log_every": 1,
        "num_workers": 0,
    },
}


def get_config(variants: str = "") -> ConfigDict:
    """Return the release's settings, changed by the variants."""
    config = ConfigDict()
    config.data = ""
    config.layout = "got10k"  # or otb
    config.split = "train"  # of GOT-10k
    config.weights = common.WEIGHTS  # of the backbone
    config.depth = 18
    config.seed = 0

    config.epochs = 50  # each takes one pair from every sequence
    config.batch_size = 8  # pairs a step, over all devices
    config.learning_rate = 1e-3  # of Adam; falls exponentially, epoch by epoch
    config.final_learning_rate = 1e-5
    config.gamma = 2.0  # of the focal loss
    config.positive_radius = 16.0  # search pixels
    config.out_scale = placeholder(float)  # None: 1e-3, 1e-5 from ResNet-50 on

    config.pairs = ConfigDict(common.PATCHES)
    config.pairs.max_gap = 100  # frames
    config.pairs.max_stretch = 0.05
    config.pairs.crop_margin = 8  # pixels

    config.checkpoint_every = 1000
    config.keep_checkpoints = 3
    config.log_every = 50
    config.num_workers = 8
    config.peak_flops = 0.0  # a second of one device, for the MFU; 0 looks it up

    config.eval_every = 0  # steps; 0 for no evaluation within the run
    config.eval_data = ""  # a folder of OTB's layout
    config.eval_sequences = ""  # comma-separated names; all of the folder where empty
    config.eval_max_frames = 0  # of each sequence; 0 for all

    config.max_bad_steps = 10  # non-finite steps in a row that end the run
    config.max_unreadable = 0.01  # share of the sequences
    config.watchdog_seconds = 1800.0  # a step or an evaluation that takes longer ends the process with its stacks
    return common.vary(config, variants, VARIANTS)
