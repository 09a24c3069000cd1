"""The pair loss against loops over clips and frames, and at the edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vfs_jax.training.losses import embedding_std, frame_similarity_loss


def naive_loss(z, p, symmetric=True):
    """The definition, pair by pair."""
    total, (b, _, t, _) = 0.0, z.shape
    for clip in range(b):
        for i in range(t):
            for j in range(t):
                pairs = [(p[clip, 0, i], z[clip, 1, j])] + [(p[clip, 1, j], z[clip, 0, i])] * symmetric
                losses = [2 - 2 * a @ c / (np.linalg.norm(a) * np.linalg.norm(c)) for a, c in pairs]
                total += np.mean(losses)
    return total / (b * t * t)


def embeddings(b, t, d=16, seed=0):
    return np.random.default_rng(seed).standard_normal((2, b, 2, t, d))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("b", "t"), [(1, 1), (3, 1), (2, 4)])
def test_equals_the_loop_over_pairs(b, t, symmetric):
    z, p = embeddings(b, t)
    ours = frame_similarity_loss(z.astype(np.float32), p.astype(np.float32), symmetric=symmetric)
    np.testing.assert_allclose(float(ours), naive_loss(z, p, symmetric), rtol=0, atol=2e-6)  # float32
    with jax.enable_x64(True):
        ours = frame_similarity_loss(z, p, symmetric=symmetric)
        assert ours.dtype == jnp.float64
        np.testing.assert_allclose(float(ours), naive_loss(z, p, symmetric), rtol=0, atol=1e-13)


@pytest.mark.slow
def test_no_gradient_flows_into_the_projections():
    z, p = embeddings(2, 2)
    for_z, for_p = jax.grad(frame_similarity_loss, argnums=(0, 1))(jnp.float32(z), jnp.float32(p))
    assert not np.any(for_z)
    assert np.abs(for_p).max() > 0


@pytest.mark.slow
def test_gradient_equals_differences():
    with jax.enable_x64(True):
        z, p = embeddings(2, 2, d=5)
        gradient = np.asarray(jax.grad(frame_similarity_loss, argnums=1)(jnp.asarray(z), jnp.asarray(p)))
    for place in np.random.default_rng(1).integers(0, p.shape, (10, 4)):
        step = np.zeros_like(p)
        step[tuple(place)] = 1e-6
        slope = (naive_loss(z, p + step) - naive_loss(z, p - step)) / 2e-6
        np.testing.assert_allclose(gradient[tuple(place)], slope, rtol=0, atol=1e-8)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e15])
def test_is_finite_at_any_length(scale):
    z, p = jnp.float32(embeddings(2, 2))
    for z_scale, p_scale in ((scale, 1.0), (1.0, scale), (scale, scale)):
        loss, gradient = jax.value_and_grad(frame_similarity_loss, argnums=1)(z * z_scale, p * p_scale)
        assert np.isfinite(loss)
        assert np.all(np.isfinite(gradient))


def test_half_precision_is_summed_in_float32():
    z, p = embeddings(2, 4)
    loss = frame_similarity_loss(jnp.bfloat16(z), jnp.bfloat16(p))
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(float(loss), naive_loss(z, p), rtol=0, atol=5e-3)  # bfloat16 inputs, 8 bits


@pytest.mark.parametrize("shapes", [((2, 2, 3, 4), (2, 2, 3, 5)), ((2, 3, 3, 4), (2, 3, 3, 4))])
def test_other_shapes_are_refused(shapes):
    with pytest.raises(Exception, match="Type-check error"):
        frame_similarity_loss(*(jnp.zeros(shape) for shape in shapes))


def test_embedding_std_tells_collapse_from_spread():
    spread = np.random.default_rng(0).standard_normal((2000, 64)).astype(np.float32)
    assert abs(float(embedding_std(spread)) - 1) < 0.02
    one_point = np.broadcast_to(spread[:1], (100, 64)) * np.linspace(0.5, 2, 100, dtype=np.float32)[:, None]
    assert float(embedding_std(one_point)) < 1e-3
    unit = spread / np.linalg.norm(spread, axis=1, keepdims=True)
    np.testing.assert_allclose(float(embedding_std(spread)), unit.std(0).mean() * 8, rtol=1e-5)
