"""Measures of box tracking: success and precision (OTB), overlap (GOT-10k), as the got10k toolkit 0.1.3 has them.

Boxes are (left, top, width, height) in pixels of the video's frames. Sources: Wu et al., Online Object Tracking: A
Benchmark, CVPR 2013; Huang et al., GOT-10k, TPAMI 2019; github got-10k/toolkit.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vfs_jax.evaluation.metrics.checked import checked

SUCCESS_THRESHOLDS = np.linspace(0, 1, 21)  # of the intersection over union
PRECISION_THRESHOLDS = np.arange(51)  # pixels
_PRECISION_AT = 20
_EPSILON = np.finfo(np.float64).eps


@checked
def box_iou(boxes: Float[np.ndarray, "*b 4"], ground_truth: Float[np.ndarray, "*b 4"]) -> Float[np.ndarray, "*b"]:
    """Compute the intersection over union of boxes, with continuous areas (a box of width w covers w, not w + 1).

    Args:
        boxes: predicted (left, top, width, height), [..., 4], in any unit.
        ground_truth: likewise.

    Returns:
        float64 [...], 0..1.

    >>> float(box_iou(np.array([1.0, 1.0, 2.0, 2.0]), np.array([2.0, 1.0, 2.0, 2.0])))
    0.333...
    """
    low = np.maximum(boxes[..., :2], ground_truth[..., :2])
    high = np.minimum(boxes[..., :2] + boxes[..., 2:], ground_truth[..., :2] + ground_truth[..., 2:])
    intersection = np.prod(np.maximum(high - low, 0), axis=-1)
    union = np.prod(boxes[..., 2:], axis=-1) + np.prod(ground_truth[..., 2:], axis=-1) - intersection
    return np.asarray(np.clip(intersection / (union + _EPSILON), 0, 1))


@checked
def center_error(boxes: Float[np.ndarray, "*b 4"], ground_truth: Float[np.ndarray, "*b 4"]) -> Float[np.ndarray, "*b"]:
    """Compute the distance between the centers of boxes, a center being left + (width - 1) / 2.

    Args:
        boxes: predicted (left, top, width, height), [..., 4], in pixels.
        ground_truth: likewise.

    Returns:
        float64 [...], in pixels.

    >>> float(center_error(np.array([1.0, 1.0, 3.0, 3.0]), np.array([4.0, 5.0, 3.0, 3.0])))
    5.0
    """
    centers = [box[..., :2] + (box[..., 2:] - 1) / 2 for box in (boxes, ground_truth)]
    return np.asarray(np.linalg.norm(centers[0] - centers[1], axis=-1))


@dataclasses.dataclass(frozen=True)
class BoxScore:
    """The two curves of OTB, of one sequence or the mean over sequences.

    Attributes:
        success_curve: share of frames with an IoU above each of SUCCESS_THRESHOLDS, float64 [21].
        precision_curve: share of frames whose center is off by at most each of PRECISION_THRESHOLDS, float64 [51].
    """

    success_curve: np.ndarray
    precision_curve: np.ndarray

    @property
    def success_rate(self) -> float:
        """Share of frames with an IoU above 0.5."""
        return float(self.success_curve[len(SUCCESS_THRESHOLDS) // 2])

    @property
    def success(self) -> float:
        """Mean of the success curve; 20/21 for a perfect track, since no IoU is above 1."""
        return float(self.success_curve.mean())

    @property
    def precision(self) -> float:
        """The precision curve at 20 pixels."""
        return float(self.precision_curve[_PRECISION_AT])


@checked
def score_boxes(boxes: Float[np.ndarray, "t 4"], ground_truth: Float[np.ndarray, "t 4"]) -> BoxScore:
    """Compute the success and precision curves of one sequence, all its frames counting the same.

    Quirks of the toolkit, kept: the boxes pass through three decimals (as in its result files), and the first one is
    the ground truth, whatever the tracker says.

    Args:
        boxes: predicted (left, top, width, height), [t, 4], in pixels of the frames, the first one 0 or 1.
        ground_truth: likewise.

    Returns:
        the curves.

    >>> ground_truth = np.array([[1.0, 1.0, 10.0, 10.0], [2.0, 1.0, 10.0, 10.0]])
    >>> score = score_boxes(ground_truth, ground_truth)
    >>> round(score.success, 4), score.precision
    (0.9524, 1.0)
    """
    boxes = np.array([float(f"{value:.3f}") for value in boxes.ravel()]).reshape(boxes.shape)
    boxes[:1] = ground_truth[:1]
    overlaps, errors = box_iou(boxes, ground_truth), center_error(boxes, ground_truth)
    return BoxScore(
        np.mean(overlaps[:, None] > SUCCESS_THRESHOLDS, axis=0),
        np.mean(errors[:, None] <= PRECISION_THRESHOLDS, axis=0),
    )


def mean_score(scores: Sequence[BoxScore]) -> BoxScore:
    """Average the curves over sequences, each sequence counting the same, whatever its length."""
    return BoxScore(
        np.mean([score.success_curve for score in scores], axis=0),
        np.mean([score.precision_curve for score in scores], axis=0),
    )


@checked
def bounded_overlaps(
    boxes: Float[np.ndarray, "t 4"], ground_truth: Float[np.ndarray, "t 4"], size: tuple[int, int]
) -> Float[np.ndarray, " t"]:
    """Compute the IoU of each frame as GOT-10k's toolkit does: predictions to three decimals, boxes cut at the border.

    Quirk of the toolkit: a corner left of or above the image is moved to its border, while width and height stay.

    Args:
        boxes: predicted (left, top, width, height), [t, 4], in pixels of the frames, from 0.
        ground_truth: likewise.
        size: width and height of the frames.

    Returns:
        float64 [t], 0..1.

    >>> outside = np.array([[-10.0, 0, 20, 10]])
    >>> bounded_overlaps(np.array([[0.0, 0, 10, 10]]), outside, (100, 50)).tolist()
    [0.5]
    """
    bound = np.array(size, np.float64)

    def cut(whole: np.ndarray) -> np.ndarray:
        corner = np.clip(whole[:, :2], 0, bound)
        return np.concatenate([corner, np.clip(whole[:, 2:], 0, bound - corner)], axis=1)

    return box_iou(cut(np.round(boxes, 3)), cut(ground_truth))
