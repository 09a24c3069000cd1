"""Scores of results that lie in a folder, whoever made them."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from vfs_jax.data.video_labels import MaskSequence, read_index_mask
from vfs_jax.errors import InputError
from vfs_jax.evaluation.metrics import davis


def masks_folder(results: str | os.PathLike[str]) -> Path:
    """The folder that holds a folder a sequence: RESULTS/masks where that exists (as vfs-eval writes), else RESULTS.

    Raises:
      InputError: there is no folder RESULTS.
    """
    root = Path(results)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder of results, one folder a sequence")
    return root / "masks" if (root / "masks").is_dir() else root


def check_davis_results(results: Path, sequences: Iterable[MaskSequence]) -> None:
    """Checks, before anything is computed, that every mask to be read is there and every frame has its truth.

    Args:
      results: holds SEQUENCE/00000.png, as `masks_folder` returns.
      sequences: with their true masks.

    Raises:
      InputError: naming the missing folder or file.
    """
    for sequence in sequences:
        if not sequence.has_truth:
            raise InputError(f"{sequence.masks[0].parent}: has the first mask alone, there is nothing to score against")
        if not (results / sequence.name).is_dir():
            raise InputError(f"{results / sequence.name}: no such folder; every sequence of the split needs results")
        for frame in sequence.frames[1:-1]:
            path = results / sequence.name / f"{frame.stem}.png"
            if not path.is_file():
                raise InputError(f"{path}: no such file; every frame but the first and the last needs a mask")


def score_davis(results: Path, sequence: MaskSequence) -> list[davis.ObjectScore]:
    """J and F of every object of one sequence; the result's own first and last masks are never read.

    Args:
      results: holds SEQUENCE/00000.png, as `masks_folder` returns.
      sequence: with a true mask a frame.

    Returns:
      one score an object.

    Raises:
      InputError: a mask is missing, of another size than the truth, or holds an object that the truth has not.
    """

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
        for index in range(1, len(sequence) - 1):
            path = results / sequence.name / f"{sequence.frames[index].stem}.png"
            yield read_index_mask(path), sequence.mask(index), str(path)

    return davis.score_sequence(sequence.name, pairs(), int(sequence.mask(0).max()))
