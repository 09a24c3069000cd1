"""Few large matmuls (batched.py), held to float64 loops and to the tiles that they replace on accelerators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_affinity import assert_propagated, full_propagation, full_video
from largest_of_all import check_largest

from vfs_jax.correspondence import (
    backends,
    implementations,
    propagate_frame,
    propagate_next,
    propagate_video,
    start_memory,
    top_matches,
)
from vfs_jax.correspondence.affinity import window_offsets
from vfs_jax.correspondence.batched import largest_over_frames
from vfs_jax.correspondence.halves import split_float32
from vfs_jax.correspondence.key_groups import KeyGroup
from vfs_jax.correspondence.propagation import _propagate_frame
from vfs_jax.correspondence.tiles import feature_maps


def some_frames(*grid, frames=4, channels=8, dtype="float32"):
    rng = np.random.default_rng(0)
    query, keys = (jnp.asarray(rng.standard_normal((*n, *grid, channels)), dtype) for n in ((), (frames,)))
    return query, keys, rng.uniform(size=(frames, *grid, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("grid", "options"),
    [
        ((13, 8), {"radius": 4.0}),
        pytest.param((7, 20), {"radius": 7, "window": "square", "first_frame_windowed": False}, marks=pytest.mark.slow),
        pytest.param((5, 4), {"radius": 2.5, "topk": 13}, marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.long)])
def test_frames_are_the_full_affinity(grid, options, dtype):
    """Grids that no tile fits; a frame that is no key, positions that are none."""
    query, keys, labels = some_frames(*grid, dtype=dtype)
    taken = {
        "key_valid": np.array([True, False, True, True]),
        "key_mask": np.random.default_rng(1).uniform(size=keys.shape[:3]) < 0.8,
    }
    expected = full_propagation(query.astype(np.float32), keys.astype(np.float32), labels, **options, **taken)
    result = propagate_frame(query, keys, labels, **options, **taken, implementation="batched")
    assert_propagated(result, *expected)


def test_ties_are_those_of_tiles():
    """Scores are exact and tie within frames and between them, inside the choice and across its border."""
    rng = np.random.default_rng(2)
    query, keys = (rng.integers(0, 3, (*n, 7, 13, 2)).astype(np.float32) for n in ((), (3,)))
    options = {"radius": 3.0, "topk": 4, "normalize": False}
    by_tiles, by_batches = (top_matches(query, keys, **options, implementation=name) for name in ("tiles", "batched"))
    for one, other in zip(by_tiles, by_batches, strict=True):
        np.testing.assert_array_equal(one, other)
    # One query's ties make the whole frame go another way: none across the border, but many inside.
    distinct = keys + np.arange(7 * 13).reshape(7, 13, 1) * 2.0**-9
    still = np.stack([distinct[0]] * 3)
    by_tiles, by_batches = (
        top_matches(query + 1, still, **options, implementation=name) for name in ("tiles", "batched")
    )
    for one, other in zip(by_tiles, by_batches, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_videos_and_streams_are_the_full_recurrence():
    """The memory keeps the implementation; its frames are stored out of order."""
    features = np.random.default_rng(3).standard_normal((6, 7, 9, 8)).astype(np.float32)
    first = np.eye(3, dtype=np.float32)[np.random.default_rng(4).integers(0, 3, (7, 9))]
    options = {"radius": 3.0, "num_context": 2, "key_mask": np.random.default_rng(7).uniform(size=(7, 9)) < 0.8}
    expected, slack = full_video(features, first, **options)
    options["implementation"] = "batched"
    assert_propagated(propagate_video(features, first, **options), expected, slack)
    memory = start_memory(features[0], first, **options)
    for number in range(1, 6):
        labels, memory = propagate_next(memory, features[number])
        assert_propagated(labels, expected[number], slack[number])


@pytest.mark.slow
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_largest_scores_are_those_of_float64(split, normalize):
    """Numbers of very different size, whose small parts a product of large parts alone would lose."""
    rng = np.random.default_rng(5)
    sizes = 10.0 ** rng.uniform(-2, 2, 24)
    query, keys = (jnp.asarray(rng.standard_normal((n, 7, 8, 24)) * sizes, np.float32) for n in (1, 3))
    keys *= 10.0 ** jnp.asarray(rng.uniform(-12, 12, (3, 1, 1, 1)), np.float32)
    query, keys = (feature_maps(array, normalize=normalize) for array in (query, keys))
    offsets = window_offsets(3.0, "circle", 7, 8)
    largest = largest_over_frames(query, KeyGroup((keys,), 3.0), offsets, split=split)
    # A split query comes without its scale, a power of two.
    scale = split_float32(query.values[0]).scale if split else 1.0
    check_largest(largest, query.values[0], keys.values, offsets, scale)


def test_float16_parts_add_up():
    rng = np.random.default_rng(6)
    values = (rng.standard_normal((50, 64)) * 10.0 ** rng.uniform(-6, 0, (50, 64))).astype(np.float32)
    values *= 10.0 ** rng.uniform(-30, 30, (50, 1)).astype(np.float32)
    values[0], values[1, :63] = 0, 0
    high, low, scale = split_float32(jnp.asarray(values))
    total = (np.float64(high) + np.float64(low)) * np.float64(scale)[:, None]
    limit = np.maximum(2.0**-22 * abs(values), 2.0**-39 * abs(values).max(axis=1, keepdims=True))
    assert np.all(abs(total - values) <= limit)


@pytest.mark.long
def test_gradients_and_batches():
    query, keys, labels = some_frames(5, 7, frames=2)

    def total(query, keys, name):
        return jnp.sum(propagate_frame(query, keys, labels[:2], radius=2.5, topk=4, implementation=name) ** 2)

    batch = jnp.stack([query, query[::-1]]), jnp.stack([keys, keys[::-1]])
    for function in (
        lambda name: jax.grad(total, (0, 1))(query, keys, name),
        lambda name: jax.vmap(total, (0, 0, None))(*batch, name),
    ):
        for one, other in zip(jax.tree.leaves(function("tiles")), jax.tree.leaves(function("batched")), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["cpu", "gpu", "hopper"])
def test_the_best_is_picked_for_the_platform(monkeypatch, backend):
    """None is the first of what runs here, in programs for GPUs; a CPU beside them keeps the tiles."""
    monkeypatch.setattr(backends, "has_hopper", lambda: backend == "hopper")
    if backend == "gpu":
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    _propagate_frame.clear_cache()
    query, keys, labels = some_frames(4, 5, frames=2)
    traced = jax.jit(lambda *arrays: propagate_frame(*arrays, radius=2.5, topk=3)).trace(query, keys, labels)
    texts = {name: traced.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "cuda")}
    _propagate_frame.clear_cache()
    assert ("mosaic_gpu" in texts["cuda"]) == (backend == "hopper")
    assert ("xf16>" in texts["cuda"]) == (backend != "cpu")  # float32 features in two parts
    assert "mosaic_gpu" not in texts["cpu"]
    if backend != "hopper":  # where frames are laid out for the kernel, on a CPU for nothing, which XLA drops
        assert "xf16>" not in texts["cpu"]


def test_the_memory_keeps_what_the_kernel_reads(monkeypatch):
    """Split and padded once, when a frame enters it."""
    monkeypatch.setattr(backends, "has_hopper", lambda: True)
    _, keys, labels = some_frames(4, 9)
    memory = start_memory(keys[0], labels[0], radius=2.5, num_context=2)
    high, low = memory.previous.frames[1].kernel.parts
    assert high.dtype == low.dtype == np.float16
    assert len(high) == len(low) == 1
    for options in ({"radius": None}, {"radius": 2.5, "implementation": "batched"}):
        assert start_memory(keys[0], labels[0], **options).first.frames[0].kernel is None


def test_what_does_not_run_is_refused(monkeypatch):
    query, keys, labels = some_frames(4, 5, frames=2)
    assert implementations() == ("tiles", "batched")
    with pytest.raises(ValueError, match=r'implementation="hopper" needs GPUs of compute .* the devices here are cpu'):
        propagate_frame(query, keys, labels, radius=2.5, implementation="hopper")
    with pytest.raises(ValueError, match='implementation="hopper" needs GPUs'):
        start_memory(query, labels[0], radius=2.5, implementation="hopper")
    with pytest.raises(TypeError, match="fastest"):
        top_matches(query, keys, radius=2.5, topk=3, implementation="fastest")
    monkeypatch.setattr(backends, "has_hopper", lambda: True)
    assert implementations() == ("hopper", "batched", "tiles")
    with pytest.raises(ValueError, match="needs a window, got radius=None"):
        propagate_frame(query, keys, labels, radius=None, implementation="hopper")
    wide = jnp.zeros((1, 200, 2))
    with pytest.raises(ValueError, match="windows of up to"):
        top_matches(wide, wide[None], radius=190.0, topk=3, implementation="hopper")
