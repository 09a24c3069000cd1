"""What compilers say, and what stands in where they say nothing: with XLA's own for CPUs in their place."""

import jax
import jax.numpy as jnp
import pytest

from vfs_jax.errors import InputError
from vfs_jax.planning import compilers
from vfs_jax.planning.compilers import compile_program, require_tpu_compiler


def lowered(function):
    return jax.jit(function).lower(jax.ShapeDtypeStruct((32, 32), jnp.float32))


def test_a_compiler_tells_memory_operations_and_traffic():
    facts = compile_program(lowered(lambda x: x @ x), chips=1, counted_flops=1.0)
    assert (facts.how, facts.flops_how, facts.shortage) == ("compiled", "compiled", "")
    assert facts.flops == 2 * 32**3
    assert facts.argument_bytes == facts.result_bytes == 4 * 32 * 32
    assert facts.bytes == 2 * 4 * 32 * 32  # one argument, read once, and the result
    assert facts.compile_seconds > 0


def test_of_loops_compilers_count_one_turn_so_that_they_are_counted_here():
    facts = compile_program(
        lowered(lambda x: jax.lax.fori_loop(0, 7, lambda _, y: y @ y, x)), chips=2, counted_flops=14 * 2 * 32**3
    )
    assert (facts.flops, facts.flops_how) == (7 * 2 * 32**3, "counted")


@pytest.mark.parametrize(
    ("message", "gib"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (46.17G) "
            "exceeds available HBM (15.75G).",
            46.17,
        ),
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 22.34G "
            "of 15.75G hbm. Exceeded hbm capacity by 6.59G.\n\nTotal hbm usage >= 22.59G:\n    reserved        258.00M",
            22.34,
        ),
    ],
)
def test_programs_that_do_not_fit_tell_what_they_need(monkeypatch, message, gib):
    class Lowered:
        def compile(self):
            raise jax.errors.JaxRuntimeError(message)

    facts = compile_program(Lowered(), chips=4, counted_flops=8.0)
    assert facts.memory_bytes == int(gib * 2**30)
    assert facts.flops == 2.0
    assert facts.shortage.startswith("RESOURCE_EXHAUSTED")
    assert "\n" not in facts.shortage

    def refuse(self):
        raise jax.errors.JaxRuntimeError("INTERNAL: a defect")

    monkeypatch.setattr(Lowered, "compile", refuse)
    with pytest.raises(jax.errors.JaxRuntimeError, match="a defect"):
        compile_program(Lowered(), chips=4, counted_flops=8.0)


@pytest.mark.parametrize(
    ("found", "message"), [(None, "is not installed; "), ("libtpu 0.0.1", "version 0.0.1 is installed, jax ")]
)
def test_a_compiler_for_tpus_that_lacks_or_is_another_version_is_named_with_its_cure(monkeypatch, found, message):
    monkeypatch.setattr(compilers, "compiler_of", lambda platform: found)
    with pytest.raises(InputError) as error:
        require_tpu_compiler()
    assert message in str(error.value)
    assert "pip install 'vfs_jax[plan]' 'libtpu==" in str(error.value)


def test_the_version_that_jax_asks_for_is_taken(monkeypatch):
    monkeypatch.setattr(compilers.importlib.metadata, "requires", lambda name: ['libtpu==0.0.7.*; extra == "tpu"'])
    monkeypatch.setattr(compilers, "compiler_of", lambda platform: "libtpu 0.0.7.3")
    require_tpu_compiler()
