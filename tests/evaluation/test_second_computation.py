"""DAVIS tables of real masks against a second computation that shares no code, and every measure at its edges."""

import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from vfs_jax.data.images import write_index_mask
from vfs_jax.data.mask_datasets import MaskSequence, labels_of
from vfs_jax.evaluation.metrics import boxes, davis, miou, pck, tapvid
from vfs_jax.evaluation.tasks.masks import Davis


def index_masks(folder, step=5):
    """Every fifth frame at a quarter of the size, as index masks [t, h, w]: real shapes at a hundredth of the cost."""
    return np.stack([np.array(Image.open(path))[::4, ::4] for path in sorted(folder.glob("*.png"))[::step]])


def second_j(result, truth):
    a, b = set(np.flatnonzero(result)), set(np.flatnonzero(truth))
    return len(a & b) / len(a | b) if a | b else 1.0


def second_contour(mask):
    """Pixels with a different pixel at (0, 1), (1, 0) or (1, 1); beyond the image the nearest pixel is repeated."""
    h, w = mask.shape
    rows, cols = np.minimum(np.arange(h) + 1, h - 1), np.minimum(np.arange(w) + 1, w - 1)
    diagonal = (mask != mask[np.ix_(rows, cols)]) & (np.arange(h) < h - 1)[:, None] & (np.arange(w) < w - 1)
    return (mask != mask[:, cols]) | (mask != mask[rows]) | diagonal


def second_f(result, truth):
    a, b = second_contour(result), second_contour(truth)
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    reach = math.ceil(0.008 * math.hypot(*truth.shape))
    precision = (ndimage.distance_transform_edt(~b)[a] <= reach).mean()
    recall = (ndimage.distance_transform_edt(~a)[b] <= reach).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def second_statistics(values):
    """Mean, share above one half, first less last quarter; quarters meet at 1 + (n - 1) q / 4, halves rounded up."""
    n = len(values)
    edges = [math.floor(1 + (n - 1) * q / 4 + 0.5) for q in range(5)]
    first, last = values[edges[0] - 1 : edges[1]], values[edges[3] - 1 : edges[4]]
    return sum(values) / n, sum(v > 0.5 for v in values) / n, sum(first) / len(first) - sum(last) / len(last)


def second_rows(results, truths):
    """The seven columns of every object; the first and the last frame are left out."""
    rows = []
    for label in range(1, int(truths[0].max()) + 1):
        pairs = [(result == label, truth == label) for result, truth in zip(results[1:-1], truths[1:-1], strict=True)]
        j, f = (second_statistics([measure(*pair) for pair in pairs]) for measure in (second_j, second_f))
        rows.append([(j[0] + f[0]) / 2, *j, *f])
    return np.array(rows)


def our_scores(name, results, truths):
    pairs = [(result, truth, f"{name}.png") for result, truth in zip(results[1:-1], truths[1:-1], strict=True)]
    return davis.score_sequence(name, pairs, labels=labels_of(truths[0]))


def shifted(masks):
    """Each mask moved by more than the one before, so that the decay is not 0."""
    return np.stack([np.roll(mask, (t, -2 * t), (0, 1)) for t, mask in enumerate(masks)])


def without_the_last_object(masks):
    return np.where(masks == masks.max(), 0, masks).astype(np.uint8)


@pytest.mark.parametrize("change", [shifted, without_the_last_object])
def test_davis_tables_of_osvos_masks(real_data, change):
    """OSVOS's masks of several objects as truth; every object's seven numbers and the global ones, to rounding."""
    scores, expected = [], []
    for name in ("bike-packing", "horsejump-high", "kite-surf"):
        truths = index_masks(real_data / "davis_eval/osvos" / name)
        assert truths.max() >= 2
        scores += our_scores(name, change(truths), truths)
        expected.append(second_rows(change(truths), truths))
    ours = np.array([list(score.row.values()) for score in scores])
    np.testing.assert_allclose(ours, np.concatenate(expected), rtol=0, atol=1e-12)
    total = np.concatenate(expected).mean(axis=0)
    total[0] = (total[1] + total[4]) / 2
    np.testing.assert_allclose(list(davis.global_row(scores).values()), total, rtol=0, atol=1e-12)
    assert 0.05 < total[0] < 0.95


@pytest.mark.parametrize("name", ["blackswan", "horsejump-high", "kite-surf"])
def test_davis_tables_of_osvos_against_true_masks(real_data, name):
    """OSVOS merged to one label as the result, the true masks (one object) as truth."""
    truths = index_masks(real_data / "davis_like/Annotations/480p" / name)
    results = (index_masks(real_data / "davis_eval/osvos" / name) > 0).astype(np.uint8)
    (score,) = our_scores(name, results, truths)
    (expected,) = second_rows(results, truths)
    np.testing.assert_allclose(list(score.row.values()), expected, rtol=0, atol=1e-12)
    assert 0.3 < expected[0] < 0.99
    (perfect,) = our_scores(name, truths, truths)
    assert list(perfect.row.values()) == [1, 1, 1, 0, 1, 1, 0]


