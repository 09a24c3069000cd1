"""affinity and cross_correlate held to loops, and their gradients to differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_affinity import full_scores
from jax.test_util import check_grads

from vfs_jax.correspondence import affinity, cross_correlate
from vfs_jax.correspondence.affinity import window_offsets


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.07},
        {"normalize": False},
        {"radius": 3.0},
        {"radius": 2.0, "window": "square", "temperature": 0.5},
        {"radius": 0.0},
    ],
    ids=str,
)
def test_affinity_is_every_pair(options):
    query, key = normal(0, 5, 7, 6), normal(1, 5, 7, 6)
    result = affinity(query, key, **options)
    assert result.dtype == np.float32
    scale = options.pop("temperature", 1.0)
    expected = full_scores(query, key[None], **{"radius": None, **options}).reshape(5, 7, 5, 7) / scale
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_affinity_of_unequal_grids():
    query, key = normal(0, 3, 4, 6), normal(1, 5, 2, 6)
    result = affinity(query, key, normalize=False)
    np.testing.assert_allclose(result, np.einsum("hwc,vuc->hwvu", query, key), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(5, 2\)"):
        affinity(query, key, radius=2.0)


def test_affinity_in_sixteen_bits():
    query, key = jnp.asarray(normal(0, 3, 4, 64), jnp.bfloat16), jnp.asarray(normal(1, 3, 4, 64), jnp.bfloat16)
    result = affinity(query, key)
    assert result.dtype == np.float32
    expected = full_scores(query.astype(np.float32), key.astype(np.float32)[None], radius=None)
    np.testing.assert_allclose(result.reshape(12, 12), expected, atol=64 * 2.0**-24)  # 64 products, each rounded once


def test_affinity_under_vmap():
    query, key = normal(0, 2, 3, 4, 6), normal(1, 2, 3, 4, 6)
    result = jax.vmap(lambda a, b: affinity(a, b, radius=2.0))(query, key)
    for number in range(2):
        np.testing.assert_allclose(result[number], affinity(query[number], key[number], radius=2.0), atol=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
def test_affinity_gradient(normalize):
    """In float64, in which central differences are good to a millionth."""
    query, key = (array.astype(np.float64) for array in (normal(0, 2, 3, 4), normal(1, 3, 2, 4)))
    with jax.enable_x64(True):
        check_grads(lambda a, b: affinity(a, b, normalize=normalize, temperature=0.5), (query, key), 1, modes=("rev",))


def test_affinity_gradient_at_zero_vectors():
    query, key = normal(0, 2, 3, 4), normal(1, 2, 3, 4)
    query[0, 0] = 0
    gradient = jax.grad(lambda a: jnp.sum(jnp.square(affinity(a, key))))(query)
    assert np.all(np.isfinite(gradient))


def test_window_edges():
    """Circle is strict, "<= r" is written sqrt(r * r + 0.5), square includes its edge."""
    lengths = np.hypot(*window_offsets(5.0, "circle", 20, 20).T)
    assert lengths.max() < 5
    assert len(lengths) == 69  # lattice points with x * x + y * y < 25
    assert len(window_offsets(np.sqrt(25.5), "circle", 20, 20)) == 81  # and <= 25: 12 more
    assert len(window_offsets(2.0, "square", 20, 20)) == 25
    assert len(window_offsets(2.9, "square", 20, 20)) == 25
    assert len(window_offsets(None, "circle", 3, 4)) == 5 * 7
    assert len(window_offsets(9.0, "square", 3, 4)) == 5 * 7


def test_official_windows(oracles):
    """The release's masks [key, query] on the 15x23 grid; its argument is a diameter, halved in whole numbers."""
    expected = np.load(oracles / "label_propagation.npz")
    for name, radius in (("circle12", 6.0), ("circle13", 6.0), ("square12", 6.0), ("square13", 6.0)):
        window = name.rstrip("0123456789")
        ours = np.isfinite(
            affinity(np.ones((15, 23, 1), np.float32), np.ones((15, 23, 1), np.float32), radius=radius, window=window)
        )
        theirs = np.unpackbits(expected[f"window.{name}"])[: 345 * 345].reshape(345, 345).astype(bool)
        np.testing.assert_array_equal(ours.reshape(345, 345), theirs.T, err_msg=name)


@pytest.mark.parametrize("shapes", [((3, 4), (7, 9)), ((1, 1), (4, 3)), ((5, 5), (5, 5)), ((2, 6), (8, 6))], ids=str)
def test_cross_correlation_is_the_loop(shapes):
    (height, width), (rows, cols) = shapes
    exemplar, search = normal(0, 2, height, width, 5), normal(1, 2, rows, cols, 5)
    expected = np.zeros((2, rows - height + 1, cols - width + 1))
    for batch in range(2):
        for row in range(expected.shape[1]):
            for col in range(expected.shape[2]):
                part = search[batch, row : row + height, col : col + width].astype(np.float64)
                expected[batch, row, col] = np.sum(part * exemplar[batch])
    result = cross_correlate(exemplar, search)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-4)
    half = cross_correlate(jnp.asarray(exemplar, jnp.bfloat16), jnp.asarray(search, jnp.bfloat16))
    assert half.dtype == np.float32


def test_cross_correlation_gradient():
    arrays = (normal(0, 2, 2, 3, 4), normal(1, 2, 4, 5, 4))
    with jax.enable_x64(True):
        check_grads(cross_correlate, tuple(array.astype(np.float64) for array in arrays), 1, modes=("rev",))


def test_cross_correlation_names_bad_shapes():
    with pytest.raises(ValueError, match=r"\(2, 5, 4, 3\) is larger than the search region \(2, 4, 6, 3\)"):
        cross_correlate(normal(0, 2, 5, 4, 3), normal(0, 2, 4, 6, 3))
    with pytest.raises(TypeError, match=r"f32\[3,6,6,3\]"):
        cross_correlate(normal(0, 2, 5, 4, 3), normal(0, 3, 6, 6, 3))
    with pytest.raises(ValueError, match=r"exemplar has an axis of length 0: its shape is \(2, 0, 4, 3\)"):
        cross_correlate(normal(0, 2, 0, 4, 3), normal(0, 2, 6, 6, 3))
