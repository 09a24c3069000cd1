"""Measures of point tracks (TAP-Vid): average Jaccard, average position accuracy, occlusion accuracy.

Sources: Doersch et al., TAP-Vid: A Benchmark for Tracking Any Point in a Video, NeurIPS 2022; github
google-deepmind/tapnet.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from vfs_jax.evaluation.metrics.checked import checked

THRESHOLDS = (1, 2, 4, 8, 16)  # pixels of a frame scaled to 256x256


@dataclasses.dataclass(frozen=True)
class TrackScore:
    """Scores of one video, or their mean over videos: shares 0..1.

    Attributes:
        average_jaccard: judges places and visibility, mean over THRESHOLDS.
        average_within: share of truly visible points that are near enough, mean over THRESHOLDS.
        occlusion_accuracy: share of points that are rightly taken for visible or hidden.
    """

    average_jaccard: float
    average_within: float
    occlusion_accuracy: float


@checked
def score_tracks(
    tracks: Float[np.ndarray, "n t 2"],
    occluded: Bool[np.ndarray, "n t"],
    true_tracks: Float[np.ndarray, "n t 2"],
    true_occluded: Bool[np.ndarray, "n t"],
    query_frames: Int[np.ndarray, " n"],
) -> TrackScore:
    """Score the tracks of one video, queried first: the frames after each point's query count.

    With d the distance to the true place, a threshold of so many pixels and the points and frames that count:
    within = share of truly visible ones with d < threshold; Jaccard = true positives (visible in both, d < threshold)
    over truly visible ones plus false positives (taken for visible, but occluded or too far). Points and frames count
    together, then both are averaged over the thresholds 1, 2, 4, 8, 16.

    Args:
        tracks: predicted (x, y) in pixels of a frame scaled to 256x256, from its upper left corner, [points, t, 2].
        occluded: whether a point is predicted to be hidden, bool [points, t].
        true_tracks: ground truth, likewise; places of hidden points do not matter.
        true_occluded: ground truth, likewise.
        query_frames: index of the frame of each point's query, int [points].

    Returns:
        the scores; NaN where nothing counts.

    >>> place = np.zeros((1, 3, 2))
    >>> score_tracks(place + 3.0, np.zeros((1, 3), bool), place, np.zeros((1, 3), bool), np.array([0]))
    TrackScore(average_jaccard=0.4, average_within=0.4, occlusion_accuracy=1.0)
    """
    counts = np.arange(tracks.shape[1])[None] > query_frames[:, None]
    visible, taken = ~true_occluded, ~occluded
    squares = np.sum((tracks - true_tracks) ** 2, axis=-1)
    jaccards, withins = [], []
    for threshold in THRESHOLDS:
        near = squares < threshold**2
        true_positives = np.count_nonzero(near & visible & taken & counts)
        false_positives = np.count_nonzero(taken & ~(visible & near) & counts)
        positives = np.count_nonzero(visible & counts)
        jaccards.append(_share(true_positives, positives + false_positives))
        withins.append(_share(np.count_nonzero(near & visible & counts), positives))
    right = np.count_nonzero((occluded == true_occluded) & counts)
    return TrackScore(float(np.mean(jaccards)), float(np.mean(withins)), _share(right, np.count_nonzero(counts)))


def _share(part: np.integer, whole: np.integer) -> float:
    return float(part / whole) if whole else np.nan


def mean_score(scores: Sequence[TrackScore]) -> TrackScore:
    """Average over videos, each counting the same; one in which nothing counts is left out of that measure."""
    means = []
    for field in dataclasses.fields(TrackScore):
        values = np.array([getattr(score, field.name) for score in scores], np.float64)
        values = values[~np.isnan(values)]
        means.append(float(values.mean()) if len(values) else np.nan)
    return TrackScore(*means)
