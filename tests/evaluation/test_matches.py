"""The matches that the report shows are those whose labels the operator blends."""

import dataclasses

import cv2
import numpy as np
import pytest
from full_affinity import assert_propagated, full_propagation
from PIL import Image

from vfs_jax.data.images import write_index_mask
from vfs_jax.data.mask_datasets import MaskSequence
from vfs_jax.evaluation.encoders import as_encoder, of_network
from vfs_jax.evaluation.propagation.features import features_of
from vfs_jax.evaluation.propagation.labels import propagate_labels
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.report.matches import look, main_colors
from vfs_jax.models import ResNet

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


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fill_first": True},
        {"keep_first": False, "first_frame_windowed": False},
        {"topk": None},  # of all keys the ten best are shown
    ],
    ids=str,
)
def test_matches_are_the_operators(variables, sequence, changes):
    """Blended by their weights, labels are what propagation gives: frame 2, whose keys repeat frame 0, and frame 6."""
    settings = dataclasses.replace(SETTINGS, **changes)
    layout, encoder = Layout.of((64, 104), settings, of_network(ResNet(18), {})), as_encoder(variables)
    features = list(features_of(encoder, map(sequence.frame, range(8)), settings, layout))
    first = np.random.default_rng(0).random((8, 13, 4), np.float32)
    ten = dataclasses.replace(settings, topk=10)
    soft = [first, *(np.asarray(each) for each in propagate_labels(features, first, ten, layout))]
    for number in (2, 6):
        seen = look(encoder, settings, sequence, number)
        frame, row, col = np.moveaxis(seen.where, -1, 0)
        blended = np.stack(soft)[np.array(seen.frames)[frame], row, col]
        used, known = (np.stack([each[key] for key in seen.frames]) for each in (features, soft))
        expected = full_propagation(
            features[number], used, known, radius=4.0, first_frame_windowed=settings.first_frame_windowed
        )
        found = (seen.weights[..., None] * blended).sum(2)
        assert_propagated(found, *expected, tolerance=1e-4)  # features of another batch
        assert_propagated(soft[number], *expected, tolerance=1e-4)


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
