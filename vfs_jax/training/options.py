"""The options of training: what a configuration may say, with its meaning and its default."""

import dataclasses
import math
import operator
from collections.abc import Mapping
from typing import Any

from vfs_jax.data.clips import check_segments
from vfs_jax.errors import InputError
from vfs_jax.models.resnet import BLOCKS


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """How a run is saved, logged, guarded and evaluated, whatever it trains; no number that it computes depends on it.

    Attributes:
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: how many of the newest checkpoints are kept.
        log_every: steps between lines in metrics.jsonl.
        peak_flops: a second of one device, of which the MFU is a share; 0 takes the maker's figure for bfloat16.
        num_workers: processes that read and decode; 0 works in threads.
        max_bad_steps: non-finite steps in a row that end the run; each is skipped.
        max_unreadable: share of the records that may be unreadable before the run ends.
        watchdog_seconds: a step, or an evaluation, that takes longer ends the process with all its stacks on stderr.
        eval_every: steps between evaluations; 0 for none.
        eval_data: folder to evaluate on.
        eval_sequences: comma-separated names; all of them where empty.
        eval_max_frames: frames of each sequence; 0 for all.
    """

    checkpoint_every: int
    keep_checkpoints: int = 3
    log_every: int
    peak_flops: float = 0.0
    num_workers: int = 0
    max_bad_steps: int = 10
    max_unreadable: float = 0.01
    watchdog_seconds: float = 1800.0
    eval_every: int = 0
    eval_data: str = ""
    eval_sequences: str = ""
    eval_max_frames: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "checkpoint_every", "keep_checkpoints", "log_every")
        require_range(self, "num_workers", "peak_flops", "max_bad_steps", "eval_every", "eval_max_frames")
        require_range(self, "max_unreadable", high=1)
        require_range(self, "watchdog_seconds", high=1e9, above=True)
        if self.eval_every and not self.eval_data:
            raise InputError(f"eval_every={self.eval_every}: needs eval_data, a folder to evaluate on")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions(LoopOptions):
    """A training run of VFS.

    Attributes:
        data: folder of records.
        depth: of the ResNet.
        seed: of weights, order, frames, crops and colors.
        steps: how many steps the run has; the learning rate falls to 0 over them.
        batch_size: clips in a global batch.
        segments: frames sampled from a clip; each view has half of them.
        image_size: side of the crops in pixels.
        span_seconds: the frames of a clip are sampled from a part of it that long, drawn anew each time; 0 takes all of
            it.
        same_frames: share of the clips whose two views show the same frames, in crops of their own.
        min_area: least share of a frame that a crop covers.
        color: whether colors are augmented.
        color_augmentation: options of `vfs_jax.data.transforms.augment_color`.
        symmetric: whether each view predicts the other, or view 1 alone predicts view 2.
        negatives: "none"; "batch", InfoNCE against the batch's other clips; or "queue", against a momentum queue too.
        temperature: of InfoNCE.
        queue_size: embeddings in the queue.
        encoder_momentum: share of the slower network, which fills the queue, that stays in a step.
        learning_rate: at the first step.
        momentum: of SGD.
        weight_decay: of SGD.
        decay_all: whether it is on all parameters, or on kernels alone, not on biases and BatchNorms.
        branch_scale: initial scale of the last BatchNorm of every residual branch.
        dtype: of the network's computation, float32 or bfloat16.
        accumulate: parts into which a batch is cut to save memory; BatchNorm sees one part at a time.
        remat: whether activations other than those of convolutions are computed twice to save memory.
        collapse_below: the embedding's standard deviation (1 is spread out, 0 is collapsed) below which the log warns.
        stop_below: the same, below which the run ends; 0 for never.
        eval_split: of the sequences in eval_data, which has DAVIS's layout.
        eval_short_side: of the frames that are evaluated, in pixels.
    """

    data: str
    depth: int
    seed: int
    steps: int
    batch_size: int
    segments: int
    image_size: int
    span_seconds: float = 0.0
    same_frames: float = 0.0
    min_area: float = 0.2
    color: bool = False
    color_augmentation: Mapping[str, object] = dataclasses.field(default_factory=dict)
    symmetric: bool = True
    negatives: str = "none"
    temperature: float = 0.2
    queue_size: int = 65_536
    encoder_momentum: float = 0.999
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_all: bool = True
    branch_scale: float = 0.0
    dtype: str = "float32"
    accumulate: int = 1
    remat: bool = False
    collapse_below: float = 0.1
    stop_below: float = 0.0
    eval_split: str = "val"
    eval_short_side: int = 480

    def __post_init__(self) -> None:
        super().__post_init__()
        check_segments(self.segments)
        require_positive(self, "steps", "batch_size", "image_size", "accumulate", "queue_size", "eval_short_side")
        require_range(self, "learning_rate", "weight_decay", "branch_scale", "span_seconds")
        require_range(self, "collapse_below", "stop_below")
        require_range(self, "momentum", "encoder_momentum", "same_frames", high=1)
        require_range(self, "seed", high=2**32 - 1)
        require_range(self, "temperature", above=True)
        require_range(self, "min_area", high=1, above=True)
        if self.depth not in BLOCKS:
            known = ", ".join(map(str, BLOCKS))
            raise InputError(f"depth={self.depth}: there is no such ResNet; choose among {known}")
        if self.dtype not in ("float32", "bfloat16"):
            raise InputError(f"dtype={self.dtype}: take float32 or bfloat16")
        if self.batch_size % self.accumulate:
            raise InputError(f"accumulate={self.accumulate}: must divide batch_size={self.batch_size}")
        if self.negatives not in ("none", "batch", "queue"):
            raise InputError(f"negatives={self.negatives}: take none, batch or queue")
        if self.negatives == "batch" and self.batch_size == self.accumulate:
            raise InputError("negatives=batch: needs at least two clips in a part of the batch")


