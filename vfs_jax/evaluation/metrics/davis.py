"""Measures of DAVIS: region similarity J, contour accuracy F, their statistics, and the columns of the official tool.

Sources: Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR 2016; github
davisvideochallenge/davis2017-evaluation (semi-supervised track). The numbers are those of that tool, except where it
gives none: its decay is NaN from 256 values on, because it keeps the split points in uint8, and it ends with status 0
on an extra object. Here the decay is right at any length and an extra object raises.
"""

import dataclasses
import functools
import warnings
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from beartype import beartype
from jaxtyping import Bool, Float, jaxtyped

from vfs_jax.errors import InputError

COLUMNS = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
# Matching distance of contours, as a share of the image diagonal.
BOUND = 0.008


@jaxtyped(typechecker=beartype)
def region_similarity(result: Bool[np.ndarray, "*b h w"], truth: Bool[np.ndarray, "*b h w"]) -> Float[np.ndarray, "*b"]:
    """Compute the region similarity J: intersection over union of two masks, 1 where both are empty.

    Args:
        result: predicted masks, bool [..., h, w], at the size of the data set's masks.
        truth: ground truth, bool [..., h, w].

    Returns:
        float64 [...], 0..1, one for each mask.

    >>> result = np.array([[True, True, False]])
    >>> truth = np.array([[False, True, True]])
    >>> float(region_similarity(result, truth))  # 1 pixel in both, 3 in either
    0.3333333333333333
    """
    intersection = np.count_nonzero(result & truth, axis=(-2, -1))
    union = np.count_nonzero(result | truth, axis=(-2, -1))
    return np.asarray(np.where(union == 0, 1.0, intersection / np.maximum(union, 1)))


@jaxtyped(typechecker=beartype)
def contour_accuracy(
    result: Bool[np.ndarray, "*b h w"], truth: Bool[np.ndarray, "*b h w"], *, bound: float = BOUND
) -> Float[np.ndarray, "*b"]:
    """Compute the contour accuracy F: harmonic mean of the precision and recall of the masks' contours.

    A contour pixel matches where the other contour comes within ceil(bound * image diagonal) pixels (a disk).
    1 where both contours are empty, 0 where one is.

    Args:
        result: predicted masks, bool [..., h, w], at the size of the data set's masks.
        truth: ground truth, bool [..., h, w].
        bound: matching distance as a share of the diagonal.

    Returns:
        float64 [...], 0..1, one for each mask.

    >>> square = np.zeros((20, 20), bool)
    >>> square[5:15, 5:15] = True
    >>> float(contour_accuracy(square, square))
    1.0
    >>> float(contour_accuracy(np.zeros_like(square), square))
    0.0
    """
    *batch, h, w = result.shape
    radius = int(np.ceil(bound * np.hypot(h, w)))
    pairs = zip(result.reshape(-1, h, w), truth.reshape(-1, h, w), strict=True)
    return np.array([_contour_accuracy(r, t, radius) for r, t in pairs], np.float64).reshape(batch)


