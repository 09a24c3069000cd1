"""What configs share: one way to vary them, and the settings that several have in common, each written once.

A config starts from one of these or from another config, says what is its own and takes variants. So may yours:

    from vfs_jax.configs import common, davis

    VARIANTS = davis.VARIANTS | {"wide": {"radius": 24.0}}

    def get_config(variants: str = "") -> common.ConfigDict:
        config = davis.get_config()
        config.topk = 5
        return common.vary(config, variants, VARIANTS)
"""

from collections.abc import Mapping

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

# What each variant changes, by name; a dict within changes the fields of that part.
Variants = Mapping[str, Mapping[str, object]]

WEIGHTS = "random:0"  # a training folder, a checkpoint in it, a file of weights, random:SEED
PATCHES = {"exemplar_size": 120, "search_size": 255, "context": 0.5}  # pixels; a share of the box's width + height

DEPTHS: Variants = {"r18": {"depth": 18}, "r50": {"depth": 50}}
PROPAGATION: Variants = {
    **DEPTHS,
    "smoke": {"short_side": 120, "max_frames": 3},
}
TRACKING: Variants = {**DEPTHS, "smoke": {"max_frames": 3}}
TRAINING: Variants = {
    "smoke": {
        "steps": 3,
        "batch_size": 4,
        # XLA on a CPU computes a 3x3 convolution of 2x2 cells (64 px) many times slower than one of 3x3.
        "image_size": 72,
        "queue_size": 256,
        "checkpoint_every": 2,
        "log_every": 1,
        "num_workers": 0,
    }
}


def vary(config: ConfigDict, names: str, variants: Variants) -> ConfigDict:
    """Change a config by the variants that follow its name on the command line, `--config=FILE:NAMES`.

    Args:
        config: changed in place; has every field that variants name.
        names: comma-separated, applied in this order: where two change one field, the later wins. May be empty.
        variants: what there is.

    Returns:
        config.

    Raises:
        ValueError: there is no variant of a name.

    Example:
        >>> vary(ConfigDict({"depth": 18, "steps": 9}), "r50,smoke", {**DEPTHS, "smoke": {"steps": 3}}).to_dict()
        {'depth': 50, 'steps': 3}
    """
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name not in variants:
            raise ValueError(f"no variant {name!r}; there are {', '.join(variants)}")
        config.update(variants[name])
    return config


def propagation(task: str) -> ConfigDict:
    """Return what all evaluations by label propagation have, under the protocol of VFS, without the data."""
    config = ConfigDict()
    config.task = task
    config.data = ""
    config.split = ""
    config.sequences = ""  # comma-separated names; all of the split where empty
    config.max_frames = placeholder(int)  # None: whole videos

    # What is evaluated; each may be several, comma-separated. The ResNet of random:0 where all are empty.
    config.weights = ""  # a training folder, a checkpoint in it, a file of weights, random:SEED
    config.encoder = ""  # MODULE:FUNCTION, RGB uint8 [b, h, w, 3] -> features [b, rows, columns, c]
    config.features = ""  # a folder of SEQUENCE.npy [t, rows, columns, c] or SEQUENCE/00000.npy
    config.depth = 18  # of random:SEED; files tell theirs
    config.output = placeholder(str)  # None: the encoder's own, res4 of ResNets
    config.dtype = "float32"  # of the features; or bfloat16
    config.precision = "tensorfloat32"  # of the network's float32 products on GPUs and TPUs; or float32
    config.batch_frames = 4  # frames a call of the network

    # How all of it is done: vfs, crw, dino, dinov3, cropmae, rsp or spa_then_temp. The fields below change a part of
    # it; None is the protocol's own. evaluation/propagation/settings.py says what they are.
    config.protocol = "vfs"
    config.copies = placeholder(str)
    config.short_side = placeholder(int)
    config.long_side = placeholder(int)
    config.width = placeholder(int)
    config.square = placeholder(bool)
    config.multiple = placeholder(int)
    config.rounding = placeholder(str)
    config.resize = placeholder(str)
    config.mean = placeholder(tuple)
    config.std = placeholder(tuple)
    config.soft_first = placeholder(bool)
    config.first_nearest = placeholder(str)
    config.over_network = placeholder(bool)
    config.transpose_square = placeholder(bool)
    config.radius = placeholder(float)  # inf for no window
    config.window = placeholder(str)
    config.topk = placeholder(int)
    config.temperature = placeholder(float)
    config.num_context = placeholder(int)
    config.first_frame_windowed = placeholder(bool)
    config.keep_first = placeholder(bool)
    config.fill_first = placeholder(bool)
    config.first_once = placeholder(bool)
    config.ties = placeholder(str)
    config.enlarge = placeholder(str)
    config.read_at = placeholder(str)
    config.min_max = placeholder(str)
    config.back_nearest = placeholder(str)
    config.first_output = placeholder(str)
    config.joints = placeholder(str)
    config.peaks = placeholder(int)
    config.peaks_at = placeholder(str)
    config.rules = placeholder(str)

    config.all_blocks = False  # every block of the ResNet in place of `output`, in one pass
    config.sweep = ""  # settings from soft_first on, in one pass: "topk=5,10;temperature=0.05,0.07"
    config.max_sizes = 6  # sizes of frames that programs are compiled for; of more, some are padded to others
    config.inspect = 2  # sequences whose features the report shows: the worst, the best, the next worst ...
    config.inspect_frame = -1  # of which frame; -1 for the middle one
    config.inspect_point = ""  # "x,y" in pixels; the middle of what is labeled where empty
    config.published = ()  # shown below the results: (name, measures in percent)
    return config


