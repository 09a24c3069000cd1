"""Floating-point operations of a step, against the count of XLA on a CPU."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from vfs_jax.models import winograd
from vfs_jax.training.flops import count_flops
from vfs_jax.training.options import TrainOptions
from vfs_jax.training.sharding import make_mesh
from vfs_jax.training.vfs import make_program

OPTIONS = TrainOptions(
    data="",
    depth=18,
    seed=0,
    steps=10,
    batch_size=4,
    segments=2,
    image_size=64,
    learning_rate=0.05,
    checkpoint_every=1,
    log_every=1,
)


def counts(function, *arrays):
    """Ours and XLA's."""
    return count_flops(jax.make_jaxpr(function)(*arrays)), jax.jit(function).lower(*arrays).cost_analysis()["flops"]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("stride", "dilation", "padding"), [(1, 1, (1, 1)), (2, 1, (1, 1)), (2, 1, (3, 2)), (1, 2, (2, 2)), (3, 2, (0, 0))]
)
def test_a_convolution_and_its_gradients(stride, dilation, padding, groups):
    def convolve(x, kernel):
        options = {"window_strides": (stride, 1), "rhs_dilation": (dilation, 1), "feature_group_count": groups}
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, padding=(padding, (1, 0)), dimension_numbers=layout, **options)

    x, kernel = jnp.ones((2, 11, 9, 4)), jnp.ones((3, 5, 4 // groups, 6))
    forward, theirs = counts(convolve, x, kernel)
    assert forward == theirs > 0
    g = convolve(x, kernel)
    for argument in range(2):  # each product of an input with a kernel's weight is in each gradient once
        gradient, _ = counts(lambda g, argument=argument: jax.vjp(convolve, x, kernel)[1](g)[argument], g)
        assert gradient == forward


def test_matrix_products_scans_and_branches():
    a, b = jnp.ones((3, 4, 5)), jnp.ones((3, 5, 6))
    assert counts(jnp.matmul, a, b) == (720, 720)
    assert (
        count_flops(jax.make_jaxpr(lambda x: lax.scan(lambda x, _: (x @ x, None), x, length=7)[0])(a[0, :4, :4])) == 896
    )

    def branch(x):
        return lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert count_flops(jax.make_jaxpr(branch)(a[0, :4, :4])) == 256


def test_what_platforms_compute_in_other_ways_counts_as_defined(monkeypatch):
    x, kernel = jnp.ones((1, 6, 6, 4)), jnp.ones((3, 3, 4, 4))

    def gradient():
        def loss(x, kernel):
            return jnp.sum(jnp.square(winograd.convolve_3x3(x, kernel)))

        return count_flops(jax.make_jaxpr(jax.grad(loss, (0, 1)))(x, kernel))

    defined = gradient()
    assert defined == 3 * 2 * 16**2 * 4 * 4  # of 6 x 3 places, 16 lie within the image
    monkeypatch.setattr(winograd, "_LARGE", 0)
    assert gradient() == defined


@pytest.mark.slow
def test_a_step_counts_what_the_network_needs():
    program = make_program(OPTIONS, make_mesh(1))
    whole = program.flops(program.trace())
    theirs = program.lower().cost_analysis()["flops"]
    assert 0.9 * theirs < whole < theirs  # XLA counts additions and comparisons, too
    for changes in ({"remat": True}, {"accumulate": 2}, {"dtype": "bfloat16"}):
        other = make_program(dataclasses.replace(OPTIONS, **changes), make_mesh(1))
        assert other.flops(other.trace()) == whole, changes
