"""SGD and its schedule against PyTorch's."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from vfs_jax.training.optimizer import cosine, sgd


@pytest.mark.slow
@pytest.mark.parametrize("decay_all", [True, False])
def test_updates_equal_torch(decay_all):
    """All parameters decay, or those alone that are no vectors: torch is told by two groups."""
    steps, rng = 7, np.random.default_rng(0)
    start = {
        "kernel": rng.standard_normal((3, 4)).astype(np.float32),
        "bias": rng.standard_normal(4).astype(np.float32),
    }
    gradients = [
        {name: rng.standard_normal(v.shape).astype(np.float32) for name, v in start.items()} for _ in range(steps)
    ]

    tensors = {name: torch.nn.Parameter(torch.from_numpy(value.copy())) for name, value in start.items()}
    groups = [
        {"params": [tensors["kernel"]], "weight_decay": 1e-2},
        {"params": [tensors["bias"]], "weight_decay": 1e-2 if decay_all else 0.0},
    ]
    theirs = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=steps)
    ours = sgd(cosine(0.05, steps), momentum=0.9, weight_decay=1e-2, decay_all=decay_all)
    params = {name: jnp.asarray(value) for name, value in start.items()}
    state = ours.init(params)
    for step, gradient in enumerate(gradients):
        np.testing.assert_allclose(float(cosine(0.05, steps)(step)), schedule.get_last_lr()[0], rtol=1e-6)
        for name, tensor in tensors.items():
            tensor.grad = torch.from_numpy(gradient[name])
        theirs.step()
        schedule.step()
        updates, state = ours.update({name: jnp.asarray(value) for name, value in gradient.items()}, state, params)
        params = optax.apply_updates(params, updates)
        for name, tensor in tensors.items():  # float32 rounding of seven updates
            np.testing.assert_allclose(params[name], tensor.detach().numpy(), rtol=0, atol=2e-6)
