"""Counts of a traced program that runs on many chips: memory, memory traffic, and what the chips exchange."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import jax
import numpy as np

from vfs_jax.planning.facts import Collective, Facts
from vfs_jax.planning.flat import Flat, Operation, flatten
from vfs_jax.training.flops import count_flops

# Kernels of their own: what they read and write lies in memory. All else runs inside the kernel that needs it.
_HEAVY = (
    "conv_general_dilated",
    "dot_general",
    "reduce_window_max",
    "reduce_window",
    "sort",
    "top_k",
    "scan",
    "gather",
)
# Operations that add up what lies along the batch; others that lose its axis need the rows of all chips.
_SUMS = ("reduce_", "dot_general", "conv_general_dilated", "argm", "cum", "scatter", "scan")
_LANES, _SUBLANE_BYTES = 128, 32  # of a TPU's tile, which is what it keeps in memory


def count_program(trace: Callable[[int], jax.stages.Traced], *, platform: str, chips: int, flops: float = 0.0) -> Facts:
    """Count what a program needs of each chip, without a compiler.

    What grows with the batch is cut over the chips, all else is whole on each; so an operation whose operands grow with
    it and whose result does not is where the chips exchange something. Of those that can happen at the same time, one
    is counted: compilers join them. Kernels are convolutions, matrix products, sums over the batch and the like, with
    all elementwise work inside them. What a TPU keeps in its on-chip memory is counted as if it did not.

    Args:
        trace: the program for one, two ... times its batch.
        platform: "tpu" or "cuda"; "" for neither.
        chips: how many share the batch.
        flops: over all chips; counted from the program where 0.

    Returns:
        What is counted; `code_bytes` is 0.
    """
    traced = trace(1)
    flat, doubled = flatten(traced, platform), flatten(trace(2), platform)
    # What has the batch along an axis doubles; a queue that takes the batch in grows by less and is whole on each chip.
    grows = [_size(more) >= 2 * _size(less) > 0 for less, more in zip(flat.arrays, doubled.arrays, strict=True)]
    sizes = [_bytes(array, chips if cut else 1, platform) for array, cut in zip(flat.arrays, grows, strict=True)]
    levels, collectives = _exchanges(flat, doubled, grows, chips)
    kept = _in_memory(flat, grows)
    arguments = sum(sizes[number] for number in flat.inputs)
    return Facts(
        how="counted",
        argument_bytes=arguments,
        result_bytes=0,  # the state is written over itself; what else there is are scalars
        work_bytes=_work(flat, kept, grows, sizes),
        code_bytes=0,
        flops=(flops or count_flops(traced.jaxpr)) / chips,
        flops_how="counted",
        bytes=_traffic(flat, kept, sizes, levels),
        collectives=collectives,
    )


def _size(array: jax.core.AbstractValue) -> int:
    return math.prod(getattr(array, "shape", ()))


def _bytes(array: jax.core.AbstractValue, parts: int, platform: str) -> int:
    """Return the bytes of a chip's part of an array; on a TPU with the padding of the best order of its axes."""
    assert isinstance(array, jax.core.ShapedArray)
    itemsize = getattr(array.dtype, "itemsize", 4)  # random keys have none
    sides = list(array.shape)
    if parts > 1 and sides:
        sides[int(np.argmax(sides)) if sides[0] < parts else 0] /= parts
    full = math.prod(sides)
    if platform == "tpu" and len(sides) > 1 and full:
        sublanes = max(8, _SUBLANE_BYTES // itemsize)

        def padded(side: float, to: int) -> float:
            return math.ceil(side / to) * to / side

        full *= min(
            padded(a, _LANES) * padded(b, sublanes) for i, a in enumerate(sides) for j, b in enumerate(sides) if i != j
        )
    return math.ceil(full * itemsize)


def _exchanges(
    flat: Flat, doubled: Flat, grows: Sequence[bool], chips: int
) -> tuple[list[int], tuple[Collective, ...]]:
    """Find for each array how many exchanges come before it, and the exchanges."""
    levels = [0] * len(flat.arrays)
    joined: dict[tuple[int, str, str, int], int] = defaultdict(int)
    for operation in flat.operations:
        level = max((levels[number] for number in operation.inputs), default=0)
        cut = [number for number in operation.inputs if grows[number]]
        made = [flat.arrays[number] for number in operation.outputs]
        name, result = "", 0
        if cut and any(map(_size, made)) and not any(grows[number] for number in operation.outputs):
            name = "all-reduce" if operation.name.startswith(_SUMS) else "all-gather"
            moved = operation.outputs if name == "all-reduce" else cut
            result = sum(_bytes(flat.arrays[number], 1, "") for number in moved)
        elif operation.name == "dot_general" and _is_square(flat, doubled, operation):
            name = "all-gather"  # every row of the batch meets every other
            result = min(_bytes(flat.arrays[number], 1, "") for number in cut)
        if result and operation.name != "scan":
            level += 1
            dtype = getattr(flat.arrays[operation.outputs[0]], "dtype", None)
            kind = "float" if dtype is not None and jax.numpy.issubdtype(dtype, np.floating) else operation.name
            joined[level, name, kind, operation.times] += result
        for number in operation.outputs:
            levels[number] = level
    if chips == 1:
        return levels, ()
    return levels, tuple(Collective(name, size, times) for (_, name, _, times), size in sorted(joined.items()))


def _is_square(flat: Flat, doubled: Flat, operation: Operation) -> bool:
    """Tell whether a result has the batch on two axes."""
    (output,) = operation.outputs
    return _size(doubled.arrays[output]) >= 4 * _size(flat.arrays[output]) > 0


def _in_memory(flat: Flat, grows: Sequence[bool]) -> set[int]:
    """Find the arrays that lie in memory: what kernels read and write, arguments, results, sums over the batch."""
    kept = {*flat.inputs, *flat.outputs}
    for operation in flat.operations:
        if operation.name in _HEAVY:
            kept |= {*operation.inputs, *operation.outputs}
        elif any(grows[number] for number in operation.inputs):
            kept |= {number for number in operation.outputs if not grows[number]}
    return kept


def _traffic(flat: Flat, kept: set[int], sizes: Sequence[int], levels: Sequence[int]) -> int:
    """Count what kernels read and write; those that read the same at the same time are one."""
    nbytes, seen = 0, set()
    origins = _origins(flat, kept)
    for operation in flat.operations:
        if operation.name == "scan":
            continue
        made = sum(sizes[number] for number in operation.outputs)
        if operation.name in _HEAVY:
            nbytes += operation.times * (made + sum(sizes[number] for number in operation.inputs))
        elif any(number in kept for number in operation.outputs):
            read = frozenset().union(*(origins[number] for number in operation.inputs))
            nbytes += operation.times * made
            # Small ones, as the statistics of BatchNorm, do not make another kernel.
            large = frozenset(number for number in read if sizes[number] > made // 64)
            if (key := (levels[operation.outputs[0]], large)) not in seen:
                seen.add(key)
                nbytes += operation.times * sum(sizes[number] for number in large)
    return nbytes


def _origins(flat: Flat, kept: set[int]) -> list[frozenset[int]]:
    """Find for each array the arrays in memory that it is computed from; of those itself."""
    origins = [frozenset((number,)) if number in kept else frozenset[int]() for number in range(len(flat.arrays))]
    for operation in flat.operations:
        of_inputs = frozenset[int]().union(*(origins[number] for number in operation.inputs))
        for number in operation.outputs:
            if number not in kept:
                origins[number] = of_inputs
    return origins


def _work(flat: Flat, kept: set[int], grows: Sequence[bool], sizes: Sequence[int]) -> int:
    """Find the most that lies in memory at one time besides the arguments.

    Kernels run in the order of the program, elementwise ones of the batch just before the first that reads what they
    make.
    """
    end = len(flat.operations)
    first, last = [end] * len(flat.arrays), [-1] * len(flat.arrays)  # when a kernel reads an array
    for number in flat.outputs:
        last[number] = end
    events = [0] * (end + 2)
    for place, operation in reversed([*enumerate(flat.operations)]):
        when = place
        if operation.name not in _HEAVY and any(grows[number] for number in operation.outputs):
            when = min(first[number] for number in operation.outputs)
        makes = [number for number in operation.outputs if number in kept]
        for number in makes:
            events[when] += sizes[number]
            events[max(last[number], when) + 1] -= sizes[number]
        until = when if makes or operation.name in _HEAVY else max(last[number] for number in operation.outputs)
        for number in operation.inputs:
            first[number] = min(first[number], when)
            last[number] = max(last[number], until)
    return int(np.cumsum(events).max(initial=0))
