"""The max-pool against torch's, its gradient at equal maxima included."""

import jax
import numpy as np
import pytest
import torch

from vfs_jax.models.max_pool import _by_padding, _by_stacking, max_pool


@pytest.mark.slow
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 5), (1, 1), (2, 3)])
def test_torch(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    # Few different values, so that most windows hold their maximum more than once.
    x = rng.integers(-2, 3, (2, *size, 3)).astype(np.float32)
    inputs = torch.from_numpy(x).permute(0, 3, 1, 2).requires_grad_()
    expected = torch.nn.functional.max_pool2d(inputs, 3, 2, 1)
    g = rng.integers(-8, 9, expected.permute(0, 2, 3, 1).shape).astype(np.float32)  # sums of whole numbers are exact
    (expected_dx,) = torch.autograd.grad(expected, inputs, torch.from_numpy(g).permute(0, 3, 1, 2))

    @jax.jit
    def run(x: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, pullback = jax.vjp(max_pool, x)
        return y, *pullback(g)

    y, dx = run(x, g)
    np.testing.assert_array_equal(y, expected.detach().permute(0, 2, 3, 1))
    np.testing.assert_array_equal(dx, expected_dx.permute(0, 2, 3, 1))


def test_both_ways_to_interleave_are_one() -> None:
    """Accelerators interleave by padding, CPUs by stacking."""
    cells = [np.random.default_rng(number).normal(size=(2, 3, 4, 5)).astype(np.float32) for number in range(4)]
    stacked = _by_stacking(*cells)
    np.testing.assert_array_equal(stacked, _by_padding(*cells))
    np.testing.assert_array_equal(stacked[:, 1::2, ::2], cells[2])
