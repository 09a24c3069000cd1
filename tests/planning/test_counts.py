"""Counts of traced programs: of small ones by hand, of the release's step beside what compilers said."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest
from test_program_text import recorded

from vfs_jax.configs import vfs_r18_fine
from vfs_jax.planning.counts import count_program
from vfs_jax.planning.facts import count_by_name
from vfs_jax.planning.program_text import read_program
from vfs_jax.training.options import read_options
from vfs_jax.training.sharding import batch_sharding, make_mesh, replicated
from vfs_jax.training.vfs import make_program


def count(function, *shapes, chips=8, platform="cuda"):
    """Count a function of arrays [batch, ...] and of weights, which have no batch."""

    def trace(times):
        given = [jax.ShapeDtypeStruct((times * shape[0], *shape[1:]), jnp.float32) for shape in shapes[:1]]
        return jax.jit(function).trace(*given, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes[1:]))

    return count_program(trace, platform=platform, chips=chips)


def test_a_matrix_product_by_hand():
    facts = count(lambda x, w: jnp.tanh(x @ w), (64, 32), (32, 16))
    assert facts.argument_bytes == 4 * (8 * 32 + 32 * 16)  # eight rows a chip, and all weights
    assert facts.flops == 2 * 8 * 32 * 16
    # The product reads both and writes its result, which tanh reads to write another.
    assert facts.bytes == 4 * (8 * 32 + 32 * 16 + 8 * 16) + 4 * (8 * 16 + 8 * 16)
    assert facts.work_bytes == 4 * (8 * 16 + 8 * 16)
    assert facts.collectives == ()


def test_what_loses_the_batch_is_exchanged_and_what_happens_at_once_is_joined():
    def two_at_once(x):
        return x.sum(axis=0), (x * x).sum(axis=0)

    def one_after_the_other(x):
        return ((x - x.mean(axis=0, keepdims=True)) ** 2).mean(axis=0)

    assert [(e.name, e.bytes) for e in count(two_at_once, (64, 32)).collectives] == [("all-reduce", 2 * 32 * 4)]
    assert [e.bytes for e in count(one_after_the_other, (64, 32)).collectives] == [32 * 4, 32 * 4]
    assert count(two_at_once, (64, 32), chips=1).collectives == ()


def test_rows_that_meet_all_rows_are_gathered():
    exchanged = count(lambda x: (x @ x.T).max(axis=1), (64, 32)).collectives
    assert [(e.name, e.bytes) for e in exchanged] == [("all-gather", 64 * 32 * 4)]


def test_a_queue_that_takes_the_batch_in_gathers_the_batch_alone():
    def push(x, queue):
        return jnp.concatenate([x, queue])[: len(queue)]

    facts = count(push, (64, 32), (1000, 32))
    assert [(e.name, e.bytes) for e in facts.collectives] == [("all-gather", 64 * 32 * 4)]
    assert facts.argument_bytes == 4 * (8 * 32 + 1000 * 32)


def test_parts_of_an_accumulated_batch_exchange_one_by_one():
    def run(x, w):
        def turn(total, part):
            return total + jnp.tanh(part @ w).sum(axis=0), None

        return jax.lax.scan(turn, jnp.zeros(16), x.reshape(4, -1, 32))[0]

    facts = count(run, (64, 32), (32, 16))
    assert count_by_name(facts.collectives) == {"all-reduce": 4}
    assert facts.flops == 2 * 8 * 32 * 16


@pytest.mark.parametrize("function", [lambda x: jnp.cos(x).sum(axis=0), lambda x: x.std(axis=0)])
def test_counted_exchanges_are_those_that_xla_makes(function):
    mesh = make_mesh(8)
    shape = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=batch_sharding(mesh))
    compiled = jax.jit(function, out_shardings=replicated(mesh)).lower(shape).compile()
    exchanges, _ = read_program(compiled.as_text())
    assert count_by_name(count(function, (64, 32)).collectives) == count_by_name(exchanges)


@pytest.fixture(scope="module")
def step():
    """The release's step on ResNet-18, counted for a platform and a number of chips; traced once a batch."""
    config = vfs_r18_fine.get_config()
    config.dtype = "bfloat16"
    options = read_options(config.to_dict())

    @functools.cache
    def trace(times):
        return make_program(dataclasses.replace(options, batch_size=64 * times), make_mesh(1)).trace()

    return lambda platform, chips: count_program(trace, platform=platform, chips=chips)


@pytest.mark.slow
def test_the_release_s_step_counted_beside_compiled(step):
    """The counts are a model of a compiler, made before this test: as near as the lines below say.

    A TPU keeps arrays in on-chip memory, so that less is read than counted; its order of axes costs more padding.
    """
    for platform, chips, name, within in (("cuda", 1, "h100-1", (0.97, 1.03)), ("tpu", 8, "v5e-2x4", (0.5, 1.3))):
        counted, told = step(platform, chips), recorded(f"vfs_r18_fine-{name}")
        exchanges, nbytes = read_program(told["text"])
        low, high = within
        assert count_by_name(counted.collectives) == count_by_name(exchanges)
        assert sum(e.bytes for e in counted.collectives) == pytest.approx(sum(e.bytes for e in exchanges), rel=0.001)
        assert counted.argument_bytes == pytest.approx(told["memory"]["argument"], rel=0.001)
        assert low < counted.work_bytes / told["memory"]["temp"] < high
        assert low < counted.bytes / nbytes < high
    assert counted.flops == pytest.approx(told["flops"], rel=0.02)  # elementwise operations count there too
