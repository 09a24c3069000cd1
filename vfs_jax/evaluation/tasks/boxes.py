"""The tasks with boxes: OTB, LaSOT, UAV123 and GOT-10k, results as the got10k toolkit writes them.

Results are the text files of the got10k toolkit: a row "left,top,width,height" a frame with three decimals, beside them
the seconds of each frame.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from vfs_jax.data.box_datasets import OTB50, BoxSequence, open_got10k, open_lasot, open_otb, open_uav123, read_boxes
from vfs_jax.data.text import read_text
from vfs_jax.errors import InputError
from vfs_jax.evaluation.metrics.boxes import BoxScore, bounded_overlaps, box_iou, mean_score, score_boxes
from vfs_jax.evaluation.tasks.base import SequenceScore
from vfs_jax.evaluation.tasks.box_units import check_ground_truth, check_results


class Otb:
    """OTB-100 and OTB-50: success and precision, every sequence counting the same."""

    name: ClassVar[str] = "otb"
    folder: ClassVar[str] = "boxes"
    table: ClassVar[str] = "per_sequence.csv"
    columns: ClassVar[tuple[str, ...]] = ("Success", "Precision", "Success-Rate")
    primary_metric: ClassVar[str] = "Success"
    frame_value: ClassVar[str] = "overlap"
    explanation: ClassVar[str] = (
        "Success is the mean share of frames whose IoU is above 0, 0.05 ... 1 (20/21 for a perfect track), Precision "
        "the share whose center is off by at most 20 pixels, Success-Rate the share with an IoU above 0.5; means over "
        "the sequences."
    )

    def open(self, data: str, *, split: str, sequences: Sequence[str] = ()) -> list[BoxSequence]:
        """Open a folder of OTB, see `open_otb`; the split "otb50" takes the sequences of OTB-50."""
        if split == "otb50":
            there = [name for name in OTB50 if (Path(data) / name).is_dir()]
            missing = [name for name in OTB50 if name not in there]
            if missing and Path(data).is_dir():
                raise InputError(f"{data}: lacks {', '.join(missing)} of OTB-50")
            return _checked(open_otb(data, sequences or OTB50))
        if split not in ("otb100", "val"):  # val is what vfs-score has for a default
            raise InputError(f"split={split}: OTB has otb100 (every sequence of the folder) and otb50")
        return _checked(open_otb(data, sequences))

    def output(self, results: Path, sequence: BoxSequence) -> Path:
        """Return the file of boxes of one sequence."""
        return results / f"{sequence.name}.txt"

    def times(self, results: Path, sequence: BoxSequence) -> Path:
        """Return the file of seconds of one sequence."""
        return results / "times" / f"{sequence.name}_time.txt"

    def read(self, results: Path, sequence: BoxSequence) -> np.ndarray:
        """Read the boxes of one sequence, float64 [t, 4]."""
        file = self.output(results, sequence)
        boxes = read_boxes(file)
        if len(boxes) != len(sequence):
            raise InputError(f"{file}: holds {len(boxes)} boxes for {len(sequence)} frames of {sequence.name}")
        check_results(boxes, sequence, file)
        return boxes

    def score(self, results: Path, sequence: BoxSequence) -> SequenceScore:
        """Score one sequence; `details` holds its curves. Frames without a target do not count."""
        boxes, true = self.read(results, sequence), sequence.boxes
        there = np.ones(len(true), bool) if sequence.absent is None else ~sequence.absent
        there[0] = True
        measured = score_boxes(boxes[there], true[there])
        overlaps = np.full(len(true), np.nan)
        overlaps[there] = box_iou(boxes[there], true[there])
        row = {"Sequence": sequence.name, **self._values(measured)}
        return SequenceScore(sequence.name, measured.success, overlaps[1:], [row], measured)

    def summary(self, scores: Sequence[SequenceScore]) -> dict[str, float]:
        """Return the value of every column over all sequences."""
        return self._values(self.curves(scores))

    def curves(self, scores: Sequence[SequenceScore]) -> BoxScore:
        """Return the mean curves."""
        return mean_score([score.details for score in scores])

    def _values(self, measured: BoxScore) -> dict[str, float]:
        values = measured.success, measured.precision, measured.success_rate
        return dict(zip(self.columns, values, strict=True))

    def ground_truth(self, sequence: BoxSequence, index: int) -> np.ndarray:
        """Return the true box of a frame, [4], NaN where there is none."""
        hidden = sequence.absent is not None and sequence.absent[index]
        return np.full(4, np.nan) if hidden else sequence.boxes[index]

    def predictions(self, results: Path, sequence: BoxSequence, indices: Iterable[int]) -> list[np.ndarray]:
        """Read the boxes of some frames, [4] each."""
        boxes = self.read(results, sequence)
        return [boxes[index] for index in indices]


class Lasot(Otb):
    """LaSOT: OTB's measures over the frames in which the target is to be seen."""

    name: ClassVar[str] = "lasot"

    def open(self, data: str, *, split: str, sequences: Sequence[str] = ()) -> list[BoxSequence]:
        """Open a folder of LaSOT, see `open_lasot`; the splits are test, train and all."""
        return _picked(open_lasot(data, split), sequences)


