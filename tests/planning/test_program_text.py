"""What is read from compiled programs: of recorded ones, and of small ones that XLA compiles here."""

import gzip
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from vfs_jax.planning.facts import count_by_name
from vfs_jax.planning.program_text import read_program
from vfs_jax.training.sharding import batch_sharding, make_mesh, replicated

RECORDED = Path(__file__).parent / "recorded"  # made by record_programs.py


def recorded(name):
    return json.loads(gzip.decompress((RECORDED / f"{name}.json.gz").read_bytes()))


def test_the_step_exchanges_sums_alone_and_one_of_them_is_large():
    """ResNet-18's release recipe on eight TPUs: a sum a BatchNorm in a row, there and back, the gradient, two messages.

    In a row are those of the stem, of two convolutions in each of eight blocks (a shortcut's goes with the first), of
    three layers of the projector and of one of the predictor: 21.
    """
    text = recorded("vfs_r18_fine-v5e-2x4")["text"]
    exchanges, _ = read_program(text)
    assert count_by_name(exchanges) == {"all-reduce": 21 + 21 + 1 + 2}
    for name in ("all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert f"{name}(" not in text
        assert f"{name}-start(" not in text
    gradient, *rest = sorted((each.bytes for each in exchanges), reverse=True)
    assert gradient == pytest.approx(4 * 12_150_000, rel=0.01)  # all parameters in float32
    assert max(rest) < 64_000
    assert rest[-2:] == [4, 4]  # may a process ask to stop; how many records were unreadable


@pytest.mark.parametrize("name", ["vfs_r18_fine-smoke-v5e-2x2", "vfs_r18_fine-smoke-h100-4", "vfs_r18_fine-h100-1"])
def test_every_collective_of_a_recorded_program_is_found(name):
    text = recorded(name)["text"]
    exchanges, _ = read_program(text)
    kinds = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
    lines = {kind: len(re.findall(rf"^\s*%\S+ = .* {kind}(?:-start)?\(", text, re.M)) for kind in kinds}
    assert count_by_name(exchanges) == {kind: count for kind, count in lines.items() if count}


def test_kernels_of_gpus_read_and_write_what_their_operands_and_results_hold():
    """By another way: every operand's bytes, wherever it was made, and every result's, of one recorded program."""
    text = recorded("vfs_r18_fine-h100-1")["text"]
    main = re.sub(r"/\*.*?\*/", "", text[text.index("ENTRY") :])
    widths = {"bf16": 2, "f32": 4, "s32": 4, "u32": 4, "u8": 1, "pred": 1}

    def size(shape):
        total = 0
        for kind, sides in re.findall(r"([a-z]+\d*)\[([\d,]*)\]", shape):
            number = widths[kind]
            for side in filter(None, sides.split(",")):
                number *= int(side)
            total += number
        return total

    made, total = {}, 0
    for name, shape, operation, operands in re.findall(r"%(\S+) = (.*?) ([a-z-]+)\((.*?)\)(?:,|$)", main, re.M):
        made[name] = size(shape)
        if operation in ("fusion", "custom-call", "copy"):
            total += made[name] + sum(made[each] for each in re.findall(r"%([\w.\-]+)", operands))
    _, nbytes = read_program(text)
    assert nbytes == total


def test_on_chip_memory_costs_nothing_and_padding_does():
    text = """HloModule example
ENTRY %main (a: bf16[10,100]) -> f32[] {
  %a = bf16[10,100]{1,0:T(8,128)(2,1)} parameter(0)
  %copy-start = (bf16[10,100]{1,0:T(8,128)(2,1)S(1)}, bf16[10,100]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}) copy-start(%a)
  %copy-done = bf16[10,100]{1,0:T(8,128)(2,1)S(1)} copy-done(%copy-start)
  ROOT %sum = f32[]{:T(128)} fusion(%copy-done), kind=kLoop, calls=%add
}"""
    assert read_program(text) == ((), 16 * 128 * 2 + 4)


def test_loops_count_as_often_as_they_run():
    """A sum over eight devices in each of five turns, as an accumulated step makes it."""
    mesh = make_mesh(8)

    def run(x):
        def turn(total, _):
            return total + jnp.sin(x * total[None]).sum(axis=0), None

        return jax.lax.scan(turn, jnp.ones(3), None, length=5)[0]

    shape = jax.ShapeDtypeStruct((16, 3), jnp.float32, sharding=batch_sharding(mesh))
    text = jax.jit(run, out_shardings=replicated(mesh)).lower(shape).compile().as_text()
    exchanges, _ = read_program(text)
    assert count_by_name(exchanges) == {"all-reduce": 5}
    assert [each.bytes for each in exchanges] == [12]


def test_loops_of_tpus_tell_their_turns_by_their_condition_alone():
    text = """HloModule example
%body (carry: (s32[], f32[4])) -> (s32[], f32[4]) {
  %carry = (s32[], f32[4]{0:T(128)}) parameter(0)
  %i = s32[] get-tuple-element(%carry), index=0
  %x = f32[4]{0} get-tuple-element(%carry), index=1
  %sum = f32[4]{0} all-reduce(%x), to_apply=%add
  ROOT %next = (s32[], f32[4]{0}) tuple(%i, %sum)
}

%condition (carry.1: (s32[], f32[4])) -> pred[] {
  %limit = s32[]{:T(128)} constant(18)
  %carry.1 = (s32[], f32[4]{0}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%carry.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%i.1, %limit), direction=LT
}

ENTRY %main (a: f32[4]) -> (s32[], f32[4]) {
  %a = f32[4]{0} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], f32[4]{0}) tuple(%zero, %a)
  ROOT %loop = (s32[], f32[4]{0}) while(%start), condition=%condition, body=%body
}"""
    exchanges, nbytes = read_program(text)
    assert [(each.bytes, each.times) for each in exchanges] == [(16, 18)]
    assert nbytes == 18 * (16 + 16)
