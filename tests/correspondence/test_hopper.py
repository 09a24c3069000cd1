"""The GPU kernel, run by Pallas' interpreter of GPU kernels, held to the tiles in XLA that it replaces."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from largest_of_all import check_largest

from vfs_jax.correspondence.affinity import window_offsets
from vfs_jax.correspondence.halves import split_float32
from vfs_jax.correspondence.hopper import fits, largest_over_frames, prepare
from vfs_jax.correspondence.key_groups import KeyGroup
from vfs_jax.correspondence.largest_scores import match_by_largest
from vfs_jax.correspondence.tile_matches import map_tiles, match_tile
from vfs_jax.correspondence.tiles import feature_maps


def has_cuda_plugin():
    return any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13))


interpreter = pytest.importorskip("jax._src.pallas.mosaic_gpu.interpret.params")


class _NumpyOfTransposed:
    """NumPy whose matmul takes its second operand as it lies in memory, transposed."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def matmul(a, b, dtype):
        return np.matmul(a, b.T, dtype=dtype)


@pytest.fixture
def interpreted(monkeypatch):
    """Run kernels on the CPU, looking for races; errors of the kernel's own."""
    # The interpreter knows no transposed operands of matmuls; the second one of this kernel's always is one.
    callbacks = importlib.import_module("jax._src.pallas.mosaic_gpu.interpret.gpu_callbacks")
    to_range = callbacks.interpret_utils.to_range
    monkeypatch.setattr(callbacks, "np", _NumpyOfTransposed())
    monkeypatch.setattr(
        callbacks.interpret_utils,
        "to_range",
        lambda every: to_range([each for each in every if hasattr(each, "indices")]),
    )
    with interpreter.force_gpu_interpret_mode(interpreter.InterpretGPUParams(detect_races=True)):
        yield


def random_maps(rng, *shape, dtype="float32", mask=None):
    return feature_maps(jnp.asarray(rng.standard_normal(shape), dtype), normalize=True, mask=mask)