def tracking(task: str) -> ConfigDict:
    """Return the release's settings for tracking boxes with ResNet-18, without the data."""
    config = ConfigDict()
    config.task = task
    config.data = ""
    config.split = ""
    config.sequences = ""  # comma-separated names; all of the split where empty
    config.max_frames = placeholder(int)  # None: whole sequences
    config.attributes = ""  # folder of SEQUENCE.txt with 0 or 1 for each attribute; none where empty
    config.attribute_names = ()  # in the files' order; numbers where empty

    config.weights = WEIGHTS  # several, comma-separated
    config.depth = 18
    config.sequences_per_device = 1  # tracked at once; more where frames are read slower than they are tracked

    config.tracker = ConfigDict(PATCHES)
    config.tracker.head = placeholder(bool)  # None: where the weights hold one
    config.tracker.out_scale = placeholder(float)  # None: 1e-3, 1e-5 from ResNet-50 on
    config.tracker.scale_count = 3
    config.tracker.scale_step = 1.0375
    config.tracker.scale_rate = 0.59
    config.tracker.scale_penalty = 0.9745
    config.tracker.window_influence = 0.176
    config.tracker.response_cells = 17  # it has 18; see TrackerSettings
    config.tracker.response_upsampling = 16
    config.tracker.stride = 8
    config.published = ()  # shown below the results: (name, measures in percent)
    return config


def training(*, depth: int, steps: int, batch_size: int, segments: int) -> ConfigDict:
    """Return the release's recipe for one network, without color augmentation.

    Args:
        depth: of the ResNet.
        steps: of the whole run.
        batch_size: clips a step, over all devices; the learning rate is 0.05 at this one and follows later changes.
        segments: frames a clip; a view has half of them.
    """
    config = ConfigDict()
    config.data = ""
    config.depth = depth
    config.seed = 0
    config.steps = steps
    config.batch_size = batch_size
    config.segments = segments
    config.image_size = 224
    config.span_seconds = 0.0  # from which the frames of a clip are sampled; 0 for all of it
    config.same_frames = 0.0  # share of the clips whose views show the same frames
    config.min_area = 0.2
    config.color = False
    config.symmetric = True
    config.negatives = "none"  # batch, queue: InfoNCE (vfs_r18_negatives, vfs_r18_queue)
    config.temperature = 0.2
    config.queue_size = 65_536
    config.encoder_momentum = 0.999

    config.learning_rate = config.get_oneway_ref("batch_size").to_float() * (0.05 / batch_size)
    config.momentum = 0.9
    config.weight_decay = 1e-4
    config.decay_all = True  # False: not biases and BatchNorms
    config.branch_scale = 0.0  # of the last BatchNorm of a residual branch, at first
    config.dtype = "float32"  # of the network; the release computes in it
    config.accumulate = 1
    config.remat = False

    config.checkpoint_every = 5000
    config.keep_checkpoints = 3
    config.log_every = 50
    config.peak_flops = 0.0  # a second of one device, for the MFU; 0 looks it up
    config.num_workers = 16

    config.eval_every = 0  # steps; 0 for no evaluation within the run
    config.eval_data = ""  # a folder of DAVIS layout
    config.eval_split = "val"
    config.eval_sequences = ""  # comma-separated names; all of the split where empty
    config.eval_max_frames = 0  # of each sequence; 0 for all
    config.eval_short_side = 480

    config.max_bad_steps = 10  # non-finite steps in a row that end the run
    config.max_unreadable = 0.01  # share of the records
    config.collapse_below = 0.1  # warns where the embedding's standard deviation is below this share of 1/sqrt(d)
    config.stop_below = 0.0  # the same, where the run ends
    config.watchdog_seconds = 1800.0  # a step or an evaluation that takes longer ends the process with its stacks
    return config


def augment_colors(config: ConfigDict) -> None:
    """Turn on the release's color augmentation, the object recipes' only difference."""
    config.color = True
    config.color_augmentation = ConfigDict()
    config.color_augmentation.jitter = (0.4, 0.4, 0.4, 0.1)  # brightness, contrast, saturation, hue
    config.color_augmentation.jitter_probability = 0.8
    config.color_augmentation.gray_probability = 0.2
    config.color_augmentation.blur_probability = 0.5
    config.color_augmentation.blur_sigma = (0.1, 0.2)  # quirk of the release: next to no blur