def mask_sequence(folder, masks):
    """A data set of one sequence, and its own masks as results in FOLDER/results."""
    paths = []
    for kind in ("truth", "results"):
        (folder / kind / "one").mkdir(parents=True)
        paths = [folder / kind / "one" / f"{t:05d}.png" for t in range(len(masks))]
        for path, mask in zip(paths, masks, strict=True):
            write_index_mask(path, mask)
    truth = tuple(folder / "truth/one" / path.name for path in paths)
    return MaskSequence("one", tuple(path.with_suffix(".jpg") for path in truth), truth)


@pytest.mark.parametrize("frames", [1, 2])
def test_davis_of_a_single_frame_is_not_a_number(tmp_path, frames):
    sequence = mask_sequence(tmp_path, np.ones((frames, 8, 9), np.uint8))
    task = Davis()
    with pytest.warns(UserWarning, match="one: two frames or fewer"):
        score = task.score(tmp_path / "results", sequence)
    assert np.isnan(score.value)
    assert all(np.isnan(value) for value in task.summary([score]).values())


def test_davis_of_a_video_without_objects_is_not_a_number(tmp_path):
    sequence = mask_sequence(tmp_path, np.zeros((4, 8, 9), np.uint8))
    score = Davis().score(tmp_path / "results", sequence)
    assert np.isnan(score.value)
    assert score.rows == []


def test_keypoints_of_a_single_frame():
    truth = np.array([[[10.0, 10.0], [40.0, 50.0], [20.0, 20.0]]])
    assert set(pck.pck([pck.distances(truth, truth)]).values()) == {1.0}
    # The third joint is missing in the result (-1): it is left out; the box of the others stays, 30x40, size 30.
    found = truth.copy()
    found[0, 2], found[0, 1, 0] = -1, 46.0  # the second is off by 6, a share of 0.2
    assert pck.pck([pck.distances(found, truth)], (0.1, 0.25)) == {"PCK@0.1": 0.5, "PCK@0.25": 1.0}


def test_classes_of_a_single_frame():
    truth = np.array([[0, 0, 1, 1, 2, 255]], np.uint8)
    assert miou.mean_iou([miou.confusion(np.minimum(truth, 2), truth)]) == 1.0  # the ignored pixel does not matter
    # All background: class 0 has 2 of 5 pixels, classes 1 and 2 are missing: (0.4 + 0 + 0) / 3 = 0.13333.
    assert miou.mean_iou([miou.confusion(np.zeros_like(truth), truth)]) == 0.1333
    # Class 2 missing, taken for 1: 2 of 2, 2 of 3, 0 of 1: 5/9 = 0.55556.
    assert miou.mean_iou([miou.confusion(np.minimum(truth, 1), truth)]) == 0.5556
    assert np.isnan(miou.mean_iou([miou.confusion(truth[:, 5:], truth[:, 5:])]))  # nothing but ignored pixels


def test_boxes_of_a_single_frame():
    truth = np.array([[5.0, 6.0, 7.0, 8.0]])
    # The first box is the truth whatever is found: IoU 1 above 0, .05 ... .95, not above 1.
    for found in (truth, truth * 0, truth + 900):
        score = boxes.score_boxes(found, truth)
        assert score.success == pytest.approx(20 / 21)
        assert score.precision == 1.0


def test_tracks_that_are_missing():
    truth, seen = np.zeros((2, 4, 2)), np.zeros((2, 4), bool)
    queries = np.array([0, 1])
    # Every point taken for hidden: nothing found, though each place is right.
    assert tapvid.score_tracks(truth, ~seen, truth, seen, queries) == tapvid.TrackScore(0.0, 1.0, 0.0)
    # Hidden throughout and known to be: no visible point to find; only occlusion can be scored.
    found = tapvid.score_tracks(truth, ~seen, truth, ~seen, queries)
    assert np.isnan([found.average_jaccard, found.average_within]).all()
    assert found.occlusion_accuracy == 1.0
    # One frame, and no point at all: nothing counts.
    for few in (tapvid.score_tracks(truth[:, :1], seen[:, :1], truth[:, :1], seen[:, :1], queries * 0),
                tapvid.score_tracks(truth[:0], seen[:0], truth[:0], seen[:0], queries[:0])):  # fmt: skip
        assert np.isnan([few.average_jaccard, few.average_within, few.occlusion_accuracy]).all()
        assert np.isnan(tapvid.mean_score([few]).average_jaccard)
