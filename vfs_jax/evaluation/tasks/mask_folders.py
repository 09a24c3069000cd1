"""Masks of objects against any folder of index masks: YouTube-VOS, MOSE, LVOS, SA-V and their like."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from vfs_jax.data.mask_folders import MaskFolder, open_mask_folders
from vfs_jax.errors import InputError
from vfs_jax.evaluation.metrics import davis
from vfs_jax.evaluation.tasks.base import SequenceScore, existing_file
from vfs_jax.evaluation.tasks.results import check_names


class MaskFolders:
    """J and F of DAVIS over the frames that have ground truth, for each object from the frame at which it enters."""

    name: ClassVar[str] = "masks"
    folder: ClassVar[str] = "masks"
    table: ClassVar[str] = "per_object.csv"
    columns: ClassVar[tuple[str, ...]] = davis.COLUMNS
    primary_metric: ClassVar[str] = "J&F"
    frame_value: ClassVar[str] = "J&F"
    explanation: ClassVar[str] = (
        "J: overlap of regions, F: accuracy of contours, J&F: their mean; the frame at which an object enters and the "
        "last one are left out."
    )

    def __init__(self, all_frames: bool = False):
        """Leave out the frame at which an object enters, and the last one, as DAVIS does; or score them too."""
        self.all_frames = all_frames

    def open(self, data: str, *, split: str, sequences: Sequence[str] = ()) -> list[MaskFolder]:
        """Open a folder of index masks, see `open_mask_folders`."""
        del split  # there is none
        return open_mask_folders(data, sequences)

    def output(self, results: Path, sequence: MaskFolder) -> Path:
        """Return the folder of masks of one video, or of one object."""
        return results / sequence.name

    def score(self, results: Path, sequence: MaskFolder) -> SequenceScore:
        """Score the results of one video, or of one object."""
        entries = sequence.entries()
        if not entries:
            raise InputError(f"{sequence.masks[0].parent}: its masks hold no object")
        margin = 0 if self.all_frames else 1
        first, end = min(entries.values()) + margin, len(sequence) - margin
        names = [file.stem for file in sequence.masks]
        check_names(self.output(results, sequence), names, names[first:end], between=True)

        def pairs() -> Iterator[davis.Masks]:
            for index in range(first, end):
                path = existing_file(results / sequence.name / sequence.masks[index].name)
                yield sequence.read(path), sequence.mask(index), str(path)

        late = {label: index + margin - first for label, index in entries.items()}
        objects = davis.score_sequence(sequence.name, pairs(), list(entries), late)
        rows = [{"Sequence": _row_name(sequence, each)} | each.row for each in objects]
        curve = _mean_curve(objects)
        value = float(np.nanmean(curve)) if np.isfinite(curve).any() else np.nan
        return SequenceScore(sequence.name, value, curve, rows, objects)

    def summary(self, scores: Sequence[SequenceScore]) -> dict[str, float]:
        """Return the value of every column over all objects."""
        return davis.global_row([each for score in scores for each in score.details])

    def ground_truth(self, sequence: MaskFolder, index: int) -> np.ndarray:
        """Return the true mask of a frame, uint8 [h, w]."""
        return sequence.mask(index)

    def predictions(self, results: Path, sequence: MaskFolder, indices: Iterable[int]) -> list[np.ndarray]:
        """Read the masks of some frames, uint8 [h, w] each."""
        return [sequence.read(results / sequence.name / sequence.masks[index].name) for index in indices]


def _row_name(sequence: MaskFolder, score: davis.ObjectScore) -> str:
    return sequence.name.replace("/", "_") if sequence.alone else score.name


def _mean_curve(objects: Sequence[davis.ObjectScore]) -> np.ndarray:
    """Average J&F over the objects that are there, a value a frame; they all end at the same frame."""
    frames = max((len(each.region) for each in objects), default=0)
    curves = np.full((len(objects), frames), np.nan)
    for curve, each in zip(curves, objects, strict=True):
        curve[frames - len(each.region) :] = (each.region + each.contour) / 2
    return np.nanmean(curves, axis=0) if frames else np.zeros(0)
