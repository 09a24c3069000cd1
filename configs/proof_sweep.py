"""What may make training on few videos better, one variant each: launch/proof_sweep.sh trains and compares them.

Starts from the recipe of vfs_r18_fine on whole videos, whose frames are sampled within a second, on two cores; "gpu" is
the same at the size of the release. A variant changes one thing, and several, comma-separated, change several.

    vfs-train --config=configs/proof_sweep.py:branches,decay --workdir=DIR --config.data=RECORDS

Variants, comma-separated: gpu (the release's size), smoke (three steps); branches, branches02 (residual branches start
at 1, at 0.2), decay (none on BatchNorms and biases), span2, span4, span0 (frames within 2 s, 4 s, the whole clip), same
(half of the clips show the same frames in both views), colors, gray (half of the frames), crops (smaller), fast, slow
(learning rate), negatives, spread (ends before the embedding's spread has halved), seed1, seed2.
"""

from ml_collections import ConfigDict

from vfs_jax.configs import common, vfs_r18_fine

LEVERS: common.Variants = {
    "branches": {"branch_scale": 1.0},
    "branches02": {"branch_scale": 0.2},
    "decay": {"decay_all": False},
    "span2": {"span_seconds": 2.0},
    "span4": {"span_seconds": 4.0},
    "span0": {"span_seconds": 0.0},
    "same": {"same_frames": 0.5},
    "colors": {"color": True},
    "gray": {"color": True, "color_augmentation": {"jitter_probability": 0.0, "gray_probability": 0.5}},
    "crops": {"min_area": 0.08},
    "fast": {"learning_rate": 0.2},
    "slow": {"learning_rate": 0.05},
    "negatives": {"negatives": "batch"},
    "spread": {"stop_below": 0.5},
    "seed1": {"seed": 1},
    "seed2": {"seed": 2},
}
VARIANTS = {
    "gpu": {
        "steps": 1000,
        "batch_size": 64,
        "segments": 8,
        "image_size": 224,
        "dtype": "bfloat16",
        "num_workers": 16,
        "checkpoint_every": 500,
        "eval_short_side": 480,
    },
    "smoke": {**vfs_r18_fine.VARIANTS["smoke"], "segments": 2, "eval_max_frames": 3, "eval_short_side": 120},
    **LEVERS,
}


def get_config(variants: str = "") -> ConfigDict:
    """Return the experiment, changed by the variants."""
    config = vfs_r18_fine.get_config()
    common.augment_colors(config)
    config.color = False
    config.span_seconds = 1.0
    config.steps = 300
    config.batch_size = 16
    config.segments = 2
    config.image_size = 96
    config.learning_rate = 0.1
    config.checkpoint_every = 100
    config.keep_checkpoints = 1
    config.log_every = 20
    config.num_workers = 0
    config.eval_short_side = 240
    return common.vary(config, variants, VARIANTS)
