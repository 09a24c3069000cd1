"""Loss, gradient, running statistics and SGD steps of the whole network against PyTorch's autograd."""

import jax
import numpy as np
import pytest
import torch
from torch_reference import TorchVFS, randomise

from vfs_jax.models import VFS, load_torch
from vfs_jax.training import frame_similarity_loss
from vfs_jax.training.optimizer import sgd

STEPS, RATE, MOMENTUM, DECAY = 2, 0.05, 0.9, 1e-4  # of two steps the second has momentum


def torch_loss(z, p):
    """The mean over clips and all pairs of frames i of view 0, j of view 1; z, p are lists of two [b, t, d]."""
    frames = z[0].shape[1]
    total = 0.0
    for i in range(frames):
        for j in range(frames):
            for a, b in ((p[0][:, i], z[1][:, j]), (p[1][:, j], z[0][:, i])):
                cosine = torch.nn.functional.cosine_similarity(a, b.detach(), dim=-1)
                total = total + 0.5 * (2 - 2 * cosine).mean()
    return total / frames**2


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
    """Losses; the gradient and the statistics after the first backward pass; everything after the last step."""
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


@pytest.fixture(
    scope="module", params=[pytest.param((4, 1), marks=pytest.mark.long), pytest.param((2, 2), marks=pytest.mark.slow)]
)
def theirs(request, tmp_path_factory):
    """What PyTorch computes in float64 on views of so many clips and frames: its start, losses and results."""
    # Eight values a view under the last BatchNorms of the backbone: over fewer of them rounding is amplified.
    clips, frames = request.param
    folder = tmp_path_factory.mktemp("training")
    views = np.random.default_rng(frames).standard_normal((clips, 2, frames, 32, 64, 3))
    network = randomise(TorchVFS(18), seed=frames).double().train()
    start = flax_tree(network.state_dict(), folder)
    # Torch's variances are unbiased, n/(n-1) of ours: the factor back for each of them, 1 for all else.
    counts = unbiased_counts(network, views)
    factors = {name: torch.ones_like(tensor, dtype=torch.float64) for name, tensor in network.state_dict().items()}
    factors |= {f"{name}.running_var": factors[f"{name}.running_var"] * (1 - 1 / n) for name, n in counts.items()}
    factors = flax_tree(factors, folder)["batch_stats"]
    losses, first, last = torch_steps(network, views, folder)
    # After both views torch holds 0.81 r + n/(n-1) (0.09 v0 + 0.1 v1).
    stats = jax.tree.map(
        lambda after, before, factor: 0.81 * before + (after - 0.81 * before) * factor,
        *(first["batch_stats"], start["batch_stats"], factors),
    )
    return {"views": views, "start": start, "losses": losses, "gradient": first["params"], "stats": stats, "last": last}


def our_loss(params, batch_stats, views):
    variables = {"params": params, "batch_stats": batch_stats}
    model = VFS(18, dtype=views.dtype)
    (z, p), changed = model.apply(variables, views, train=True, mutable=["batch_stats"])
    return frame_similarity_loss(z, p), changed["batch_stats"]


def test_steps_equal_torch_in_float64(theirs):
    with jax.enable_x64(True):
        step = jax.jit(jax.value_and_grad(our_loss, has_aux=True))
        optimizer = sgd(RATE, momentum=MOMENTUM, weight_decay=DECAY)
        params, stats = theirs["start"]["params"], theirs["start"]["batch_stats"]
        state, losses = optimizer.init(params), []
        update = jax.jit(optimizer.update)
        for number in range(STEPS):
            (loss, stats), gradient = step(params, stats, theirs["views"])
            losses.append(float(loss))
            if number == 0:
                assert_close(gradient, theirs["gradient"], 1e-7)
                assert_close(stats, theirs["stats"], 1e-7)
            updates, state = update(gradient, state, params)
            params = jax.tree.map(np.add, params, updates)
        # What later steps make of float64's rounding stays below 1e-7.
        np.testing.assert_allclose(losses, theirs["losses"], rtol=0, atol=1e-7)
        assert_close(params, theirs["last"]["params"], 1e-7)


def test_the_first_loss_equals_torch_in_float32(theirs):
    start = jax.tree.map(np.float32, theirs["start"])
    loss, _ = jax.jit(our_loss)(start["params"], start["batch_stats"], theirs["views"].astype(np.float32))
    assert abs(float(loss) - theirs["losses"][0]) <= 1e-5  # float32 against float64; its noise is some 1e-6
