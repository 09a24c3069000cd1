"""J and F: the official numbers, an obvious second computation, and cases worked out by hand."""

import json

import numpy as np
import pytest
from scipy import ndimage

from vfs_jax.data.images import read_index_mask
from vfs_jax.data.mask_datasets import open_davis
from vfs_jax.errors import InputError
from vfs_jax.evaluation.metrics import davis


def naive_region(result, truth):
    both = either = 0
    for r, t in zip(result.ravel(), truth.ravel(), strict=True):
        both += r and t
        either += r or t
    return 1.0 if either == 0 else both / either


def naive_contour_points(mask):
    """The official map, read off its definition pixel by pixel; outside the image nothing is set."""
    h, w = mask.shape
    points = []
    for y in range(h):
        for x in range(w):
            if (y, x) == (h - 1, w - 1):
                continue
            others = []
            if x + 1 < w:
                others.append(mask[y, x + 1])
            if y + 1 < h:
                others.append(mask[y + 1, x])
            if x + 1 < w and y + 1 < h:
                others.append(mask[y + 1, x + 1])
            if any(other != mask[y, x] for other in others):
                points.append((y, x))
    return np.array(points, int).reshape(-1, 2)


def naive_contour_accuracy(result, truth):
    """All pairs of contour points: no dilation, no distance transform."""
    radius = np.ceil(0.008 * np.sqrt(result.shape[0] ** 2 + result.shape[1] ** 2))
    a, b = naive_contour_points(result), naive_contour_points(truth)
    if not len(a) and not len(b):
        return 1.0
    if not len(a) or not len(b):
        return 0.0
    near = ((a[:, None] - b[None]) ** 2).sum(-1) <= radius**2
    precision, recall = near.any(1).mean(), near.any(0).mean()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("seed", range(30))
def test_equal_to_the_obvious_computation(seed):
    rng = np.random.default_rng(seed)
    result, truth = rng.uniform(size=(2, *rng.integers(1, 24, 2))) < rng.uniform()
    assert davis.region_similarity(result, truth) == pytest.approx(naive_region(result, truth), abs=1e-12)
    assert davis.contour_accuracy(result, truth) == pytest.approx(naive_contour_accuracy(result, truth), abs=1e-12)


