"""Everything that a training configuration may say, with its meaning and its default."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from vfs_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """A training run.

    Attributes:
        data: folder of records.
        depth: of the ResNet.
        seed: of weights, order, frames, crops and colors.
        steps: how many steps the run has; the learning rate falls to 0 over them.
        batch_size: clips in a global batch.
        segments: frames sampled from a clip; each view has half of them.
        image_size: side of the crops in pixels.
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
        weight_decay: of SGD, on all parameters.
        dtype: of the network's computation, float32 or bfloat16.
        accumulate: parts into which a batch is cut to save memory; BatchNorm sees one part at a time.
        remat: whether activations other than those of convolutions are computed twice to save memory.
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: how many of the newest checkpoints are kept.
        log_every: steps between lines in metrics.jsonl.
        peak_flops: a second of one device, of which the MFU is a share; 0 takes the maker's figure for bfloat16.
        num_workers: processes that decode; 0 decodes in threads.
        max_bad_steps: non-finite steps in a row that end the run; each is skipped.
        max_unreadable: share of the records that may be unreadable before the run ends.
        collapse_below: the embedding's standard deviation (1 is spread out, 0 is collapsed) below which the log warns.
        watchdog_seconds: a step, or an evaluation, that takes longer ends the process with all its stacks on stderr.
        eval_every: steps between evaluations; 0 for none.
        eval_data: folder of DAVIS layout to evaluate on.
        eval_split: of its sequences.
        eval_sequences: comma-separated names; all of the split where empty.
        eval_max_frames: frames of each sequence; 0 for all.
        eval_short_side: of the frames that are evaluated, in pixels.
    """

    data: str
    depth: int
    seed: int
    steps: int
    batch_size: int
    segments: int
    image_size: int
    min_area: float = 0.2
    color: bool = False
    color_augmentation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    symmetric: bool = True
    negatives: str = "none"
    temperature: float = 0.2
    queue_size: int = 65_536
    encoder_momentum: float = 0.999
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 1e-4
    dtype: str = "float32"
    accumulate: int = 1
    remat: bool = False
    checkpoint_every: int
    keep_checkpoints: int = 3
    log_every: int
    peak_flops: float = 0.0
    num_workers: int = 0
    max_bad_steps: int = 10
    max_unreadable: float = 0.01
    collapse_below: float = 0.1
    watchdog_seconds: float = 1800.0
    eval_every: int = 0
    eval_data: str = ""
    eval_split: str = "val"
    eval_sequences: str = ""
    eval_max_frames: int = 0
    eval_short_side: int = 480

    def __post_init__(self) -> None:
        positive = (
            "steps",
            "batch_size",
            "image_size",
            "accumulate",
            "checkpoint_every",
            "keep_checkpoints",
            "log_every",
            "queue_size",
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise InputError(f"--config.{name}={getattr(self, name)}: must be at least 1")
        if self.dtype not in ("float32", "bfloat16"):
            raise InputError(f"--config.dtype={self.dtype}: take float32 or bfloat16")
        if self.batch_size % self.accumulate:
            raise InputError(f"--config.accumulate={self.accumulate}: must divide batch_size={self.batch_size}")
        if self.negatives not in ("none", "batch", "queue"):
            raise InputError(f"--config.negatives={self.negatives}: take none, batch or queue")
        if self.negatives == "batch" and self.batch_size == self.accumulate:
            raise InputError("--config.negatives=batch: needs at least two clips in a part of the batch")
        if self.temperature <= 0:
            raise InputError(f"--config.temperature={self.temperature}: must be above 0")
        if self.eval_every and not self.eval_data:
            raise InputError("--config.eval_every needs --config.eval_data, a folder of DAVIS layout")


# What may change when a run is continued, since the numbers that it computes do not depend on it.
FREE_FIELDS = (
    *("checkpoint_every", "keep_checkpoints", "log_every", "peak_flops", "num_workers"),
    *("max_bad_steps", "max_unreadable", "collapse_below", "watchdog_seconds"),
    *("eval_every", "eval_data", "eval_split", "eval_sequences", "eval_max_frames", "eval_short_side"),
)


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