def _contour_accuracy(result: np.ndarray, truth: np.ndarray, radius: int) -> float:
    result_contour, truth_contour = contour(result), contour(truth)
    result_size, truth_size = np.count_nonzero(result_contour), np.count_nonzero(truth_contour)
    if not result_size or not truth_size:
        return float(result_size == truth_size)
    precision = np.count_nonzero(result_contour & _within(truth_contour, radius)) / result_size
    recall = np.count_nonzero(truth_contour & _within(result_contour, radius)) / truth_size
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def contour(mask: np.ndarray) -> np.ndarray:
    """Find the contour of a mask, bool [h, w]: pixels unlike their east, south or south-east neighbor.

    This is the official tool's boundary map. In the last row only the east neighbor counts, in the last column only the
    south one; the corner is never contour. The border of the image is none: a mask that fills the image has an empty
    contour.
    """
    east, south = np.zeros_like(mask), np.zeros_like(mask)
    east[:, :-1] = mask[:, :-1] != mask[:, 1:]
    south[:-1] = mask[:-1] != mask[1:]
    out = east | south
    out[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return out


def _within(points: np.ndarray, radius: int) -> np.ndarray:
    """Dilate points, bool [h, w], by the disk x*x + y*y <= radius*radius."""
    offsets = np.arange(-radius, radius + 1)
    disk = offsets[:, None] ** 2 + offsets**2 <= radius**2
    return cv2.dilate(points.astype(np.uint8), disk.astype(np.uint8)).astype(bool)


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Statistics of one object's J or F over a video.

    Attributes:
        mean: of the values.
        recall: share of the values above 0.5.
        decay: mean of the first quarter less that of the last.
    """

    mean: float
    recall: float
    decay: float


@jaxtyped(typechecker=beartype)
def statistics(values: Float[np.ndarray, " t"]) -> Statistics:
    """Compute the mean, recall and decay of per-frame values.

    Args:
        values: float [t], in time order.

    Returns:
        the statistics; all NaN where t is 0.

    >>> statistics(np.array([0.9, 0.9, 0.4, 0.4, 0.4]))
    Statistics(mean=0.6, recall=0.4, decay=0.5)
    """
    n = len(values)
    if n == 0:
        return Statistics(np.nan, np.nan, np.nan)
    # The quarters share their end points: frame ids[1] is in the first and the second.
    ids = (np.round(np.linspace(1, n, 5) + 1e-10) - 1).astype(np.int64)
    first, last = values[ids[0] : ids[1] + 1], values[ids[3] : ids[4] + 1]
    return Statistics(float(values.mean()), float((values > 0.5).mean()), float(first.mean() - last.mean()))


@dataclasses.dataclass(frozen=True)
class ObjectScore:
    """J and F of one object of one sequence.

    Attributes:
        sequence: its name.
        label: of the object in the masks.
        region: J of each frame that counts (the first and the last do not), float64 [t].
        contour: F, likewise.
    """

    sequence: str
    label: int
    region: np.ndarray
    contour: np.ndarray

    @property
    def name(self) -> str:
        """The row's name in the official table."""
        return f"{self.sequence}_{self.label}"

    @functools.cached_property
    def row(self) -> dict[str, float]:
        """The official columns; NaN where no frame counts."""
        j, f = statistics(self.region), statistics(self.contour)
        values = ((j.mean + f.mean) / 2, j.mean, j.recall, j.decay, f.mean, f.recall, f.decay)
        return dict(zip(COLUMNS, values, strict=True))


def score_sequence(
    sequence: str, masks: Iterable[tuple[np.ndarray, np.ndarray, str]], labels: int
) -> list[ObjectScore]:
    """Compute J and F of every object of a sequence, frame by frame.

    Args:
        sequence: its name.
        masks: (prediction, ground truth, name of the prediction's file) of the frames that count, all but the first and
            the last, in time order: index masks uint8 [h, w] at the data set's size. One pair is held at a time.
        labels: number of objects, the highest label of the first frame's ground truth (255 there is background).

    Returns:
        one score an object, in the order of their labels. An object that the prediction lacks is an empty mask.

    Raises:
        InputError: a prediction is of another size than its ground truth, or holds a label above `labels`.

    >>> square = np.pad(np.ones((4, 4), np.uint8), 3)
    >>> (score,) = score_sequence("bike", [(square, square, "00001.png")], labels=1)
    >>> score.name, score.row["J-Mean"], score.row["F-Mean"]
    ('bike_1', 1.0, 1.0)
    """
    values: list[tuple[list[float], list[float]]] = [([], []) for _ in range(labels)]
    for mask, ground_truth, name in masks:
        if mask.shape != ground_truth.shape:
            sizes = " and ".join(f"{each.shape[1]}x{each.shape[0]}" for each in (mask, ground_truth))
            raise InputError(f"{name}: mask and ground truth are of sizes {sizes}; write masks at the original size")
        if mask.max(initial=0) > labels:
            raise InputError(
                f"{name}: holds label {mask.max()}, the first frame has {labels} object(s); write indices 0..{labels}"
            )
        for label, (region, boundary) in enumerate(values, start=1):
            region.append(float(region_similarity(mask == label, ground_truth == label)))
            boundary.append(float(contour_accuracy(mask == label, ground_truth == label)))
    if labels and not values[0][0]:
        warnings.warn(f"{sequence}: two frames or fewer, nothing to score", stacklevel=2)
    return [
        ObjectScore(sequence, label, np.array(region, np.float64), np.array(boundary, np.float64))
        for label, (region, boundary) in enumerate(values, start=1)
    ]


def global_row(scores: Sequence[ObjectScore]) -> dict[str, float]:
    """Average the official columns over all objects of all sequences, each object counting the same.

    J&F-Mean is the mean of J-Mean and F-Mean. Objects without a frame that counts are left out; NaN where none is left.
    """
    rows = [score.row for score in scores if len(score.region)]
    means = {column: float(np.mean([row[column] for row in rows])) if rows else np.nan for column in COLUMNS}
    return means | {"J&F-Mean": (means["J-Mean"] + means["F-Mean"]) / 2}