def shifted_contour(mask):
    """The official map by shifting the padded mask: the last row has no south, the last column no east."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    out = (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1])
    out[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return out


@pytest.mark.parametrize("path", ["horsejump-high/00020.png", "kite-surf/00030.png", "bike-packing/00040.png"])
def test_equal_to_distance_transforms_on_real_masks(real_data, path):
    # 480x854 (radius 8) and 480x910 (radius 9); OSVOS masks as truth, shifted by (9, 7) or without an object as result.
    mask = read_index_mask(real_data / "davis_eval" / "osvos" / path)
    radius = {854: 8, 910: 9}[mask.shape[1]]
    for label in range(1, mask.max() + 1):
        truth = mask == label
        result = np.roll(truth, (9, 7), (0, 1))
        a, b = shifted_contour(result), shifted_contour(truth)
        precision = (ndimage.distance_transform_edt(~b)[a] <= radius).mean()
        recall = (ndimage.distance_transform_edt(~a)[b] <= radius).mean()
        expected = 2 * precision * recall / (precision + recall)
        assert 0.3 < expected < 0.999
        assert davis.contour_accuracy(result, truth) == pytest.approx(expected, abs=1e-12)


def test_batches_are_frame_by_frame():
    rng = np.random.default_rng(0)
    result, truth = rng.uniform(size=(2, 2, 3, 20, 30)) < 0.5
    for measure in (davis.region_similarity, davis.contour_accuracy):
        each = [[measure(r, t) for r, t in zip(rs, ts, strict=True)] for rs, ts in zip(result, truth, strict=True)]
        np.testing.assert_array_equal(measure(result, truth), each)
        assert measure(result[:0], truth[:0]).shape == (0, 3)


def test_by_hand():
    # A 4x4 square and the same moved right by one: 12 pixels shared, 20 in either.
    truth = np.zeros((40, 40), bool)
    truth[10:14, 10:14] = True
    result = np.roll(truth, 1, axis=1)
    assert davis.region_similarity(result, truth) == pytest.approx(12 / 20)
    # The matching distance is ceil(0.008 * 56.57) = 1: moved by one every contour point still matches.
    assert davis.contour_accuracy(result, truth) == 1.0
    # The contour of a square of side 4 lies on rows and columns 9..13, its inner 3x3 pixels left out: 25 - 9 = 16.
    assert np.count_nonzero(davis.contour(truth)) == 16
    # Moved by three, columns 12..16: of the result's contour, columns 12, 13 are near 13 (their rows 9, 13, and the
    # whole column 12, rows 9..13, lies beside column 13) and column 14 is near 13 with its rows 9, 13.
    moved = np.roll(truth, 3, axis=1)
    matched = 5 + 2 + 2  # columns 12, 13, 14 of the result; by symmetry as many of the truth
    assert davis.contour_accuracy(moved, truth) == pytest.approx(matched / 16)


def test_empty_masks():
    empty, square = np.zeros((2, 30, 30), bool)
    square[5:9, 5:9] = True
    for measure in (davis.region_similarity, davis.contour_accuracy):
        assert measure(empty, empty) == 1.0
        assert measure(empty, square) == measure(square, empty) == 0.0
        assert measure(square, square) == 1.0


def test_official_cases(oracles):
    expected = json.loads((oracles / "davis_measures_small.json").read_text())
    masks = np.load(oracles / "davis_measures_small.npz")
    for name, values in expected["cases"].items():
        h, w = map(int, name.removeprefix("blob").split("x")) if name.startswith("blob") else (40, 60)

        def unpack(key, shape=(h, w)):
            return np.unpackbits(masks[key])[: shape[0] * shape[1]].reshape(shape).astype(bool)

        truth = unpack(f"{name}.gt")
        result = unpack(f"{name}.res") if f"{name}.res" in masks else np.roll(truth, (2, 1), (0, 1))
        assert davis.region_similarity(result, truth) == pytest.approx(values["J"], abs=1e-9), name
        assert davis.contour_accuracy(result, truth) == pytest.approx(values["F"], abs=1e-9), name
    (key,) = (key for key in expected if key.startswith("statistics"))
    for n, (mean, recall, decay) in expected[key].items():
        found = davis.statistics(np.random.default_rng(100 + int(n)).uniform(size=int(n)))
        assert (found.mean, found.recall) == pytest.approx((mean, recall), abs=1e-9)
        if decay is not None:  # the official tool has none from 256 values on; see the next test
            assert found.decay == pytest.approx(decay, abs=1e-9)


def test_decay_of_long_videos():
    # 300 values: quarters end at round(linspace(1, 300, 5)) = 1, 76, 150 (150.5 to even, + 1e-10: 151), 225, 300, so
    # the first is values 0..75 and the last 224..299. The official indices wrap at 256 and give NaN.
    values = np.linspace(1, 0, 300)
    assert davis.statistics(values).decay == pytest.approx(values[:76].mean() - values[224:].mean(), abs=1e-12)


def test_statistics_of_few_values():
    # One value is first and last quarter at once.
    assert davis.statistics(np.array([0.7])) == davis.Statistics(0.7, 1.0, 0.0)
    # Exactly one half does not count as recalled.
    assert davis.statistics(np.array([0.5, 0.5])).recall == 0.0
    assert np.isnan(davis.statistics(np.zeros(0)).mean)


def frames(*masks):
    return [(result, truth, f"{index}.png") for index, (result, truth) in enumerate(masks)]


def test_objects_of_a_sequence():
    truth = np.zeros((20, 20), np.uint8)
    truth[2:8, 2:8], truth[12:18, 12:18] = 1, 2
    lost = np.where(truth == 2, 0, truth).astype(np.uint8)
    first, second = davis.score_sequence("two", frames((truth, truth), (lost, truth)), labels=[1, 2])
    assert (first.name, second.name) == ("two_1", "two_2")
    assert first.row["J-Mean"] == 1.0
    # Object 2 is missing in one of two frames: 1 and 0.
    np.testing.assert_array_equal(second.region, [1, 0])
    assert second.row["J&F-Mean"] == 0.5
    # An object that is in neither mask counts as 1.
    assert davis.score_sequence("x", frames((lost, lost)), labels=[1, 2])[1].row["J-Mean"] == 1.0
    # Over all objects: J (1 + .5) / 2.
    assert davis.global_row([first, second])["J-Mean"] == pytest.approx(0.75)


def test_an_extra_object_is_an_error():
    truth = np.ones((8, 8), np.uint8)
    with pytest.raises(InputError, match=r"0\.png: holds label 2, the first frame has 1 object"):
        davis.score_sequence("extra", frames((2 * truth, truth)), labels=[1])


def test_another_size_is_an_error():
    with pytest.raises(InputError, match=r"0\.png: mask and ground truth are of sizes 8x4 and 8x8"):
        davis.score_sequence("size", frames((np.ones((4, 8), np.uint8), np.ones((8, 8), np.uint8))), labels=[1])


def test_a_video_of_two_frames_is_left_out():
    with pytest.warns(UserWarning, match="short: two frames or fewer"):
        (short,) = davis.score_sequence("short", [], labels=[1])
    assert np.isnan(short.row["J&F-Mean"])
    mask = np.ones((8, 8), np.uint8)
    (whole,) = davis.score_sequence("whole", frames((mask, mask)), labels=[1])
    assert davis.global_row([short, whole])["J-Mean"] == 1.0
    assert np.isnan(davis.global_row([short])["J-Mean"])


def test_osvos_masks(real_data):
    """Known from the masks' description: OSVOS's foreground has IoU 0.943 with the true blackswan masks."""
    (swan,) = open_davis(real_data / "davis_like", sequences=["blackswan"])
    folder = real_data / "davis_eval" / "osvos" / "blackswan"
    pairs = [(read_index_mask(folder / f"{swan.frames[i].stem}.png") > 0, swan.mask(i) > 0) for i in range(1, 49)]
    values = davis.region_similarity(*map(np.stack, zip(*pairs, strict=True)))
    assert values.mean() == pytest.approx(0.943, abs=5e-4)  # given to three decimals
