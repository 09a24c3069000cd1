"""InfoNCE against PyTorch's cross entropy over the negatives listed one by one; the queue and its slow network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from small_steps import host_batch, initial, run

from vfs_jax.training.contrastive import Queue, contrastive_loss, init_queue
from vfs_jax.training.sharding import make_mesh


def embeddings(b, t, d=6, k=5):
    rng = np.random.default_rng(0)
    queue = rng.standard_normal((k, d))
    z, p = rng.standard_normal((2, b, 2, t, d))
    return z, p, queue / np.linalg.norm(queue, axis=1, keepdims=True)


def naive_loss(z, p, temperature, queue, symmetric):
    """Every prediction against a list whose first entry is the positive one."""
    unit = torch.nn.functional.normalize
    z, p, queue = torch.from_numpy(z), p, torch.from_numpy(queue)
    losses = []
    for view in (0, 1) if symmetric else (0,):
        for b in range(len(z)):
            others = [z[c, 1 - view, j] for c in range(len(z)) if c != b for j in range(z.shape[2])]
            for query in p[b, view]:
                for positive in z[b, 1 - view]:
                    keys = unit(torch.stack([positive, *others, *queue]), dim=1)
                    logits = keys @ unit(query, dim=0) / temperature
                    losses.append(torch.nn.functional.cross_entropy(logits[None], torch.tensor([0])))
    return torch.stack(losses).mean()


@pytest.mark.slow
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("b", "t", "queued"), [(3, 1, 0), (3, 2, 0), (2, 2, 5), (1, 2, 5)])
def test_equals_cross_entropy_and_its_gradient(b, t, queued, symmetric):
    z, p, queue = embeddings(b, t)
    leaf = torch.from_numpy(p.copy()).requires_grad_()
    theirs = naive_loss(z, leaf, 0.3, queue[:queued], symmetric)
    theirs.backward()
    with jax.enable_x64(True):
        options = {"temperature": 0.3, "queue": jnp.asarray(queue[:queued]) if queued else None, "symmetric": symmetric}
        ours, (for_z, for_p) = jax.value_and_grad(lambda z, p: contrastive_loss(z, p, **options), argnums=(0, 1))(
            jnp.asarray(z), jnp.asarray(p)
        )
    np.testing.assert_allclose(float(ours), theirs.item(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(for_p, leaf.grad.numpy(), rtol=0, atol=1e-12)
    assert not np.any(for_z)


def test_one_clip_without_a_queue_is_refused():
    z, p, _ = embeddings(1, 2)
    with pytest.raises(ValueError, match="one clip has no negatives"):
        contrastive_loss(jnp.float32(z), jnp.float32(p), temperature=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e15])
def test_is_finite_at_any_length(scale):
    z, p, queue = (jnp.float32(array) for array in embeddings(2, 2))
    loss, gradient = jax.value_and_grad(
        lambda p: contrastive_loss(z * scale, p * scale, temperature=0.01, queue=queue)
    )(p)
    assert np.isfinite(loss)
    assert np.all(np.isfinite(gradient))


def test_the_queue_drops_its_oldest():
    start = init_queue(0, {"params": {"w": jnp.zeros(2)}, "batch_stats": {"m": jnp.zeros(2)}}, size=5, width=3)
    np.testing.assert_allclose(np.linalg.norm(start.embeddings, axis=1), 1, rtol=1e-6)
    z = jnp.arange(1.0, 13.0).reshape(2, 2, 1, 3)
    after = start.follow({"w": jnp.ones(2)}, {"m": jnp.ones(2)}, z, 0.75)
    assert after.params["w"].tolist() == [0.25, 0.25]
    assert after.batch_stats["m"].tolist() == [1, 1]
    newest = np.asarray(z).reshape(4, 3)
    np.testing.assert_allclose(after.embeddings[:4], newest / np.linalg.norm(newest, axis=1, keepdims=True), rtol=1e-6)
    np.testing.assert_array_equal(after.embeddings[4], start.embeddings[0])


@pytest.mark.slow
def test_a_step_with_a_queue_is_the_same_on_eight_devices_and_in_parts():
    """One step by hand: the slow network starts as a copy, so that its projections are the network's own."""
    options = {"temperature": 0.2, "encoder_momentum": 0.9}
    states, losses = [], []
    with jax.enable_x64(True):
        start = jax.device_get(initial(make_mesh(1), np.float64, queue_size=12))
        for devices, more in ((1, {}), (8, {}), (1, {"accumulate": 2})):
            state, (metrics,) = run(devices, [host_batch(repeat=2)], np.float64, queue_size=12, **options, **more)
            states.append(state)
            losses.append(metrics["loss"])
    assert abs(losses[0] - losses[1]) <= 1e-9
    state, others, _ = states
    assert isinstance(state.queue, Queue)
    np.testing.assert_allclose(state.queue.embeddings, others.queue.embeddings, rtol=0, atol=1e-9)
    # The batch has 8 clips of 2 views of 1 frame: 16 embeddings fill the queue of 12.
    kept = np.asarray(start.queue.embeddings)[:, None] == np.asarray(state.queue.embeddings)
    assert not kept.all(-1).any()  # single numbers may be equal by chance
    slow, before, after = (
        each["projector"]["linear1"]["bias"] for each in (state.queue.params, start.params, state.params)
    )
    np.testing.assert_allclose(slow, 0.9 * before + 0.1 * after, rtol=0, atol=1e-9)
    assert np.abs(slow - before).max() > 0
    # In two parts of the same clips there are half as many negatives in the batch; the queue's past is the same.
    assert losses[2] < losses[0]
    np.testing.assert_allclose(states[2].queue.embeddings, state.queue.embeddings, rtol=0, atol=1e-9)