# What may change when a run is continued, since the numbers that it computes do not depend on it: of any run, of VFS's.
LOOP_FIELDS = tuple(field.name for field in dataclasses.fields(LoopOptions))
FREE_FIELDS = (*LOOP_FIELDS, "collapse_below", "stop_below", "eval_split", "eval_short_side")


def require_positive(options: object, *names: str) -> None:
    """Refuse options below 1.

    Raises:
        InputError: names the option.
    """
    for name in names:
        value = getattr(options, name)
        if value < 1:
            raise InputError(f"{name}={value}: must be at least 1")


def require_range(options: object, *names: str, low: float = 0, high: float = math.inf, above: bool = False) -> None:
    """Refuse options, also "pairs.context" and the like, that are not from low (or above it) to high, or not finite.

    Raises:
        InputError: names the option.
    """
    for name in names:
        value = operator.attrgetter(name)(options)
        if not ((low < value if above else low <= value) and value <= high and math.isfinite(value)):
            most = f" and at most {high:g}" if high < math.inf else ""
            raise InputError(f"{name}={value}: must be {'above' if above else 'at least'} {low:g}{most}")


def read_options(config: Mapping[str, Any]) -> TrainOptions:
    """Make options of a configuration's fields.

    Args:
        config: names and values.

    Raises:
        InputError: a field is unknown, or one without a default is missing.

    >>> read_options({"stepps": 3})
    Traceback (most recent call last):
    ...
    vfs_jax.errors.InputError: the configuration's stepps: no such option of training
    """
    fields = {field.name: field for field in dataclasses.fields(TrainOptions)}
    unknown = sorted(set(config) - set(fields))
    if unknown:
        raise InputError(f"the configuration's {', '.join(unknown)}: no such option of training")
    needed = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in needed if name not in config]
    if missing:
        raise InputError(f"the configuration lacks {', '.join(missing)}")
    return TrainOptions(**config)
