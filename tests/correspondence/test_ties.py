"""Keys that score the same: which of them take part, held to the full affinity (full_affinity.py)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_affinity import full_propagation, full_video

from vfs_jax.correspondence import propagate_frame, propagate_video

TOLERANCE = 1e-5  # float32 sums of a few products of numbers around 1


@pytest.mark.parametrize(
    "options",
    [
        {"radius": 2.5, "topk": 4},
        pytest.param({"radius": None, "topk": 7}, marks=pytest.mark.slow),
        pytest.param({"radius": 1.5, "topk": 12, "first_frame_windowed": False}, marks=pytest.mark.slow),
        pytest.param({"radius": 1.0, "topk": 3, "first_frame_windowed": False}, marks=pytest.mark.slow),
        pytest.param({"radius": 1.0, "topk": 200}, marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.parametrize("ties", ["first", "all"])
def test_ties(options, ties):
    """Features of small whole numbers: scores are exact and tie everywhere, within frames and between them.

    Either the lowest (frame, row, column) wins, or all that score as the last match take part.
    """
    options = {**options, "normalize": False, "ties": ties}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        query = rng.integers(0, 2, (5, 6, 3)).astype(np.float32)
        keys = rng.integers(0, 2, (4, 5, 6, 3)).astype(np.float32)
        labels = rng.uniform(size=(4, 5, 6, 2)).astype(np.float32)
        valid = np.array([seed % 3 > 0, True, True, True])
        result = propagate_frame(query, keys, labels, key_valid=valid, **options)
        expected, _ = full_propagation(query, keys, labels, key_valid=valid, **options)
        np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_ties_under_jit_vmap_and_grad():
    """Batches in which some frames have ties that cross the choice and some have none."""
    rng = np.random.default_rng(0)
    query = rng.integers(0, 2, (2, 5, 6, 3)).astype(np.float32)
    keys = rng.integers(0, 2, (2, 3, 5, 6, 3)).astype(np.float32)
    query[1], keys[1] = rng.standard_normal(query[1].shape), rng.standard_normal(keys[1].shape)
    labels = rng.uniform(size=(2, 3, 5, 6, 2)).astype(np.float32)
    options = {"radius": 2.5, "topk": 4, "normalize": False, "ties": "all"}
    several = jax.jit(jax.vmap(lambda *arrays: propagate_frame(*arrays, **options)))(query, keys, labels)
    for *arrays, result in zip(query, keys, labels, several, strict=True):
        np.testing.assert_allclose(result, full_propagation(*arrays, **options)[0], rtol=0, atol=TOLERANCE)
    total = jax.grad(lambda *arrays: jnp.sum(jnp.square(propagate_frame(*arrays, **options))), argnums=(0, 1, 2))
    for number in range(2):  # keys that tie weigh the same whatever their features: where all do, labels alone count
        gradients = total(query[number], keys[number], labels[number])
        assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
        assert [bool(np.any(gradient)) for gradient in gradients] == [number == 1, number == 1, True]


@pytest.mark.slow
@pytest.mark.parametrize("still", [True, False])
def test_of_ties_in_a_video_the_oldest_frame_wins(still):
    """Frames tie in time: the ring of the scan must rank them by age, not by where they lie."""
    rng = np.random.default_rng(0)
    features = rng.integers(0, 2, (9, 4, 5, 3)).astype(np.float32)
    if still:
        features = np.stack([features[0]] * 9)
    first = rng.uniform(size=(4, 5, 2)).astype(np.float32)
    for options in ({"num_context": 3, "keep_first": False}, {"num_context": 2}):
        options = {"radius": 2.5, "topk": 2, "normalize": False, **options}
        expected, _ = full_video(features, first, **options)
        np.testing.assert_allclose(propagate_video(features, first, **options), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["tiles", "batched"])
def test_frames_that_come_back_tie(implementation):
    """Keys of any numbers that are there again in a later frame score the same, wherever the frames are kept."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((9, 13, 8))
    features = np.stack([base + rng.standard_normal(base.shape) for _ in range(4)])[np.arange(8) % 4].astype(np.float32)
    first = rng.uniform(size=(9, 13, 2)).astype(np.float32)
    options = {"num_context": 3, "radius": 3.0}
    expected, _ = full_video(features, first, **options)
    found = propagate_video(features, first, **options, implementation=implementation)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
