"""Count what a compiled program starts on a device: matmuls, sorts, gathers and the rest, loops by their iterations."""

import collections
import math
import re

# What starts nothing: names for what is there already.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id"}
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_SHAPE = re.compile(r"[a-z]\w*\[([\d,]*)\]")
_CALLED = re.compile(r"(body|condition|calls|to_apply|false_computation|branch_computations)=\{?%?([\w.\-]+)")


class Instruction:
    """One line of a program's text: its name, shape, opcode and the rest."""

    def __init__(self, match: re.Match):
        self.name, self.shape, self.opcode, self.rest = match.groups()
        self.called = dict(_CALLED.findall(self.rest))

    def sizes(self) -> list[int]:
        """Sizes of the axes of the (first) result; none for what has no array."""
        shape = _SHAPE.search(self.shape)
        return [int(size) for size in shape.group(1).split(",") if size] if shape else []


def _computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    computations: dict[str, list[Instruction]] = {}
    entry = current = ""
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            words = line.split()
            current = words[1 if words[0] == "ENTRY" else 0].lstrip("%")
            entry = current if words[0] == "ENTRY" else entry
            computations[current] = []
        elif match := _INSTRUCTION.match(line):
            computations[current].append(Instruction(match))
    return computations, entry


def count(text: str) -> collections.Counter:
    """Count a compiled program, `compiled.as_text()`.

    Of a conditional the branch for False counts; a loop's body counts as often as XLA knows it to run.

    Returns:
        "programs": kernels, library calls and copies that are started; "matmul", "sort", "top_k", "gather",
        "kernel" (hand-written): how many of them are or hold one; "flop": multiplications and additions of matmuls.
    """
    computations, entry = _computations(text)

    def flop(instruction: Instruction, shapes: dict[str, list[int]]) -> int:
        contracted = re.search(r'lhs_contracting_dim(?:s|ensions)"?[=:][{\[]"?(\d+)', instruction.rest)
        operand = re.search(r"%([\w.\-]+)", instruction.rest)
        left = shapes.get(operand.group(1), []) if operand else []
        depth = left[int(contracted.group(1))] if contracted and left else 0
        return 2 * math.prod(instruction.sizes()) * depth

    def kinds(instruction: Instruction, shapes: dict[str, list[int]]) -> collections.Counter:
        """Count what one instruction is, or holds if it is a fusion."""
        found: collections.Counter = collections.Counter()
        if instruction.opcode == "fusion":
            inner = computations[instruction.called["calls"]]
            own = {each.name: each.sizes() for each in inner}
            for each in inner:
                if each.opcode in ("dot", "convolution", "gather", "sort", "fusion", "custom-call"):
                    found += kinds(each, own)
            found = collections.Counter({key: value if key == "flop" else 1 for key, value in found.items()})
        target = re.search(r'custom_call_target="([^"]+)"', instruction.rest)
        name = target.group(1) if target else ""
        if instruction.opcode in ("dot", "convolution") or "gemm" in name or "matmul" in name:
            found["matmul"] += 1
            found["flop"] += flop(instruction, shapes)
        elif "TopK" in name or "topk" in name.lower():
            found["top_k"] += 1
        elif "mosaic" in name:
            found["kernel"] += 1
        elif "sort" in name.lower() or instruction.opcode == "sort":
            found["sort"] += 1
        elif instruction.opcode == "gather":
            found["gather"] += 1
        return found

    def trips(loop: Instruction) -> int:
        known = re.search(r'known_trip_count"?:\{"n":"(\d+)"', loop.rest)
        if known:
            return int(known.group(1))
        limits = [each for each in computations[loop.called["condition"]] if each.opcode == "constant"]
        return int(limits[0].rest.split(")")[0])

    def walk(name: str) -> collections.Counter:
        total: collections.Counter = collections.Counter()
        shapes = {each.name: each.sizes() for each in computations[name]}
        for each in computations[name]:
            if each.opcode in _FREE or each.opcode.endswith("-done"):
                continue
            if each.opcode == "while":
                inner = walk(each.called["body"])
                total += collections.Counter({key: value * trips(each) for key, value in inner.items()})
            elif each.opcode == "conditional":
                total += walk(each.called.get("false_computation") or each.called["branch_computations"])
            elif each.opcode == "call":
                total += walk(each.called.get("to_apply") or each.called["calls"])
            else:
                total += kinds(each, shapes)
                total["programs"] += 1
        return total

    return walk(entry)
