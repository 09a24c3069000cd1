"""Scores by attribute: occlusion, motion blur, ..., as the tracking benchmarks label their sequences."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from vfs_jax.data.text import read_text
from vfs_jax.errors import InputError
from vfs_jax.evaluation.tasks.base import S, ScoredTask, SequenceScore, write_csv


@dataclasses.dataclass(frozen=True)
class AttributeScore:
    """One attribute: its name, how many sequences have it, and the task's columns over these."""

    name: str
    sequences: int
    values: Mapping[str, float]


def read_attributes(folder: Path, sequences: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Read which sequences have which attribute.

    Args:
        folder: holds SEQUENCE.txt, a 0 or 1 for each attribute, as the benchmarks give them ("anno/att").
        sequences: names; those of two targets ("Jogging.1") may also be in files "Jogging-1.txt".
        names: of the attributes, in the files' order; numbers where empty.

    Returns:
        The sequences of each attribute that some sequence has.

    Raises:
        InputError: a file is missing or holds something else.
    """
    members: dict[str, list[str]] = {}
    for sequence in sequences:
        files = [folder / f"{name}.txt" for name in (sequence, sequence.replace(".", "-"))]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            raise InputError(f"{files[0]}: no such file; every sequence needs its attributes")
        words = read_text(file).replace(",", " ").split()
        if not words or set(words) - {"0", "1"} or (names and len(words) != len(names)):
            raise InputError(f"{file}: holds {' '.join(words)!r}, {len(names) or 'some'} values 0 or 1 expected")
        for index, word in enumerate(words):
            if word == "1":
                members.setdefault(names[index] if names else f"attribute {index + 1}", []).append(sequence)
    return members


def score_attributes(
    task: ScoredTask[S], scores: Sequence[SequenceScore], attributes: Mapping[str, Sequence[str]]
) -> list[AttributeScore]:
    """Return the scores by attribute, in the order of their names.

    Args:
        task: that was scored.
        scores: of all sequences.
        attributes: the sequences of each attribute.
    """
    by_name = {score.name: score for score in scores}
    return [
        AttributeScore(name, len(members), task.summary([by_name[member] for member in members]))
        for name, members in sorted(attributes.items())
    ]


def write_attributes(path: Path, task: ScoredTask[S], scores: Sequence[AttributeScore]) -> None:
    """Write the scores by attribute as CSV, at full precision."""
    rows = [{"Attribute": score.name, "Sequences": score.sequences, **score.values} for score in scores]
    write_csv(path, ["Attribute", "Sequences", *task.columns], rows)
