"""The matches that the report shows are those whose labels the operator blends."""

import dataclasses

import cv2
import numpy as np
import pytest
from full_affinity import assert_propagated, full_propagation
from PIL import Image

from vfs_jax.correspondence import propagate_frame
from vfs_jax.data.images import write_index_mask
from vfs_jax.data.mask_datasets import MaskSequence
from vfs_jax.evaluation.propagation.labels import network_features, propagate_labels
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.report.matches import best_keys, key_frames, look, main_colors

SETTINGS = Settings(short_side=64, radius=4.0, num_context=3)


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    """Eight frames of 64x104 whose ground drifts to the left under a textured square that stays."""
    folder = tmp_path_factory.mktemp("drift")
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 200, (16, 36, 3), dtype=np.uint8), (144, 64), interpolation=cv2.INTER_CUBIC)
    square = rng.integers(100, 255, (24, 24, 3), dtype=np.uint8)
    mask = np.zeros((64, 104), np.uint8)
    mask[20:44, 40:64] = 1
    frames, masks = [], []
    for t in range(8):
        image = ground[:, 5 * t : 5 * t + 104].copy()
        image[20:44, 40:64] = square
        frames.append(folder / f"{t:05d}.png")
        masks.append(folder / "masks" / "drift" / f"{t:05d}.png")
        masks[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(frames[-1])
        write_index_mask(masks[-1], mask)
    return MaskSequence("drift", tuple(frames), tuple(masks))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"first_frame_windowed": False},
        {"window": "square", "radius": 2.0, "topk": 5},
        {"radius": None, "topk": 3},
        {"radius": 1.0},  # fewer allowed than ten
    ],
)
def test_the_operators_keys(changes):
    """Labels blended from these keys by these weights are what the operator gives."""
    settings = dataclasses.replace(SETTINGS, **changes)
    rng = np.random.default_rng(0)
    query, *keys = rng.standard_normal((4, 9, 11, 6)).astype(np.float32)
    keys[1][4, 5] = keys[1][4, 6]  # a tie between neighbors,
    keys[2] = keys[1]  # and between frames
    labels = rng.random((3, 9, 11, 2)).astype(np.float32)
    expected = propagate_frame(
        query, np.stack(keys), labels, radius=settings.radius, topk=settings.topk, window=settings.window,
        first_frame_windowed=settings.first_frame_windowed,
    )  # fmt: skip
    where, scores = best_keys(query, keys, settings)
    weights = np.exp((scores - scores[..., :1]) / settings.temperature)
    weights /= weights.sum(-1, keepdims=True)
    found = np.einsum("hwk,hwkl->hwl", weights, labels[tuple(np.moveaxis(where, -1, 0))])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (scores[..., :-1] >= scores[..., 1:]).all()


@pytest.mark.parametrize("changes", [{}, {"fill_first": True}, {"keep_first": False}])
def test_the_right_frames(variables, sequence, changes):
    """In a whole propagation too: the labels of frame 2, whose keys repeat frame 0, and of frame 6."""
    settings = dataclasses.replace(SETTINGS, **changes)
    layout = Layout.of((64, 104), settings)
    features = list(network_features(variables, map(sequence.frame, range(8)), settings, layout))
    first = np.random.default_rng(0).random((8, 13, 4), np.float32)
    soft = [first, *(np.asarray(each) for each in propagate_labels(features, first, settings, layout))]
    for number in (2, 6):
        seen = look(variables, settings, sequence, number)
        assert seen.frames == key_frames(number, settings)
        frame, row, col = np.moveaxis(seen.where, -1, 0)
        blended = np.stack(soft)[np.array(seen.frames)[frame], row, col]
        used, known = (np.stack([each[key] for key in seen.frames]) for each in (features, soft))
        expected = full_propagation(features[number], used, known, radius=4.0)
        assert_propagated(
            (seen.weights[..., None] * blended).sum(2), *expected, tolerance=1e-4
        )  # other batches' features


def test_main_colors_tell_parts_apart():
    features = np.zeros((2, 4, 6, 8), np.float32)
    features[:, :, :3, 1] = 1
    features[:, :, 3:, 5] = 1
    features += np.random.default_rng(0).normal(0, 0.01, features.shape).astype(np.float32)
    colors = main_colors(features)
    assert (colors.shape, colors.dtype) == ((2, 4, 6, 3), np.uint8)
    left, right = colors[:, :, :3, 0].astype(int), colors[:, :, 3:, 0].astype(int)
    assert abs(left.mean() - right.mean()) > 200
    assert left.std() < 20
