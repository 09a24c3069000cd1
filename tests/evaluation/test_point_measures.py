"""Keypoints: drawing, reading positions back, PCK and TAP-Vid's measures."""

import importlib.util
import json

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io
import torch

from vfs_jax.correspondence.coordinates import resize_bilinear
from vfs_jax.evaluation.metrics import pck, tapvid
from vfs_jax.evaluation.propagation.heatmaps import draw_maps, positions_of


@pytest.fixture(scope="module")
def inputs(oracles):
    spec = importlib.util.spec_from_file_location("oracle_inputs", oracles / "inputs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def mouse(real_data):
    """Hand-labeled points of a real video: (x, y) of the first pixel at 0, [30, 4, 2]."""
    path = real_data / "jhmdb_like/joint_positions/openfield/m4s1_a/joint_positions.mat"
    return scipy.io.loadmat(path)["pos_img"].transpose(2, 1, 0) - 1


def test_official_gaussians(oracles):
    expected = np.load(oracles / "jhmdb.npz")
    names = [key.removeprefix("map.") for key in expected.files if key.startswith("map.")]
    points = np.array([expected[f"point.{name}"] for name in names])
    found = draw_maps(points, (60, 80), sigma=4.0)
    for index, name in enumerate(names):
        np.testing.assert_allclose(found[..., index], expected[f"map.{name}"], atol=1e-6, err_msg=name)  # float32


@pytest.mark.parametrize(("name", "size"), [("320x320", (320, 320)), ("short320", (320, 427))])
def test_official_first_maps(oracles, mouse, name, size):
    expected = np.load(oracles / "jhmdb.npz")
    maps = cv2.resize(draw_maps(mouse[0], (480, 640)), size[::-1], interpolation=cv2.INTER_LINEAR)
    stride = int(expected[f"first.{name}.map.stride"])
    np.testing.assert_allclose(maps.reshape(-1)[::stride], expected[f"first.{name}.map.sample"], atol=1e-6)
    grid = expected[f"first.{name}.grid"]
    np.testing.assert_allclose(resize_bilinear(maps, grid.shape[:2]), grid, atol=1e-6)


@pytest.mark.slow
def test_official_positions_and_pck(oracles, inputs, mouse):
    expected = json.loads((oracles / "jhmdb.json").read_text())
    maps = inputs.jhmdb_maps(mouse.transpose(2, 1, 0))
    found = np.stack([positions_of(jnp.asarray(frame.transpose(1, 2, 0)), size=(480, 640))[0] for frame in maps])
    coordinates = np.array(expected["coords [2 (x, y), joint, frame]"]).transpose(2, 1, 0)
    large = torch.nn.functional.interpolate(torch.from_numpy(maps.astype(np.float64)), size=(480, 640), mode="bilinear")
    fifth, sixth = -np.partition(-large.numpy().reshape(*maps.shape[:2], -1), (4, 5))[..., 4:6].transpose(2, 0, 1)
    clear = fifth - sixth > 1e-5 * fifth  # elsewhere rounding may take another fifth pixel
    assert clear.mean() > 0.9
    np.testing.assert_allclose(found[clear], coordinates[clear], atol=1e-3)  # float32 maps: 4e-5
    scores = pck.pck([pck.distances(coordinates, mouse)])
    for name, value in expected["pck, synthetic maps"].items():
        assert 100 * scores[name] == pytest.approx(value, abs=1e-6)


def test_official_shares_of_distances(oracles):
    expected = json.loads((oracles / "jhmdb.json").read_text())
    (key,) = (key for key in expected if key.startswith("compute_pck"))
    rng = np.random.default_rng(83)
    values = np.full((30, 4), np.nan)
    for joint, n in enumerate((30, 29, 30, 28)):
        values[:n, joint] = rng.uniform(size=n)
    for threshold, each in expected[key].items():
        found = pck.pck([values], [float(threshold)])[f"PCK@{threshold}"]
        assert 100 * found == pytest.approx(np.mean(each), abs=1e-6)


def test_pck_by_hand():
    # Box of the joints 30x40, diagonal 50, size 30. Joint 0 is off by 3 (0.1), joint 1 by 9 (0.3).
    truth = np.array([[[10.0, 10.0], [40.0, 50.0]]])
    found = truth + np.array([[[3.0, 0.0], [0.0, 9.0]]])
    np.testing.assert_allclose(pck.distances(found, truth), [[0.1, 0.3]])
    assert pck.pck([pck.distances(found, truth)], (0.05, 0.1, 0.3)) == {"PCK@0.05": 0, "PCK@0.1": 0.5, "PCK@0.3": 1}
    # Joint 1 is lost (x = -1): it leaves the box too, which then has no size; joint 0 is infinitely far off.
    found[0, 1] = -1
    values = pck.distances(found, truth)
    assert values[0, 0] == np.inf
    assert np.isnan(values[0, 1])
    assert pck.pck([values]) == {f"PCK@{t}": 0.0 for t in pck.THRESHOLDS}
    # x = 0 is not visible either; a frame without any visible joint counts nowhere.
    values = pck.distances(np.zeros_like(truth), truth)
    assert np.isnan(values).all()
    assert np.isnan(pck.pck([values])["PCK@0.1"])


def test_truth_against_itself(mouse):
    assert set(pck.pck([pck.distances(mouse, mouse)]).values()) == {1.0}


def test_positions_by_hand():
    maps = np.zeros((4, 6, 3), np.float32)
    maps[1, 2, 0], maps[3, 4, 0] = 1, 3  # x = (2 + 3 * 4) / 4, y = (1 + 3 * 3) / 4
    maps[2, 0:6, 1] = (1, 2, 9, 2, 1, 0)  # symmetric around x = 2
    found, highest = positions_of(jnp.asarray(maps), size=(4, 6))
    np.testing.assert_allclose(found, [[3.5, 2.5], [2, 2], [-1, -1]], atol=1e-6)
    np.testing.assert_allclose(highest, [3, 9, 0])


def naive_tracks(tracks, occluded, truth, true_occluded, queries):
    """TAP-Vid's definitions, point by point and frame by frame."""
    jaccards, withins, right, total = [], [], 0, 0
    for threshold in (1, 2, 4, 8, 16):
        tp = fp = fn = visible = within = 0
        for n in range(len(tracks)):
            for t in range(queries[n] + 1, tracks.shape[1]):
                near = np.hypot(*(tracks[n, t] - truth[n, t])) < threshold
                sees, there = not occluded[n, t], not true_occluded[n, t]
                tp += sees and there and near
                fp += sees and not (there and near)
                fn += there and not (sees and near)
                visible += there
                within += there and near
        jaccards.append(tp / (tp + fp + fn))
        withins.append(within / visible)
    for n in range(len(tracks)):
        for t in range(queries[n] + 1, tracks.shape[1]):
            right += occluded[n, t] == true_occluded[n, t]
            total += 1
    return np.mean(jaccards), np.mean(withins), right / total


@pytest.mark.parametrize("seed", range(5))
def test_tapvid_equal_to_the_definitions(seed):
    rng = np.random.default_rng(seed)
    n, t = 7, 11
    truth = rng.uniform(0, 256, (n, t, 2))
    tracks = truth + rng.normal(size=(n, t, 2)) * rng.choice([0.5, 3, 12], (n, t, 1))
    occluded, true_occluded = rng.uniform(size=(2, n, t)) < 0.3
    queries = rng.integers(0, t - 2, n)
    found = tapvid.score_tracks(tracks, occluded, truth, true_occluded, queries)
    # A visible point that is taken for visible but is too far off is a false positive and a missed one, both.
    expected = naive_tracks(tracks, occluded, truth, true_occluded, queries)
    np.testing.assert_allclose((found.average_jaccard, found.average_within, found.occlusion_accuracy), expected)


def test_tapvid_by_hand(real_data):
    truth = np.zeros((1, 5, 2))
    seen = np.zeros((1, 5), bool)
    queries = np.array([0])
    # Perfect; the query's own frame does not count.
    tracks = truth.copy()
    tracks[0, 0] = 99
    assert tapvid.score_tracks(tracks, seen, truth, seen, queries) == tapvid.TrackScore(1.0, 1.0, 1.0)
    # Hidden in two of the four frames, never noticed: at every threshold 2 true and 2 false positives, 2 visible.
    hidden = np.array([[False, False, False, True, True]])
    found = tapvid.score_tracks(truth, seen, truth, hidden, queries)
    assert found == tapvid.TrackScore(2 / 4, 1.0, 2 / 4)
    # Nothing after the query: NaN, and left out of the mean.
    late = tapvid.score_tracks(truth, seen, truth, seen, np.array([4]))
    assert np.isnan(late.average_jaccard)
    assert tapvid.mean_score([found, late]) == found
