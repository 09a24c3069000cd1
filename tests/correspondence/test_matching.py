"""top_matches, masked keys and the arguments of all operators, held to the full affinity (full_affinity.py)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_affinity import assert_propagated, full_propagation, full_scores, full_video

from vfs_jax.correspondence import (
    affinity,
    propagate_frame,
    propagate_next,
    propagate_video,
    start_memory,
    top_matches,
)
from vfs_jax.correspondence.memory import ContextSpec
from vfs_jax.correspondence.propagation import _propagate_frame

TOLERANCE = 1e-5  # float32 sums of a few products of numbers around 1


def whole_numbers(seed, frames=3, height=5, width=6, channels=3):
    """Features of 0 and 1 without norms: scores are exact, and tie within frames and between them."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 2, (*n, height, width, channels)).astype(np.float32) for n in ((), (frames,))]


def naive_matches(query, keys, topk, **options):
    """Sort all scores of every position: scores [h, w, k], index [h, w, k, 3], missing ones as top_matches has them."""
    height, width = query.shape[:2]
    every = full_scores(query, keys, **options).reshape(height, width, -1)
    scores = np.full((height, width, topk), -np.inf)
    index = np.full((height, width, topk, 3), -1)
    for row, col in np.ndindex(height, width):
        best = np.argsort(-every[row, col], kind="stable")[:topk]
        for number, key in enumerate(best[np.isfinite(every[row, col, best])]):
            scores[row, col, number] = every[row, col, key]
            index[row, col, number] = np.unravel_index(key, keys.shape[:3])
    return scores, index


