"""What a plan knows of a program on one chip, whether a compiler told it or it was counted."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Literal

How = Literal["compiled", "counted"]


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between chips.

    Attributes:
        name: all-reduce, all-gather, all-to-all, reduce-scatter or collective-permute.
        bytes: of its result on one chip.
        times: how often a step does it.
    """

    name: str
    bytes: int
    times: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What a program needs of one chip.

    Attributes:
        how: whether a compiler for the chip told it, or it was counted from the traced program.
        argument_bytes: of state and batch, or whatever the program is given; results that reuse them take no more.
        result_bytes: of results that lie beside the arguments.
        work_bytes: in between.
        code_bytes: of the program itself.
        flops: a multiply-add counts as two.
        flops_how: some compilers do not tell them; then they are counted, of convolutions and matrix products.
        bytes: read from and written to the chip's memory.
        collectives: what the chips exchange.
        compile_seconds: that the compiler took.
        shortage: what the compiler said where the program did not fit.
    """

    how: How
    argument_bytes: int
    result_bytes: int
    work_bytes: int
    code_bytes: int
    flops: float
    flops_how: How
    bytes: int
    collectives: tuple[Collective, ...]
    compile_seconds: float = 0.0
    shortage: str = ""

    @property
    def memory_bytes(self) -> int:
        """All that the program needs of the chip's memory."""
        return self.argument_bytes + self.result_bytes + self.work_bytes + self.code_bytes


def count_by_name(collectives: Sequence[Collective]) -> dict[str, int]:
    """Count exchanges by name.

    >>> count_by_name([Collective("all-reduce", 8), Collective("all-reduce", 4, times=2)])
    {'all-reduce': 3}
    """
    counts: Counter[str] = Counter()
    for each in collectives:
        counts[each.name] += each.times
    return dict(counts)
