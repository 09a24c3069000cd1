"""What the text of a compiled program tells: what chips exchange, and how much memory traffic it makes."""

import re
from collections.abc import Iterator

from vfs_jax.planning.facts import Collective

_SIZES = {"pred": 1, "bf16": 2, "f8e4m3fn": 1, "f8e5m2": 1, "s4": 1, "u4": 1}
_COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute")
# "bf16[64,56,56,64]{3,0,2,1:T(8,128)(2,1)S(1)}": dtype, sizes, axes from the one that varies fastest on, tile, space.
_ARRAY = re.compile(r"\b(pred|bf16|[suf]\d+\w*|c64)\[([\d,]*)\](?:\{([\d,]*)(?::([^{}]*))?\})?")
_LINE = re.compile(r"^\s*(?:ROOT )?%([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
# Neither reads nor writes, or is the end of what its "-start" counted.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "opt-barrier", "after-all", "partition-id"}


def read_program(text: str) -> tuple[tuple[Collective, ...], int]:
    """Read the exchanges of a program, and the bytes that it reads from and writes to the chip's memory.

    Every operation of the program's main part is one kernel: it reads its operands and writes its results once, with
    the padding of their layouts. What lies in a TPU's on-chip memory costs nothing; copies into it read. Loops count as
    often as they run.

    Args:
        text: `as_text()` of a compiled program.

    Returns:
        The exchanges in order, and the bytes.

    Example:
        >>> text = '''HloModule example
        ... ENTRY %main (a: f32[2,3]) -> f32[2,3] {
        ...   %a = f32[2,3]{1,0} parameter(0)
        ...   %b = f32[2,3]{1,0} all-reduce(%a), to_apply=%sum
        ...   ROOT %c = f32[2,3]{1,0} fusion(%a, %b), kind=kLoop, calls=%add
        ... }'''
        >>> read_program(text)
        ((Collective(name='all-reduce', bytes=24, times=1),), 120)
    """
    computations = {name: (is_entry, lines) for name, is_entry, lines in _computations(text)}
    (entry,) = (name for name, (is_entry, _) in computations.items() if is_entry)
    collectives: list[Collective] = []
    nbytes = _read(entry, {name: lines for name, (_, lines) in computations.items()}, collectives, 1)
    return tuple(collectives), nbytes


def _computations(text: str) -> Iterator[tuple[str, bool, list[str]]]:
    """Iterate over the parts of a program: name, whether it is the main one, lines."""
    name, is_entry, lines = "", False, list[str]()
    for line in text.splitlines():
        if header := re.match(r"(ENTRY )?%([\w.\-]+) \(.*\{\s*$", line):
            name, is_entry, lines = header[2], bool(header[1]), []
        elif line.startswith("}") and name:
            yield name, is_entry, lines
            name = ""
        elif name:
            lines.append(re.sub(r"/\*.*?\*/", "", line))


def _read(name: str, computations: dict[str, list[str]], collectives: list[Collective], times: int) -> int:
    """Count the bytes of one part as often as it runs, and append its exchanges."""
    nbytes, shapes = 0, dict[str, str]()
    for line in computations[name]:
        match = _LINE.match(line)
        if match is None:
            continue
        result, shape, operation, rest = match.groups()
        shapes[result] = shape
        operands = re.findall(r"%([\w.\-]+)", rest[: _closing(rest)])
        if operation == "while":
            if body := re.search(r"body=%([\w.\-]+)", rest):
                nbytes += _read(body[1], computations, collectives, times * _turns(rest, computations))
            continue
        if operation in ("conditional", "call"):
            for branch in re.findall(r"(?:to_apply=|[{ ,])%([\w.\-]+)", rest[_closing(rest) :]):
                if branch in computations:
                    nbytes += _read(branch, computations, collectives, times)
            continue
        kind = operation.removesuffix("-start")
        if kind in _COLLECTIVES:
            collectives.append(Collective(kind, sum(size for size, _ in _arrays(shape, padded=False)), times))
        if operation in _FREE or operation.endswith(("-done", "-update")):
            continue
        if operation in ("copy-start", "slice-start"):  # (to, from, token) and ((from), to, token)
            arrays = _arrays(shape, padded=True)[:2]
            moved = min(size for size, _ in arrays)
            nbytes += times * moved * sum(in_memory for _, in_memory in arrays)
            continue
        touched = [*_arrays(shape, padded=True)]
        for operand in operands:
            touched += _arrays(shapes.get(operand, ""), padded=True)
        nbytes += times * sum(size for size, in_memory in touched if in_memory)
    return nbytes


def _turns(rest: str, computations: dict[str, list[str]]) -> int:
    """Find how often a loop runs: as the compiler tells, or what its condition compares a counter from 0 on with."""
    if told := re.search(r'"known_trip_count":\{"n":"(\d+)"\}', rest):
        return int(told[1])
    condition = re.search(r"condition=%([\w.\-]+)", rest)
    lines = computations.get(condition[1], []) if condition else []
    limits = {name: int(n) for line in lines for name, n in re.findall(r"%(\S+) = s32\[\]\S* constant\((\d+)\)", line)}
    compared = next((line for line in lines if "direction=LT" in line), "")
    return next((limits[name] for name in re.findall(r"%([\w.\-]+)", compared) if name in limits), 1)


def _closing(rest: str) -> int:
    """Find the parenthesis that ends the operands."""
    depth = 1
    for place, character in enumerate(rest):
        depth += (character == "(") - (character == ")")
        if not depth:
            return place
    return len(rest)


def _arrays(shape: str, *, padded: bool) -> list[tuple[int, bool]]:
    """Read the arrays of a shape: bytes, and whether they lie in the chip's main memory."""
    found = []
    for dtype, sides, order, layout in _ARRAY.findall(shape):
        sizes = [int(side) for side in sides.split(",") if side]
        tile = re.match(r"T\(([\d,]+)\)", layout)
        if padded and tile and sizes:
            axes = [int(axis) for axis in order.split(",") if axis]
            for axis, side in zip(axes, reversed(tile[1].split(",")), strict=False):
                sizes[axis] = -(-sizes[axis] // int(side)) * int(side)
        nbytes = _SIZES.get(dtype) or int(re.sub(r"\D", "", dtype)) // 8
        for size in sizes:
            nbytes *= size
        found.append((nbytes, "S(" not in layout))
    return found
