"""The 3x3 convolutions by Winograd's algorithm against torch in float64."""

from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vfs_jax.models import winograd
from vfs_jax.models.winograd import convolve_3x3


def torch_convolution(
    x: np.ndarray, kernel: np.ndarray, g: np.ndarray, dilation: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The convolution in float64, and the gradients of x and of the kernel where its own is g."""
    inputs = torch.from_numpy(x.astype(np.float64)).permute(0, 3, 1, 2).requires_grad_()
    weight = torch.from_numpy(kernel.astype(np.float64)).permute(3, 2, 0, 1).requires_grad_()
    y = torch.nn.functional.conv2d(inputs, weight, padding=dilation, dilation=dilation)
    dx, dkernel = torch.autograd.grad(y, (inputs, weight), torch.from_numpy(g.astype(np.float64)).permute(0, 3, 1, 2))
    return (
        y.detach().permute(0, 2, 3, 1).numpy(),
        dx.permute(0, 2, 3, 1).numpy(),
        dkernel.permute(2, 3, 1, 0).numpy(),
    )


def assert_near(values: tuple, expected: tuple) -> None:
    """Equal to 5e-6 of the largest number: float32 rounds at 6e-8, and some hundred roundings add up in a sum."""
    for a, b in zip(values, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=5e-6 * np.abs(b).max())


@pytest.fixture(name="large")
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends small convolutions Winograd's way too."""
    monkeypatch.setattr(winograd, "_LARGE", 0)


# Narrow and wide kernels' gradients are computed in different ways: each at an even and at odd sizes.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "dilation", "width"),
    [((8, 8), 1, 130), ((1, 1), 1, 5), ((7, 9), 2, 130), ((2, 13), 2, 5), ((16, 4), 4, 5), ((9, 20), 4, 130)],
)
def test_torch(large: None, size: tuple[int, int], dilation: int, width: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *size, width)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, width, width + 1)).astype(np.float32)
    g = rng.standard_normal((2, *size, width + 1)).astype(np.float32)

    @jax.jit
    def run(x: jax.Array, kernel: jax.Array, g: jax.Array) -> tuple:
        y, pullback = jax.vjp(partial(convolve_3x3, dilation=dilation), x, kernel)
        return y, *pullback(g)

    assert_near(run(x, kernel, g), torch_convolution(x, kernel, g, dilation))
    assert "convolution" not in jax.jit(convolve_3x3).lower(x, kernel).as_text()


def test_large_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    x, kernel = jnp.zeros((1, 8, 8, 4)), jnp.zeros((3, 3, 4, 4))

    def number_of_matmuls(dtype: str) -> int:
        traced = jax.make_jaxpr(lambda x, k: convolve_3x3(x, k))(x.astype(dtype), kernel.astype(dtype))
        return str(traced).count("dot_general")

    monkeypatch.setattr(winograd, "_LARGE", 8 * 8 * 4 * 9 * 4 + 1)
    assert number_of_matmuls("float32") == 0
    monkeypatch.setattr(winograd, "_LARGE", 8 * 8 * 4 * 9 * 4)
    assert number_of_matmuls("float32") == 16
    assert number_of_matmuls("bfloat16") == 0


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_convolve(large: None, platform: str) -> None:
    shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((1, 8, 8, 4), (3, 3, 4, 4))]
    gradient = jax.jit(jax.grad(lambda x, kernel: convolve_3x3(x, kernel).sum(), argnums=(0, 1)))
    exported = jax.export.export(gradient, platforms=[platform])(*shapes)
    assert "stablehlo.convolution" in exported.mlir_module()
    assert "dot_general" not in exported.mlir_module()
