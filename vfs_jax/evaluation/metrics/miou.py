"""Mean intersection over union of classes (VIP)."""

from collections.abc import Sequence

import numpy as np
from beartype import beartype
from jaxtyping import Int, UInt8, jaxtyped

from vfs_jax.errors import InputError

IGNORED = 255


@jaxtyped(typechecker=beartype)
def confusion(
    result: UInt8[np.ndarray, "*b h w"], truth: UInt8[np.ndarray, "*b h w"], *, classes: int = 20, name: str = "mask"
) -> Int[np.ndarray, "k k"]:
    """Count pixels by true class (row) and found class (column); pixels whose truth is 255 are left out.

    Args:
        result: class of every pixel, uint8 [..., h, w].
        truth: likewise.
        classes: how many there are, 0 included.
        name: of the file, for the error.

    Returns:
        int64 [classes, classes].

    Raises:
        InputError: a value is no class.

    >>> confusion(np.array([[0, 1, 1]], np.uint8), np.array([[0, 0, 255]], np.uint8), classes=2).tolist()
    [[1, 1], [0, 0]]
    """
    counted = truth != IGNORED
    result, truth = result[counted], truth[counted]
    highest = max(result.max(initial=0), truth.max(initial=0))
    if highest >= classes:
        raise InputError(f"{name}: holds class {highest}, there are 0..{classes - 1} and {IGNORED} for ignored pixels")
    pairs = classes * truth.astype(np.int64) + result
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@jaxtyped(typechecker=beartype)
def class_iou(counts: Int[np.ndarray, "k k"]) -> np.ndarray:
    """Return the intersection over union of every class.

    Args:
        counts: sum of `confusion` over all frames.

    Returns:
        float64 [classes]; NaN for a class that neither truth nor result has.
    """
    intersection = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - intersection
    return np.where(union > 0, intersection / np.maximum(union, 1), np.nan)


def mean_iou(counts: Sequence[np.ndarray]) -> float:
    """Return the mean IoU over the classes present, of all frames together.

    Args:
        counts: what `confusion` gives for each frame or video.

    Returns:
        a share, to 0.01% as the release gives it; NaN without any class.

    >>> mean_iou([np.array([[1, 1], [0, 0]])])  # class 0: 1 of 2; class 1: 0 of 1
    0.25
    """
    values = class_iou(np.sum(counts, axis=0))
    present = values[~np.isnan(values)]
    return round(float(present.mean()), 4) if len(present) else np.nan
