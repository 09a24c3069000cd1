"""Training of the tracking head: the loss and a step against PyTorch, what is learned, killed and continued."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from vfs_jax.data.pairs import PairSettings
from vfs_jax.models import backbone_of, init_variables
from vfs_jax.models.tracking import tracking_features
from vfs_jax.training.tracker_head import HeadOptions, focal_loss, init_head_state, make_head_step, response_labels


def torch_focal(responses, labels, gamma):
    """The release's loss, written out."""
    probability = torch.sigmoid(responses)
    right = labels * probability + (1 - labels) * (1 - probability)
    weights = (1 - right) ** gamma
    return (weights * -torch.log(right)).mean() / weights.mean()


def test_labels():
    labels = response_labels(16, 16, 2.0)
    naive = [[abs(i - 7.5) + abs(j - 7.5) <= 2 for j in range(16)] for i in range(16)]
    np.testing.assert_array_equal(labels, np.array(naive, np.float32))
    assert labels.sum() == 12


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_loss_and_gradient_are_those_of_pytorch(gamma):
    rng = np.random.default_rng(0)
    responses, labels = rng.normal(0, 2, (3, 16, 16)).astype(np.float32), response_labels(16, 16, 2.0)
    theirs = torch.tensor(responses, dtype=torch.float64, requires_grad=True)
    loss = torch_focal(theirs, torch.from_numpy(labels).double(), gamma)
    loss.backward()  # through the weights too
    ours, gradient = jax.value_and_grad(focal_loss)(jnp.asarray(responses), jnp.asarray(labels), gamma)
    # Both are continuous: 1e-5 is a hundred roundings of float32, whose sums are over 768 cells.
    np.testing.assert_allclose(ours, loss.item(), rtol=1e-5)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), atol=1e-5 * np.abs(theirs.grad.numpy()).max())
    far = focal_loss(jnp.full((1, 16, 16), 200.0), jnp.asarray(labels), gamma)
    assert np.isfinite(far)  # no log of zero


@pytest.mark.slow
def test_two_steps_are_those_of_pytorch():
    """Features ours, all behind them PyTorch's: the head, a grouped correlation, the loss, Adam."""
    backbone = backbone_of(init_variables(0, 18))
    options = HeadOptions(out_scale=0.1)
    schedule = optax.exponential_decay(1e-3, 1, 0.5, staircase=True)
    optimizer = optax.adam(schedule)
    state = init_head_state(1, backbone, optimizer)
    head = state.params["head"]
    rng = np.random.default_rng(0)
    batch = {
        "exemplar": rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8),
        "search": rng.integers(0, 256, (2, 120, 120, 3), dtype=np.uint8),
    }
    z, x = (
        torch.from_numpy(np.asarray(tracking_features(backbone, batch[name])).transpose(0, 3, 1, 2).copy()).double()
        for name in ("exemplar", "search")
    )
    convs = [torch.nn.Conv2d(512, 512, 1).double() for _ in range(2)]
    with torch.no_grad():
        for conv, name in zip(convs, ("exemplar", "search"), strict=True):
            conv.weight.copy_(torch.from_numpy(np.asarray(head[name]["kernel"]).transpose(3, 2, 0, 1).copy()))
            conv.bias.copy_(torch.from_numpy(np.array(head[name]["bias"])))
    adam = torch.optim.Adam([p for conv in convs for p in conv.parameters()], lr=1e-3)
    decay = torch.optim.lr_scheduler.ExponentialLR(adam, 0.5)
    step = jax.jit(make_head_step(options, 18, optimizer, schedule))
    clear = np.ones((512, 512), bool)
    for _ in range(2):
        with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an int
            state, metrics = step(state, batch)
        searched = convs[1](x)
        response = torch.nn.functional.conv2d(searched.reshape(1, 1024, *searched.shape[2:]), convs[0](z), groups=2)
        labels = torch.from_numpy(response_labels(*response.shape[2:], 2.0)).double()
        loss = torch_focal(response * 0.1, labels, 2.0)
        adam.zero_grad()
        loss.backward()
        gradient = convs[1].weight.grad.numpy()[:, :, 0, 0]
        clear &= np.abs(gradient) > 1e-4 * np.abs(gradient).max()
        adam.step()
        decay.step()
        np.testing.assert_allclose(metrics["loss"], loss.item(), rtol=1e-4)
    found = state.params["head"]["search"]["kernel"][0, 0].T
    # Adam's first steps are +-the learning rate wherever a gradient is not zero; rounding decides where it nearly is.
    # Of those that are compared float32's error, some 1e-7 of the largest, is a thousandth at most.
    assert clear.mean() > 0.5
    off = np.abs(np.asarray(found) - convs[1].weight.detach().numpy()[:, :, 0, 0])
    assert off[clear].max() < 1e-5
    np.testing.assert_array_equal(state.params["backbone"]["conv1"]["kernel"], backbone["params"]["conv1"]["kernel"])


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted():
    """On features instead of patches, of which one is no number."""
    backbone, optimizer = backbone_of(init_variables(0, 18)), optax.adam(1e-3)
    step = jax.jit(
        make_head_step(HeadOptions(out_scale=0.1), 18, optimizer, lambda _: 1e-3, features=lambda _, computed: computed)
    )
    rng = np.random.default_rng(0)
    batch = {
        name: rng.standard_normal((2, side, side, 512), np.float32) for name, side in (("exemplar", 2), ("search", 4))
    }
    broken = batch | {"search": np.where(np.arange(512) == 7, np.nan, batch["search"])}
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an int
        before, metrics = step(init_head_state(0, backbone, optimizer), batch)
        assert (metrics["finite"], metrics["skipped"]) == (True, 0)
        after, metrics = step(before, broken)
        assert (metrics["finite"], metrics["skipped"], after.skipped, after.step) == (False, 1, 1, 2)
        jax.tree.map(np.testing.assert_array_equal, after.params, before.params)
        jax.tree.map(np.testing.assert_array_equal, after.opt_state[0].mu, before.opt_state[0].mu)
        again, metrics = step(after, batch)
    assert (metrics["finite"], metrics["skipped"]) == (True, 1)
    assert np.abs(again.params["head"]["search"]["bias"] - after.params["head"]["search"]["bias"]).max() > 0


def test_options_are_checked():
    with pytest.raises(ValueError, match=r"^epochs=0: must be at least 1"):
        HeadOptions(epochs=0, pairs=PairSettings())
