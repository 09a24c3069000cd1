"""Check what a folder of results holds besides what is scored: names of no frame, and results of no sequence."""

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path

from vfs_jax.data.images import natural_order
from vfs_jax.errors import InputError


def check_names(folder: Path, frames: Sequence[str], needed: Collection[str], *, between: bool = False) -> None:
    """Refuse a folder of masks with names that belong to no frame: numbers that are off are scored frames too late.

    Args:
        folder: of the results of one sequence, NAME.png a frame.
        frames: names of the frames, without suffix, in time order.
        needed: those that are scored.
        between: whether there may be frames between these, and as many behind the last, that have no ground truth.

    Raises:
        InputError: a name belongs to no frame; the message says by how much the numbers are off where they all are.
    """
    found = sorted((file.stem for file in folder.glob("*.png") if file.name[0] != "."), key=natural_order)
    strange = [name for name in found if name not in set(frames)]
    if between:
        strange = [name for name in strange if not _lies_between(name, frames)]
    if not strange and set(needed) <= set(found):
        return
    offset = _offset(found, frames)
    span = f"the frames are {frames[0]} to {frames[-1]}"
    if offset:
        way = "high" if offset > 0 else "low"
        raise InputError(
            f"{folder}: its names are {abs(offset)} too {way}, {found[0]} to {found[-1]}, {span}; rename the masks"
        )
    if strange:
        more = f" (nor do {len(strange) - 1} others)" if strange[1:] else ""
        raise InputError(f"{folder / strange[0]}.png: belongs to no frame{more}, {span}; name each mask as its frame")


def unscored(results: Path, outputs: Collection[Path]) -> list[Path]:
    """List what lies beside results of their kind (folders, or files of that suffix), but belongs to no sequence.

    Args:
        results: the folder of results.
        outputs: the folders or files in it that belong to the sequences.
    """
    ours = {path for output in outputs for path in (output, *output.parents) if path.is_relative_to(results)}
    extra = []
    for folder in sorted({path.parent for path in ours - {results}}):
        kinds = {_kind(path) for path in ours if path.parent == folder}
        others = (path for path in folder.iterdir() if path not in ours and path.name[0] != ".")
        extra += sorted(path for path in others if _kind(path) in kinds)
    return extra


def _kind(path: Path) -> str:
    return "folder" if path.is_dir() else path.suffix


def _offset(found: Sequence[str], frames: Sequence[str]) -> int:
    """Return by how much the numbers of all names are off, 0 where that is not what is wrong."""
    if not found or not all(name.isdecimal() for name in (*found, *frames)):
        return 0
    numbers, true = [int(name) for name in found], [int(name) for name in frames]
    candidates = {numbers[0] - true[0], numbers[-1] - true[-1]} - {0}
    fitting = [offset for offset in candidates if {number - offset for number in numbers} <= set(true)]
    return min(fitting, key=abs, default=0)


def _lies_between(name: str, frames: Sequence[str]) -> bool:
    if not all(each.isdecimal() for each in (name, *frames)):
        return False
    numbers = [int(each) for each in frames]
    steps = {later - earlier for earlier, later in itertools.pairwise(numbers)}
    return numbers[0] < int(name) < numbers[-1] + max(steps, default=1)