def search(query, keys, offsets, topk, *, by_kernel):
    """Scores and index [h, w, k]; NaN and -1 where the kernel left the choice to the tiles."""

    def by_tiles():
        return map_tiles(lambda tile: match_tile(tile, keys, topk), query, keys, offsets)

    if not by_kernel:
        return by_tiles()
    scores, index = jax.eval_shape(by_tiles)
    nothing = jnp.full_like(scores, jnp.nan), jnp.full_like(index, -1)

    def by_kernel():
        known = jax.lax.stop_gradient(query), keys._replace(frames=jax.lax.stop_gradient(keys.frames))
        return match_by_largest(largest_over_frames(*known, offsets), query, keys, topk, if_tied=lambda: nothing)

    return jax.jit(by_kernel)()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "radius", "window", "grid", "channels"),
    [
        ("float32", 2.5, "circle", (5, 9), 40),
        # Two tiles of keys for a tile of queries, of which one is out of reach in the last row of tiles.
        ("bfloat16", 5.0, "circle", (26, 8), 66),
        ("float16", 2, "square", (5, 6), 64),
        # Halos of 48 columns, moved inwards.
        pytest.param("bfloat16", 21.0, "circle", (8, 30), 8, marks=pytest.mark.long),
    ],
)
def test_kernel_finds_what_tiles_find(interpreted, dtype, radius, window, grid, channels):
    """Frames in pieces, stored out of order, one of them no key; positions of others masked."""
    rng = np.random.default_rng(0)
    mask = jnp.asarray(rng.uniform(size=(4, *grid)) < 0.8)
    frames = random_maps(rng, 4, *grid, channels, dtype=dtype, mask=mask)
    query, offsets = random_maps(rng, 1, *grid, channels, dtype=dtype), window_offsets(radius, window, *grid)
    parts = [slice(0, 1), slice(1, 4)]  # as in a video
    if dtype == "float16":
        parts = [slice(number, number + 1) for number in range(4)]  # as in a stream
    else:
        query, frames = (maps._replace(kernel=prepare(maps.values, offsets)) for maps in (query, frames))
    pieces = tuple(jax.tree.map(lambda array, part=part: array[part], frames) for part in parts)
    keys = KeyGroup(
        pieces,
        radius,
        order=jnp.array([0, 2, 3, 1]),
        valid=jnp.array([True, True, False, True]),
        mask=jnp.asarray(rng.uniform(size=grid) < 0.9),
    )
    scores, index = search(query, keys, offsets, 5, by_kernel=True)
    expected_scores, expected_index = search(query, keys, offsets, 5, by_kernel=False)
    # The scores are summed anew in another order: both err by less than half a last digit a product.
    np.testing.assert_allclose(scores, expected_scores, rtol=0, atol=channels * 2.0**-23)
    there = expected_scores > -np.inf
    np.testing.assert_array_equal(index[there], expected_index[there])
    assert (mask & keys.mask[None]).ravel()[index[there]].all()
    assert (index[there] // mask[0].size != 2).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_largest_scores_are_those_of_float64(interpreted, dtype):
    """Numbers of very different size, whose small parts a product of bfloat16 parts alone would lose."""
    rng = np.random.default_rng(1)
    height, width, channels = 6, 7, 24
    sizes = 10.0 ** rng.uniform(-2, 2, channels)
    query, keys = (jnp.asarray(rng.standard_normal((n, height, width, channels)) * sizes, dtype) for n in (1, 3))
    offsets = window_offsets(2.5, "circle", height, width)
    query, keys = (feature_maps(array, normalize=False) for array in (query, keys))
    largest = largest_over_frames(query, KeyGroup((keys,), 2.5), offsets)
    # A float32 query comes without the scale of its halves, a power of two.
    scale = split_float32(query.values[0]).scale if dtype == "float32" else 1.0
    check_largest(largest, query.values[0], keys.values, offsets, scale)


@pytest.mark.slow
def test_ties_are_left_to_the_tiles(interpreted):
    """All features alike: every choice is a tie."""
    query, frames = (feature_maps(jnp.ones((count, 4, 5, 8)), normalize=True) for count in (1, 2))
    keys = KeyGroup((frames,), 2.5)
    scores, _ = search(query, keys, window_offsets(2.5, "circle", 4, 5), 5, by_kernel=True)
    assert jnp.isnan(scores).all()


@pytest.mark.slow
def test_gradients_and_batches(interpreted):
    rng = np.random.default_rng(2)
    offsets = window_offsets(2.5, "circle", 5, 6)
    query, frames = (jnp.asarray(rng.standard_normal((2, count, 5, 6, 16)), np.float32) for count in (1, 2))
    labels = jnp.asarray(rng.uniform(size=(2, 5, 6, 2)), np.float32)

    def total(query, frames, by_kernel):
        keys = KeyGroup((feature_maps(frames, normalize=True),), 2.5)
        scores, index = search(feature_maps(query, normalize=True), keys, offsets, 4, by_kernel=by_kernel)
        return (scores[..., None] * labels.reshape(-1, 2)[index]).sum()

    for function in (jax.vmap(total, (0, 0, None)), lambda q, f, k: jax.grad(total, (0, 1))(q[0], f[0], k)):
        ours, expected = (function(query, frames, by_kernel) for by_kernel in (True, False))
        for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.long
@pytest.mark.skipif(not has_cuda_plugin(), reason="JAX's CUDA plugin is not installed: pip install -e '.[cuda]'")
def test_compiles_for_an_h100():
    """By the compilers of CUDA, which need no GPU."""
    script = Path(__file__).with_name("compile_ahead.py")
    command = [sys.executable, "-W", "error", script, "--implementations=hopper,batched"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("by hopper: compiled") == 4
    assert done.stdout.count("by batched: compiled") == 4


def test_what_the_kernel_takes():
    small, large = (window_offsets(radius, "square", 200, 200) for radius in (12, 93))
    assert fits("float32", small)
    assert fits("bfloat16", small)
    assert not fits("float64", small)
    assert not fits("float32", large)
