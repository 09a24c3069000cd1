"""Mean intersection over union of classes, over all frames together (VIP), as the release computes it.

Sources: Zhou et al., Adaptive Temporal Encoding Network for Video Instance-level Human Parsing, ACM MM 2018; github
xvjiarui/VFS.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8

from vfs_jax.errors import InputError
from vfs_jax.evaluation.metrics.checked import checked

IGNORED = 255


@checked
def confusion(
    prediction: UInt8[np.ndarray, "*b h w"],
    ground_truth: UInt8[np.ndarray, "*b h w"],
    *,
    classes: int = 20,
    ignore_others: bool = False,
    name: str = "mask",
) -> Int[np.ndarray, "k k"]:
    """Count pixels by their true class (row) and predicted class (column).

    Args:
        prediction: class of every pixel, uint8 [..., h, w], at the size of the data set's masks.
        ground_truth: likewise; pixels of 255 are left out.
        classes: how many there are, 0 included.
        ignore_others: whether true pixels of any other value are left out too, as by CRW's rules (github
            ajabri/videowalk, code/eval/eval_vip.py).
        name: of the prediction's file, for the error.

    Returns:
        int64 [classes, classes].

    Raises:
        InputError: a value is no class.

    >>> confusion(np.array([[0, 1, 1]], np.uint8), np.array([[0, 0, 255]], np.uint8), classes=2).tolist()
    [[1, 1], [0, 0]]
    """
    counted = ground_truth < classes if ignore_others else ground_truth != IGNORED
    predicted, true = prediction[counted], ground_truth[counted]
    for what, values in (("holds", predicted), ("its ground truth holds", true)):
        if (highest := values.max(initial=0)) >= classes:
            form = f"there are 0..{classes - 1} and {IGNORED} for ignored pixels"
            raise InputError(f"{name}: {what} class {highest}, {form}")
    pairs = classes * true.astype(np.int64) + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@checked
def class_iou(counts: Int[np.ndarray, "k k"]) -> np.ndarray:
    """Compute the intersection over union of every class.

    Args:
        counts: sum of `confusion` over all frames, int64 [classes, classes].

    Returns:
        float64 [classes], 0..1; NaN for a class that neither ground truth nor prediction has.
    """
    intersection = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - intersection
    return np.where(union > 0, intersection / np.maximum(union, 1), np.nan)


def mean_iou(counts: Sequence[np.ndarray]) -> float:
    """Average the IoU over the classes that are present; pixels of all frames count together.

    Args:
        counts: what `confusion` gives for each frame or video, int64 [classes, classes] each.

    Returns:
        a share 0..1, rounded to 0.0001 as the release has it; NaN without any class.

    >>> mean_iou([np.array([[1, 1], [0, 0]])])  # class 0: 1 of 2; class 1: 0 of 1
    0.25
    """
    values = class_iou(np.sum(counts, axis=0))
    present = values[~np.isnan(values)]
    return round(float(present.mean()), 4) if len(present) else np.nan