class Uav123(Otb):
    """UAV123 and UAV20L: OTB's measures over the annotated frames."""

    name: ClassVar[str] = "uav123"

    def open(self, data: str, *, split: str, sequences: Sequence[str] = ()) -> list[BoxSequence]:
        """Open a folder of UAV123, see `open_uav123`; the splits are UAV123 and UAV20L."""
        return _picked(open_uav123(data, split), sequences)


class Got10k(Otb):
    """GOT-10k: average overlap and success rates over all frames after the first in which the target is to be seen."""

    name: ClassVar[str] = "got10k"
    columns: ClassVar[tuple[str, ...]] = ("AO", "SR-0.50", "SR-0.75")
    primary_metric: ClassVar[str] = "AO"
    explanation: ClassVar[str] = (
        "AO is the mean IoU, cut at the image's border, SR the share of frames with an IoU above 0.50 or 0.75; over "
        "the frames of all sequences together, as the toolkit does (the test server averages over classes)."
    )

    def open(self, data: str, *, split: str, sequences: Sequence[str] = ()) -> list[BoxSequence]:
        """Open a folder of GOT-10k, see `open_got10k`; the splits are val, train and test (boxes not public)."""
        return _picked(open_got10k(data, split), sequences)

    def output(self, results: Path, sequence: BoxSequence) -> Path:
        """Return the file of boxes of one sequence, of its first (and only) repetition."""
        return results / sequence.name / f"{sequence.name}_001.txt"

    def times(self, results: Path, sequence: BoxSequence) -> Path:
        """Return the file of seconds of one sequence."""
        return results / sequence.name / f"{sequence.name}_time.txt"

    def score(self, results: Path, sequence: BoxSequence) -> SequenceScore:
        """Score one sequence; `details` holds the overlaps of the frames that count."""
        height, width = sequence.size
        overlaps = bounded_overlaps(self.read(results, sequence), sequence.boxes, (width, height))[1:]
        seen = np.ones(len(overlaps), bool) if sequence.cover is None else sequence.cover[1:] > 0
        values = self._of(overlaps[seen])
        row = {"Sequence": sequence.name, **values}
        return SequenceScore(sequence.name, values["AO"], np.where(seen, overlaps, np.nan), [row], overlaps[seen])

    def summary(self, scores: Sequence[SequenceScore]) -> dict[str, float]:
        """Return the value of every column over the frames of all sequences."""
        return self._of(np.concatenate([score.details for score in scores]))

    def _of(self, overlaps: np.ndarray) -> dict[str, float]:
        if not len(overlaps):
            return dict.fromkeys(self.columns, float("nan"))
        values = overlaps.mean(), (overlaps > 0.5).mean(), (overlaps > 0.75).mean()
        return {column: float(value) for column, value in zip(self.columns, values, strict=True)}


BOX_TASKS: dict[str, type[Otb]] = {task.name: task for task in (Otb, Got10k, Lasot, Uav123)}


def write_boxes(task: Otb, results: Path, sequence: BoxSequence, boxes: np.ndarray, seconds: np.ndarray) -> None:
    """Write the boxes [t, 4] and seconds [t] of a sequence; its file of boxes comes last, and whole."""
    output, times = task.output(results, sequence), task.times(results, sequence)
    for file, rows, form in ((times, seconds, "%.8f"), (output, boxes, "%.3f")):
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.{os.getpid()}")
        np.savetxt(part, rows, fmt=form, delimiter=",")
        part.replace(file)


def read_speed(task: Otb, results: Path, sequences: Sequence[BoxSequence]) -> float:
    """Read frames a second, the mean over sequences of the mean over frames; NaN without files of times."""
    speeds: list[float] = []
    for sequence in sequences:
        if (file := task.times(results, sequence)).is_file():
            seconds = _seconds(file)
            if (seconds > 0).any():
                speeds.append(float(np.mean(1 / seconds[seconds > 0])))
    return float(np.mean(speeds)) if speeds else float("nan")


def _seconds(file: Path) -> np.ndarray:
    text = read_text(file)
    try:
        return np.array([float(word) for word in text.replace(",", " ").split()], np.float64)
    except ValueError:
        raise InputError(f"{file}: holds something else than seconds; delete it, and no speed is told") from None


def _picked(sequences: list[BoxSequence], wanted: Sequence[str]) -> list[BoxSequence]:
    missing = set(wanted) - {sequence.name for sequence in sequences}
    if missing:
        raise InputError(f"{', '.join(sorted(missing))}: no such sequence in the folder")
    return _checked([sequence for sequence in sequences if not wanted or sequence.name in wanted])


def _checked(sequences: list[BoxSequence]) -> list[BoxSequence]:
    return [check_ground_truth(_trackable(sequence)) for sequence in sequences]


def _trackable(sequence: BoxSequence) -> BoxSequence:
    """Check that there is a first box to start from, and a box in every frame that counts."""
    folder, boxes = sequence.frames[0].parent, sequence.boxes
    if not np.isfinite(boxes[0]).all() or min(boxes[0, 2:]) <= 0:
        raise InputError(f"{folder}: the first frame's box, {boxes[0].tolist()}, is empty; a tracker starts from it")
    gaps = ~np.isfinite(boxes).all(axis=1)
    if sequence.absent is not None:
        gaps &= ~sequence.absent[: len(boxes)]
    if gaps.any():
        frame = int(gaps.argmax())
        raise InputError(f"{folder}: the box of frame {frame + 1}, {boxes[frame].tolist()}, is none; correct it")
    return sequence
