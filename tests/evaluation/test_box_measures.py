"""Success and precision of OTB."""

import numpy as np
import pytest

from vfs_jax.evaluation.metrics import boxes


def naive_score(found, truth):
    """Frame by frame; the areas by the corners."""
    overlaps, errors = [], []
    for i, (f, t) in enumerate(zip(found, truth, strict=True)):
        f = t if i == 0 else [round(float(v), 3) for v in f]
        w = max(min(f[0] + f[2], t[0] + t[2]) - max(f[0], t[0]), 0)
        h = max(min(f[1] + f[3], t[1] + t[3]) - max(f[1], t[1]), 0)
        overlaps.append(w * h / (f[2] * f[3] + t[2] * t[3] - w * h))
        centers = [(b[0] + (b[2] - 1) / 2, b[1] + (b[3] - 1) / 2) for b in (f, t)]
        errors.append(np.hypot(centers[0][0] - centers[1][0], centers[0][1] - centers[1][1]))
    success = [sum(o > i / 20 for o in overlaps) / len(overlaps) for i in range(21)]
    precision = sum(e <= 20 for e in errors) / len(errors)
    return sum(success) / 21, precision


def read_boxes(path):
    return np.array([[float(v) for v in line.replace(",", " ").split()] for line in path.read_text().splitlines()])


@pytest.mark.parametrize("name", ["Crossing", "Soccer"])
def test_equal_to_the_obvious_computation(real_data, name):
    truth = read_boxes(real_data / "otb_like" / name / "groundtruth_rect.txt")
    rng = np.random.default_rng(0)
    found = truth + rng.normal(size=truth.shape) * 0.3 * np.tile(truth[:, 2:], 2)
    found[:, 2:] = np.maximum(found[:, 2:], 1)
    score = boxes.score_boxes(found, truth)
    success, precision = naive_score(found, truth)
    assert 0.1 < success < 0.8
    # Only the epsilon that the toolkit adds to the union differs.
    assert score.success == pytest.approx(success, abs=1e-9)
    assert score.precision == pytest.approx(precision, abs=1e-12)
    perfect = boxes.score_boxes(truth, truth)
    assert perfect.success == pytest.approx(20 / 21)  # "greater than 1" never holds
    assert perfect.precision == 1.0


def test_by_hand():
    truth = np.tile([11.0, 21.0, 40.0, 20.0], (4, 1))
    found = truth.copy()
    found[0] = 0  # never looked at: the first box is the truth
    found[1, 0] += 20  # half of it shared: 400 of 1200; center off by 20, which is still precise
    found[2, 0] += 20.001  # one thousandth more is not
    found[3] = (500, 500, 40, 20)
    score = boxes.score_boxes(found, truth)
    # IoU 1, 1/3, a bit less than 1/3, 0. Above 0, .05 ... .30: 3 of 4; above .35 ... .95: 1 of 4; above 1: none.
    assert score.success == pytest.approx((7 * 0.75 + 13 * 0.25) / 21)
    assert score.precision == 0.5
    assert score.precision_curve[19] == 0.25
    # Three decimals: 20.0004 becomes 20.
    found[2, 0] = truth[2, 0] + 20.0004
    assert boxes.score_boxes(found, truth).precision == 0.75


def test_empty_boxes_and_means():
    truth = np.array([[1.0, 1.0, 10.0, 10.0]] * 2)
    empty = truth * np.array([1, 1, 0, 0])
    assert boxes.box_iou(empty, empty).tolist() == [0.0, 0.0]
    a, b = boxes.score_boxes(truth, truth), boxes.score_boxes(empty + 300, truth)
    mean = boxes.mean_score([a, b])
    assert mean.success == pytest.approx((a.success + b.success) / 2)
    assert b.precision == 0.5  # its first frame