@pytest.mark.parametrize(
    "options",
    [
        {"radius": 2.5, "topk": 4, "first_frame_windowed": False},
        pytest.param({"radius": 1.0, "topk": 5, "window": "square"}, marks=pytest.mark.slow),
        pytest.param({"radius": None, "topk": 7}, marks=pytest.mark.slow),
        pytest.param({"radius": 0.0, "topk": 2}, marks=pytest.mark.slow),
        pytest.param({"radius": 1.5, "topk": 200}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_matches_are_the_naive_ones(options):
    """Ties everywhere: the lowest (frame, row, column) is first; a key that is masked is no tie either."""
    rng = np.random.default_rng(9)
    for seed in range(6):
        query, keys = whole_numbers(seed)
        taken = {
            "key_valid": np.array([seed % 3 > 0, True, True]),
            "key_mask": rng.uniform(size=keys.shape[:3]) < (0.0, 0.5, 0.8)[seed % 3],
        }
        scores, index = top_matches(query, keys, normalize=False, **options, **taken)
        assert scores.dtype == np.float32
        assert index.dtype == np.int32
        expected_scores, expected_index = naive_matches(query, keys, normalize=False, **options, **taken)
        np.testing.assert_array_equal(scores, expected_scores)
        np.testing.assert_array_equal(index, expected_index)


@pytest.mark.slow
def test_matches_are_what_frames_blend():
    rng = np.random.default_rng(0)
    query, keys = (rng.standard_normal((*n, 9, 13, 8)).astype(np.float32) for n in ((), (4,)))
    labels = rng.uniform(size=(4, 9, 13, 3)).astype(np.float32)
    scores, index = top_matches(query, keys, radius=3.0, topk=10)
    weights = jax.nn.softmax(scores / 0.07, axis=-1)
    blended = jnp.einsum("hwk,hwkl->hwl", weights, labels[tuple(jnp.moveaxis(index, -1, 0))])
    np.testing.assert_allclose(propagate_frame(query, keys, labels, radius=3.0), blended, atol=TOLERANCE)
    gradient = jax.grad(lambda query: jnp.sum(top_matches(query, keys, radius=3.0, topk=2)[0] ** 2))(query)
    assert np.all(np.isfinite(gradient))
    assert np.any(gradient)


@pytest.mark.slow
@pytest.mark.parametrize("topk", [3, None])
def test_masked_positions_are_no_keys(topk):
    """One mask for all frames, one for each, and none left; also as batches, under jit."""
    rng = np.random.default_rng(1)
    query, keys = whole_numbers(1)
    labels = rng.uniform(size=(3, 5, 6, 2)).astype(np.float32)
    masks = rng.uniform(size=(3, 3, 5, 6)) < 0.6
    masks[1] = masks[1, :1]
    masks[2] = False
    options = {"radius": 2.5, "topk": topk, "normalize": False, "first_frame_windowed": False}
    run = jax.jit(jax.vmap(lambda mask: propagate_frame(query, keys, labels, key_mask=mask, **options)))
    results = run(masks)
    for mask, result in zip(masks, results, strict=True):
        expected, _ = full_propagation(query, keys, labels, key_mask=mask, **options)
        np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE)
    assert not np.any(results[2])
    one = propagate_frame(query, keys, labels, key_mask=masks[1, 0], **options)
    np.testing.assert_allclose(one, results[1], rtol=0, atol=1e-6)
    if topk is None:
        return
    # Gradients: finite with no key at all, and none for what is masked.
    total = jax.grad(lambda keys, mask: jnp.sum(run_one(query, keys, labels, mask, options) ** 2))
    assert np.all(total(keys, masks[2]) == 0)
    gradient = total(keys, masks[0])
    assert np.any(gradient)
    assert not np.any(gradient[~masks[0]])


def run_one(query, keys, labels, mask, options):
    return propagate_frame(query, keys, labels, key_mask=mask, **options)


def test_masked_positions_of_a_video():
    rng = np.random.default_rng(2)
    features = rng.standard_normal((5, 5, 6, 8)).astype(np.float32)
    first = rng.uniform(size=(5, 6, 2)).astype(np.float32)
    mask = rng.uniform(size=(5, 6)) < 0.7
    options = {"radius": 2.5, "num_context": 2, "key_mask": mask}
    expected, slack = full_video(features, first, topk=4, **options)
    assert_propagated(propagate_video(features, first, topk=4, **options), expected, slack)
    memory = start_memory(features[0], first, **options)
    for number in range(1, 5):
        labels, memory = propagate_next(memory, features[number], topk=4)
        assert_propagated(labels, expected[number], slack[number])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_norms_of_any_size(dtype):
    """Large and small vectors weigh as their directions do; where the norm is below 1e-12, as the vector over that."""
    rng = np.random.default_rng(3)
    query, key = rng.standard_normal((2, 3, 4, 8))
    sizes = [6e4, 1.0, 1e-3] if dtype == "float16" else [1e38, 1e30, 1.0, 1e-11, 1e-30]
    for size in sizes:
        scaled = jnp.asarray(query / np.abs(query).max() * size, dtype)
        exact = np.asarray(scaled.astype(np.float32), np.float64)
        expected = full_scores(exact, np.asarray(jnp.asarray(key, dtype), np.float64)[None], radius=None)
        found = affinity(scaled, jnp.asarray(key, dtype))
        np.testing.assert_allclose(found.reshape(12, 12), expected, rtol=1e-5, atol=1e-6)
        scores, _ = top_matches(scaled, jnp.asarray(key, dtype)[None], radius=None, topk=1)
        np.testing.assert_allclose(scores.ravel(), expected.max(axis=1), rtol=1e-5, atol=1e-6)
        gradient = jax.grad(lambda query: jnp.sum(affinity(query, jnp.asarray(key, dtype))[:, :, 0, 0]))(scaled)
        assert np.all(np.isfinite(gradient))
        if 1e-12 < size < 1e38:  # the gradient falls as the size rises
            slope = jax.grad(lambda query: jnp.sum(affinity(query, key.astype(np.float32))[:, :, 0, 0]))
            unit = slope((exact / size).astype(np.float32))
            np.testing.assert_allclose(gradient.astype(np.float32) * size, unit, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_frames_of_any_size(dtype):
    """Vectors whose products would overflow carry labels as their directions do."""
    rng = np.random.default_rng(4)
    query, keys = (jnp.asarray(rng.standard_normal((*n, 4, 5, 8)), dtype) for n in ((), (2,)))
    labels = rng.uniform(size=(2, 4, 5, 2)).astype(np.float32)
    query, keys = query * jnp.asarray(2.0**100, dtype), keys * jnp.asarray(2.0**124, dtype)  # exact in both types
    exact = (np.asarray(array.astype(np.float32), np.float64) for array in (query, keys))
    expected = full_propagation(*exact, labels, radius=2.5, topk=5)
    assert_propagated(propagate_frame(query, keys, labels, radius=2.5, topk=5), *expected)


def test_numpys_scalars_are_options():
    """They are the same options as Python's, down to the compiled program."""
    query, keys = whole_numbers(5)
    labels = np.ones((3, 5, 6, 1), np.float32)
    expected = propagate_frame(query, keys, labels, radius=2.5, topk=4, temperature=0.5, first_frame_windowed=False)
    programs = _propagate_frame._cache_size()
    scalars = {
        "radius": np.float32(2.5),
        "topk": np.int64(4),
        "temperature": np.float16(0.5),
        "first_frame_windowed": np.bool_(False),
        "normalize": np.True_,
    }
    np.testing.assert_array_equal(propagate_frame(query, keys, labels, **scalars), expected)
    assert _propagate_frame._cache_size() == programs
    memory = start_memory(query, labels[0], num_context=np.uint8(2), radius=np.int32(2), keep_first=np.bool_(True))
    propagate_next(memory, query, topk=np.int16(3), temperature=np.float64(0.1))
    assert affinity(query, query, radius=np.int8(1), temperature=np.float32(2)).shape == (5, 6, 5, 6)


def test_bad_options_are_named():
    query, keys = whole_numbers(6)
    with pytest.raises(ValueError, match="topk must be a number, at least 1, got None"):
        top_matches(query, keys, radius=2.0, topk=None)
    with pytest.raises(ValueError, match="got 0"):
        top_matches(query, keys, radius=2.0, topk=0)
    with pytest.raises(ValueError, match=r"query has an axis of length 0: its shape is \(0, 6, 3\)"):
        top_matches(query[:0], keys, radius=2.0, topk=1)
    with pytest.raises(TypeError, match="radius is traced: options are Python or NumPy scalars"):
        jax.jit(lambda radius: top_matches(query, keys, radius=radius, topk=1))(2.0)
    with pytest.raises(TypeError, match="temperature"):
        affinity(query, query, temperature=jnp.float32(2.0))


@pytest.mark.parametrize(
    ("num_context", "keep_first", "fill_first", "first_once", "number", "keys"),
    [
        (2, False, False, False, 1, (0,)),
        (2, False, True, False, 1, (0, 0)),
        (2, True, True, False, 5, (0, 3, 4)),
        (0, True, False, False, 5, (0,)),
        (7, True, False, True, 1, (0,)),
        (7, True, False, True, 3, (0, 1, 2)),
        (7, True, False, True, 9, (0, 2, 3, 4, 5, 6, 7, 8)),
    ],
)
def test_key_frames_are_those_of_the_recurrence(num_context, keep_first, fill_first, first_once, number, keys):
    assert ContextSpec(num_context, keep_first, fill_first, first_once).key_frames(number) == keys
