"""Evaluate an encoder on a data set in one call."""

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vfs_jax.data.copies import copy_sequences
from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import AnyEncoder, NamedEncoder, StoredFeatures, name_encoder
from vfs_jax.evaluation.propagation.padding import network_size
from vfs_jax.evaluation.propagation.settings import Settings, Variant
from vfs_jax.evaluation.protocols import published_settings, settings_of
from vfs_jax.evaluation.runs.evaluation import evaluate_propagation
from vfs_jax.evaluation.tasks.base import Task
from vfs_jax.evaluation.tasks.names import TASKS

SPLITS = {"davis": "val", "vip": "val", "jhmdb": "1", "tapvid": "", "youtube_vos": "valid"}
_WITH_RULES = ("jhmdb", "vip")  # tasks whose peers score by other rules


def evaluate(
    encoder: AnyEncoder | str,
    data: str | os.PathLike[str],
    *,
    task: str = "davis",
    protocol: str = "vfs",
    out: str | os.PathLike[str] | None = None,
    split: str | None = None,
    sequences: Sequence[str] = (),
    max_frames: int | None = None,
    **settings: Any,
) -> dict[str, float]:
    """Propagate the first labels of a data set's sequences by an encoder's features, and score them.

    Args:
        encoder: a function RGB uint8 [b, h, w, 3] -> features [b, rows, columns, c] of any framework (it may have
            `multiple`: the sides of its frames must be multiples of that); a network with its variables, as
            `load_weights` gives them; the variables of a ResNet; or what vfs-eval takes for weights, as a string.
        data: the data set, a folder or file of the task's layout.
        task: "davis", "vip", "jhmdb", "tapvid".
        protocol: "vfs", "crw", "dino", "dinov3", "cropmae", "rsp" or "spa_then_temp", see
            `vfs_jax.evaluation.protocols`.
        out: folder that gets the results and tables, and is gone on with where it holds some; none are kept where None.
        split: of the data set; the one that is usually reported where None.
        sequences: names of those to evaluate; all of the split where empty.
        max_frames: of each sequence; all where None.
        **settings: fields of `Settings` in which to differ from the protocol (radius, topk, short_side, output, ...),
            and of the task (year of DAVIS, occlusion_threshold of TAP-Vid).

    Returns:
        The task's measures over all sequences, shares 0..1: {"J&F-Mean": ..., "J-Mean": ..., ...} on DAVIS.

    Raises:
        InputError: data, encoder or a name is wrong; the message names it.
        TypeError: there is no such setting.

    Example:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from vfs_jax.data.text import write_text
        >>> data, image = getfixture("tmp_path"), np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
        >>> for kind, picture in {"JPEGImages": image, "Annotations": (image[..., 0] > 128).astype(np.uint8)}.items():
        ...     (data / kind / "480p" / "ant").mkdir(parents=True)
        ...     for name in ("00000", "00001", "00002"):  # three times the same; those of DAVIS in practice
        ...         Image.fromarray(picture).save(data / kind / "480p/ant" / f"{name}.png")
        >>> (data / "ImageSets/2017").mkdir(parents=True)
        >>> write_text(data / "ImageSets/2017/val.txt", "ant")
        >>> measures = evaluate(lambda frames: frames / 255.0 - 0.5, data, short_side=48, radius=2, topk=1)
        >>> measures["J&F-Mean"]  # every pixel is its own match
        1.0
    """
    named = name_encoder(encoder)
    changes = {
        name: settings.pop(name) for name in [*settings] if name in {f.name for f in dataclasses.fields(Settings)}
    }
    scorer = make_task(task, protocol, **settings)
    split = SPLITS[task] if split is None else split
    opened = scorer.open(os.fspath(data), split=split, sequences=sequences)
    chosen = settings_of(protocol, task, named.encoder, **changes)
    found = copy_sequences([each.cut(max_frames) for each in opened], chosen.copies)
    check_stored(named, found, chosen)
    config = {"task": task, "data": os.fspath(data), "split": split, "protocol": protocol, "max_frames": max_frames}
    with tempfile.TemporaryDirectory() as temporary:
        (run,) = evaluate_propagation(
            scorer,
            found,
            [(named, [Variant("", {}, chosen)])],
            Path(temporary if out is None else out),
            data=os.fspath(data),
            config={**config, "sequences": list(sequences), **settings},
            log=lambda line: None,
        )
    return dict(run.summary)


def make_task(task: str, protocol: str, *, rules: str | None = None, **fields: Any) -> Task[Any]:
    """Make a task that scores by the rules of a protocol, or by those that are named; raises InputError, TypeError."""
    if task not in TASKS:
        raise InputError(f"task={task}: there are {', '.join(TASKS)}")
    published = published_settings(protocol, task)
    if task in _WITH_RULES:
        fields["rules"] = rules or published.rules
    return TASKS[task](**fields)


def check_stored(named: NamedEncoder, sequences: Sequence[Any], settings: Settings) -> None:
    """Raise InputError where an encoder's features lie on disk, and some are missing or wrong."""
    if isinstance(named.encoder, StoredFeatures):
        for sequence in sequences:
            size: tuple[int, int] = sequence.size
            named.encoder.check(sequence.name, len(sequence), network_size(*size, settings))
