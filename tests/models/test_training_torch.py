"""Loss, gradient, running statistics and three SGD steps of the whole network against PyTorch's autograd."""

import jax
import numpy as np
import optax
import pytest
import torch
from test_vfs_torch import torch_loss
from torch_reference import TorchVFS, randomise

from vfs_jax.models import VFS, load_torch
from vfs_jax.training import frame_similarity_loss
from vfs_jax.training.optimizer import sgd

STEPS, RATE, MOMENTUM, DECAY = 3, 0.05, 0.9, 1e-4


def flax_tree(state, folder):
    """Torch's float64 tensors as our variables: files are read as float32, so in two parts that are summed."""
    coarse = {name: tensor.float() for name, tensor in state.items()}
    fine = {name: (tensor - coarse[name].double()).float() for name, tensor in state.items()}
    parts = []
    for part in (coarse, fine):
        torch.save({"state_dict": part}, folder / "part.pth")
        parts.append(load_torch(folder / "part.pth", part="vfs"))
    return jax.tree.map(lambda a, b: a.astype(np.float64) + b.astype(np.float64), *parts)


def torch_pass(network, views):
    """The loss of one pass in train mode, each view in its own call."""
    b, _, frames = views.shape[:3]
    z, p = [], []
    for view in (0, 1):
        images = torch.from_numpy(views[:, view].reshape(b * frames, *views.shape[3:]).transpose(0, 3, 1, 2))
        for found, values in zip((z, p), network.embed(images), strict=True):
            found.append(values.reshape(b, frames, -1))
    return torch_loss(z, p)


def torch_steps(network, views, folder):
    """Losses; the gradient and the statistics after the first backward pass; everything after three steps."""
    optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY)
    losses, first = [], None
    for step in range(STEPS):
        loss = torch_pass(network, views)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
            first = flax_tree({**network.state_dict(), **gradients}, folder)
        optimizer.step()
    return losses, first, flax_tree(network.state_dict(), folder)


def unbiased_counts(network, views):
    """Values under each BatchNorm of one view, by its module's name."""
    counts, hooks = {}, []
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            note = lambda _, inputs, __, name=name: counts.update({name: inputs[0].numel() // inputs[0].shape[1]})  # noqa: E731
            hooks.append(module.register_forward_hook(note))
    images = torch.from_numpy(views[:, 0].reshape(-1, *views.shape[3:]).transpose(0, 3, 1, 2))
    network.eval().embed(images)
    network.train()
    for hook in hooks:
        hook.remove()
    return counts


def assert_close(ours, theirs, tolerance):
    """Every leaf within a share of its largest value; leaves of rounding alone (zero gradients) count as zero."""
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        scale = max(1e-3, np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=jax.tree_util.keystr(path))


FRAMES = pytest.mark.parametrize(
    "frames", [pytest.param(1, marks=pytest.mark.long), pytest.param(4, marks=pytest.mark.slow)]
)


def network_and_views(frames):
    """A PyTorch network in float64 and views [b, 2, frames, 32, 64, 3]."""
    # Eight values a view or more under the last BatchNorms of the backbone: over fewer of them rounding is amplified.
    clips = 4 if frames == 1 else 2
    views = np.random.default_rng(frames).standard_normal((clips, 2, frames, 32, 64, 3))
    return randomise(TorchVFS(18), seed=frames).double().train(), views


def our_loss(params, batch_stats, views):
    variables = {"params": params, "batch_stats": batch_stats}
    model = VFS(18, dtype=views.dtype)
    (z, p), changed = model.apply(variables, views, train=True, mutable=["batch_stats"])
    return frame_similarity_loss(z, p), changed["batch_stats"]


@FRAMES
def test_three_steps_equal_torch_in_float64(frames, tmp_path):
    network, views = network_and_views(frames)
    start = flax_tree(network.state_dict(), tmp_path)
    # Torch's variances are unbiased, n/(n-1) of ours: the factor back for each of them, 1 for all else.
    counts = unbiased_counts(network, views)
    factors = {name: torch.ones_like(tensor, dtype=torch.float64) for name, tensor in network.state_dict().items()}
    factors |= {f"{name}.running_var": factors[f"{name}.running_var"] * (1 - 1 / n) for name, n in counts.items()}
    factors = flax_tree(factors, tmp_path)["batch_stats"]
    their_losses, their_first, their_last = torch_steps(network, views, tmp_path)
    # After both views torch holds 0.81 r + n/(n-1) (0.09 v0 + 0.1 v1).
    their_stats = jax.tree.map(
        lambda after, before, factor: 0.81 * before + (after - 0.81 * before) * factor,
        *(their_first["batch_stats"], start["batch_stats"], factors),
    )

    with jax.enable_x64(True):
        step = jax.jit(jax.value_and_grad(our_loss, has_aux=True))
        optimizer = sgd(RATE, momentum=MOMENTUM, weight_decay=DECAY)
        params, stats = start["params"], start["batch_stats"]
        state, losses = optimizer.init(params), []
        for number in range(STEPS):
            (loss, stats), gradient = step(params, stats, views)
            losses.append(float(loss))
            if number == 0:
                assert_close(gradient, their_first["params"], 1e-7)
                assert_close(stats, their_stats, 1e-7)
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        # What later steps make of float64's rounding stays below 1e-7.
        np.testing.assert_allclose(losses, their_losses, rtol=0, atol=1e-7)
        assert_close(params, their_last["params"], 1e-7)


@FRAMES
def test_the_first_loss_equals_torch_in_float32(frames, tmp_path):
    network, views = network_and_views(frames)
    start = jax.tree.map(np.float32, flax_tree(network.state_dict(), tmp_path))
    loss, _ = jax.jit(our_loss)(start["params"], start["batch_stats"], views.astype(np.float32))
    with torch.no_grad():
        expected = torch_pass(network, views).item()
    assert abs(float(loss) - expected) <= 1e-5  # float32 against float64; its noise is some 1e-6
