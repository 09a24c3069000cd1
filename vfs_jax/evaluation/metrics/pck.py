"""PCK: the share of keypoints that are predicted near enough, relative to the size of the body (JHMDB).

Sources: Yang and Ramanan, Articulated Human Detection with Flexible Mixtures of Parts, TPAMI 2013; github xvjiarui/VFS,
whose computation this is.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from vfs_jax.evaluation.metrics.checked import checked

Rules = Literal["vfs", "crw"]
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
# The body's size is 0.6 times the diagonal of the box around its joints.
_BOX_SHARE = 0.6


@checked
def distances(
    predictions: Float[np.ndarray, "t n 2"], ground_truth: Float[np.ndarray, "t n 2"], *, rules: Rules = "vfs"
) -> Float[np.ndarray, "t n"]:
    """Compute the distance of every joint from its true place, relative to the body's size in its frame.

    As the release has it, a joint counts where its predicted x is above 0, and the body's size is 0.6 times the
    diagonal of the box around those of the frame's true joints that count. By the rules of CRW (github
    ajabri/videowalk, code/eval/eval_pck.py) it counts where its x is not below 0, and the first frame's do not.

    Args:
        predictions: (x, y) in pixels of the frames, the first pixel's center at 0, [t, joints, 2].
        ground_truth: likewise.
        rules: "vfs" or "crw".

    Returns:
        float64 [t, joints]; NaN for joints that do not count, infinite where the box has no size and the joint is off.

    >>> ground_truth = np.array([[[0.0, 0.0], [30.0, 40.0]]])  # diagonal 50, size 30
    >>> distances(ground_truth + np.array([3.0, 0.0]), ground_truth).tolist()
    [[0.1, 0.1]]
    """
    visible = predictions[..., 0] > 0 if rules == "vfs" else predictions[..., 0] >= 0
    if rules == "crw":
        visible[:1] = False
    shown = np.where(visible[..., None], ground_truth, np.nan)
    size = np.full(len(ground_truth), np.nan)
    some = visible.any(axis=1)
    size[some] = _BOX_SHARE * np.linalg.norm(np.nanmax(shown[some], axis=1) - np.nanmin(shown[some], axis=1), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.linalg.norm(predictions - ground_truth, axis=-1) / size[:, None]
    # 0 / 0, a joint alone and exactly in place: not within any share of no size, as in the release.
    return np.where(visible, np.where(np.isnan(relative), np.inf, relative), np.nan)


def pck(values: Sequence[np.ndarray], thresholds: Sequence[float] = THRESHOLDS) -> dict[str, float]:
    """Compute PCK at each threshold: per joint over all frames of all videos, then the mean over the joints.

    Args:
        values: what `distances` gives, float64 [t, joints] a video.
        thresholds: a joint is right where its distance is at most this.

    Returns:
        {"PCK@0.1": share 0..1, ...}; a joint that never counts is left out of the mean, NaN where none counts.

    >>> pck([np.array([[0.05, 0.3]]), np.array([[0.15, np.nan]])], thresholds=(0.1, 0.4))
    {'PCK@0.1': 0.25, 'PCK@0.4': 1.0}
    """
    together = np.concatenate(values)
    counts = np.count_nonzero(~np.isnan(together), axis=0)
    some = counts > 0
    scores = {}
    for threshold in thresholds:
        near = np.count_nonzero(together <= threshold, axis=0)
        scores[f"PCK@{threshold}"] = float(np.mean(near[some] / counts[some])) if some.any() else np.nan
    return scores
