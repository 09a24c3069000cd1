"""ResNet-18 for fine-grained correspondence: four frames a view, no color augmentation (VFS section 3.2).

Reproduces the release's ResNet-18 for DAVIS, JHMDB and VIP: Kinetics-400, 240,000 clips, 2 x 100 passes,
64 clips a step.

    vfs-train --config=configs/vfs_r18_fine.py --workdir=runs/r18_fine --config.data=RECORDS

Hardware: 8 GPUs, or a TPU slice of 8 chips; 64 clips of 8 frames are 512 images of 224 pixels a step.
Time: not measured here. Forward and backward cost about 5.6 TFLOP a step, 4.2e18 in all.
Score: DAVIS-2017 val J&F 66.7 (J 64.0, F 69.5; the release's README). JHMDB PCK@.1 60.5, VIP mIoU 39.9 (the
  paper's, figures not checked against it).
  With 30,000 clips instead, J&F 60.86 (a user's report in the release's issue 10).
Override: --config.batch_size=128 --config.steps=375_000 doubles the batch; the learning rate follows.
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Return the experiment; variant "smoke" shrinks it to seconds a step on two cores."""
    if variant not in ("", "smoke"):
        raise ValueError(f"no variant {variant!r}; there is smoke")
    smoke = variant == "smoke"
    config = ml_collections.ConfigDict()
    config.data = ""
    config.depth = 18
    config.seed = 0
    config.steps = 3 if smoke else 750_000
    config.batch_size = 4 if smoke else 64  # clips a step, over all devices
    config.segments = 4 if smoke else 8  # frames a clip; a view has half of them
    # XLA on a CPU computes a 3x3 convolution of 2x2 cells (64 px) many times slower than one of 3x3.
    config.image_size = 72 if smoke else 224
    config.min_area = 0.2
    config.color = False
    config.symmetric = True
    config.negatives = "none"  # batch, queue: InfoNCE (vfs_r18_negatives, vfs_r18_queue)
    config.temperature = 0.2
    config.queue_size = 256 if smoke else 65_536
    config.encoder_momentum = 0.999

    config.learning_rate = config.get_oneway_ref("batch_size").to_float() * (0.05 / 64)  # follows the batch
    config.momentum = 0.9
    config.weight_decay = 1e-4
    config.dtype = "float32"  # of the network; the release computes in it
    config.accumulate = 1
    config.remat = False

    config.checkpoint_every = 2 if smoke else 5000
    config.keep_checkpoints = 3
    config.log_every = 1 if smoke else 50
    config.peak_flops = 0.0  # a second of one device, for the MFU; 0 looks it up
    config.num_workers = 0 if smoke else 16

    config.eval_every = 0  # steps; 0 for no evaluation within the run
    config.eval_data = ""  # a folder of DAVIS layout
    config.eval_split = "val"
    config.eval_sequences = ""  # comma-separated names; all of the split where empty
    config.eval_max_frames = 0  # of each sequence; 0 for all
    config.eval_short_side = 480

    config.max_bad_steps = 10  # non-finite steps in a row that end the run
    config.max_unreadable = 0.01  # share of the records
    config.collapse_below = 0.1  # warns where the embedding's standard deviation is below this share of 1/sqrt(d)
    config.watchdog_seconds = 1800.0  # a step or an evaluation that takes longer ends the process with its stacks
    return config
