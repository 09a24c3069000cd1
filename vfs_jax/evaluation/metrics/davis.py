"""Measures of DAVIS: region similarity J, contour accuracy F, their statistics, and the columns of the official tool.

Sources: Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR 2016; github
davisvideochallenge/davis2017-evaluation (semi-supervised track). The numbers are those of that tool, except where it
gives none: its decay is NaN from 256 values on, because it keeps the split points in uint8, and it ends with status 0
on an extra object. Here the decay is right at any length and an extra object raises. Labels between those of the
objects are none: the tool counts them as objects that are always right.
"""

import dataclasses
import functools
import itertools
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from vfs_jax.errors import InputError
from vfs_jax.evaluation.metrics import bits
from vfs_jax.evaluation.metrics.checked import checked

COLUMNS = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
# Matching distance of contours, as a share of the image diagonal.
BOUND = 0.008
_TOGETHER = 8  # frames that are measured at once: long loops for the processor that still fit its cache


@checked
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
    return _overlap(intersection, union)


def _overlap(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(union == 0, 1.0, intersection / np.maximum(union, 1)))


@checked
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
    results, truths = result.reshape(-1, h, w), truth.reshape(-1, h, w)
    values = [np.zeros(0)]
    for begin in range(0, len(results), _TOGETHER):
        some = slice(begin, begin + _TOGETHER)
        values.append(_contour_accuracy(bits.pack(results[some], 1), bits.pack(truths[some], 1), bound))
    return np.concatenate(values).reshape(batch)


def _contour_accuracy(result: bits.Bits, truth: bits.Bits, bound: float) -> np.ndarray:
    """Compute F of several masks of one size, float64 [n]."""
    radius = math.ceil(bound * np.hypot(result.height, result.width))
    first, second = bits.crop_together(bits.contour(result), bits.contour(truth), 2 * radius)
    first_size, second_size = first.count(), second.count()
    precision = (first & bits.dilate(second, radius)).count() / np.maximum(first_size, 1)
    recall = (second & bits.dilate(first, radius)).count() / np.maximum(second_size, 1)
    both = precision + recall  # 0 where nothing matches or one of the contours is empty
    values = np.where(both == 0, 0.0, 2 * precision * recall / np.where(both == 0, 1, both))
    return np.where((first_size == 0) & (second_size == 0), 1.0, values)


def contour(mask: np.ndarray) -> np.ndarray:
    """Find the contour of a mask, bool [h, w]: see `bits.contour`."""
    return bits.contour(bits.pack([mask], 1)).unpack()[0]


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


# (prediction, ground truth, name of the prediction's file): index masks uint8 [h, w] at the data set's size.
Masks = tuple[np.ndarray, np.ndarray, str]


def score_sequence(
    sequence: str, masks: Iterable[Masks], labels: Sequence[int], entries: Mapping[int, int] | None = None
) -> list[ObjectScore]:
    """Compute J and F of every object of a sequence, some frames at a time.

    Args:
        sequence: its name.
        masks: of the frames that count, all but the first and the last, in time order; a few are held at a time.
        labels: of the objects, those of the first frame's ground truth (255 there is background).
        entries: how many of these frames do not count for an object that enters later, by its label.

    Returns:
        one score an object, in the order of their labels. An object that the prediction lacks is an empty mask.

    Raises:
        InputError: a prediction is of another size than its ground truth, or holds a label that is none of `labels`.

    >>> square = np.pad(np.ones((4, 4), np.uint8), 3)
    >>> (score,) = score_sequence("bike", [(square, square, "00001.png")], labels=[1])
    >>> score.name, score.row["J-Mean"], score.row["F-Mean"]
    ('bike_1', 1.0, 1.0)
    """
    frames, values = iter(masks), [np.zeros((2, len(labels), 0))]
    while some := list(itertools.islice(frames, _TOGETHER)):
        values.append(_measure(some, labels))
    measured = np.concatenate(values, axis=2)
    scores = []
    for number, label in enumerate(labels):
        region, boundary = measured[:, number, (entries or {}).get(label, 0) :]
        if measured.shape[2] and not len(region):
            warnings.warn(f"{sequence}: object {label} enters too late to be scored, it is left out", stacklevel=2)
        scores.append(ObjectScore(sequence, label, region, boundary))
    if labels and not measured.shape[2]:
        warnings.warn(f"{sequence}: two frames or fewer, nothing to score", stacklevel=2)
    return scores


def _measure(masks: Sequence[Masks], labels: Sequence[int]) -> np.ndarray:
    """Compute J and F of all objects in a few frames, float64 [2, labels, frames]."""
    predictions, truths, names = zip(*masks, strict=True)
    for prediction, truth, name in masks:
        if prediction.shape != truth.shape:
            sizes = " and ".join(f"{each.shape[1]}x{each.shape[0]}" for each in (prediction, truth))
            raise InputError(f"{name}: mask and ground truth are of sizes {sizes}; write masks at the original size")
        if truth.shape != truths[0].shape:
            raise InputError(f"{name}: its ground truth is not of the size of the frames before; copy it again")
    out = np.zeros((2, len(labels), len(masks)))
    labeled = np.zeros(len(masks), np.int64)
    for number, label in enumerate(labels):
        result, true = bits.pack(predictions, label), bits.pack(truths, label)
        labeled += result.count()
        out[0, number] = _overlap((result & true).count(), (result | true).count())
        out[1, number] = _contour_accuracy(result, true, BOUND)
    for prediction, name, count in zip(predictions, names, labeled, strict=True):
        if np.count_nonzero(prediction) != count:
            extra = sorted(set(np.unique(prediction).tolist()) - {0, *labels})
            raise InputError(f"{name}: holds label {extra[-1]}, {_objects(labels)}")
    return out


def _objects(labels: Sequence[int]) -> str:
    if list(labels) == list(range(1, len(labels) + 1)):
        return f"the first frame has {len(labels)} object(s); write indices 0..{len(labels)}"
    return f"the objects are {', '.join(map(str, labels))}; write their labels, 0 elsewhere"


def global_row(scores: Sequence[ObjectScore]) -> dict[str, float]:
    """Average the official columns over all objects of all sequences, each object counting the same.

    J&F-Mean is the mean of J-Mean and F-Mean. Objects without a frame that counts are left out; NaN where none is left.
    """
    rows = [score.row for score in scores if len(score.region)]
    means = {column: float(np.mean([row[column] for row in rows])) if rows else np.nan for column in COLUMNS}
    return means | {"J&F-Mean": (means["J-Mean"] + means["F-Mean"]) / 2}
