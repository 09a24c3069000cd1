"""ResNet-50 for object-level correspondence: as vfs_r50_fine with color augmentation (VFS section 3.2).

Reproduces the release's ResNet-50 for box tracking (res5): Kinetics-400, 240,000 clips, 5 x 100 passes,
256 clips a step.
Against vfs_r50_fine it is the ablation of color augmentation: nothing else differs.

    vfs-train --config=configs/vfs_r50_object.py --workdir=runs/r50_object --config.data=RECORDS

Hardware: 8 GPUs of 40 GB or more, or a TPU slice of 16 chips; 256 clips of 2 frames are 512 images a step.
Time: not measured here. Forward and backward cost about 13 TFLOP a step, 5.9e18 in all.
Score: OTB-100 precision 73.9, success 52.5, with a SiamFC head trained on GOT-10k (the release's README).
Override: --config.dtype=bfloat16 for about half the time and memory on GPUs and TPUs (scores not compared).
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Return the experiment; variant "smoke" shrinks it to seconds a step on two cores."""
    if variant not in ("", "smoke"):
        raise ValueError(f"no variant {variant!r}; there is smoke")
    smoke = variant == "smoke"
    config = ml_collections.ConfigDict()
    config.data = ""
    config.depth = 50
    config.seed = 0
    config.steps = 3 if smoke else 468_750
    config.batch_size = 4 if smoke else 256  # clips a step, over all devices
    config.segments = 2  # frames a clip: one frame a view
    # XLA on a CPU computes a 3x3 convolution of 2x2 cells (64 px) many times slower than one of 3x3.
    config.image_size = 72 if smoke else 224
    config.min_area = 0.2
    config.color = True
    config.color_augmentation = ml_collections.ConfigDict()
    config.color_augmentation.jitter = (0.4, 0.4, 0.4, 0.1)  # brightness, contrast, saturation, hue
    config.color_augmentation.jitter_probability = 0.8
    config.color_augmentation.gray_probability = 0.2
    config.color_augmentation.blur_probability = 0.5
    config.color_augmentation.blur_sigma = (0.1, 0.2)  # quirk of the release: next to no blur
    config.symmetric = True
    config.negatives = "none"  # batch, queue: InfoNCE (vfs_r18_negatives, vfs_r18_queue)
    config.temperature = 0.2
    config.queue_size = 256 if smoke else 65_536
    config.encoder_momentum = 0.999

    config.learning_rate = config.get_oneway_ref("batch_size").to_float() * (0.05 / 256)  # follows the batch
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
