"""The tasks with index masks: objects on DAVIS and YouTube-VOS, parts of people on VIP."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from vfs_jax.data.images import read_index_mask, write_index_mask
from vfs_jax.data.mask_datasets import VOID, MaskSequence, labels_of, open_davis, open_vip, without_void
from vfs_jax.data.youtube_vos import LateMaskSequence, open_youtube_vos
from vfs_jax.errors import InputError
from vfs_jax.evaluation.metrics import davis, miou
from vfs_jax.evaluation.tasks.base import SequenceScore, existing_file
from vfs_jax.evaluation.tasks.results import check_names

if TYPE_CHECKING:  # scoring does without JAX, which takes a second to import
    from jaxtyping import Array

    from vfs_jax.evaluation.propagation.padding import Layout, Size
    from vfs_jax.evaluation.propagation.settings import Settings


class _MaskTask:
    """A task with one index mask a frame, written as SEQUENCE/NAME.png."""

    folder: ClassVar[str] = "masks"

    def output(self, results: Path, sequence: MaskSequence) -> Path:
        """Return the folder of masks of one sequence."""
        return results / sequence.name

    def write(
        self, features: "Iterable[Array]", sequence: MaskSequence, output: Path, settings: "Settings", layout: "Layout"
    ) -> Iterator[Callable[[], object]]:
        """Propagate the first mask along a sequence; writes a PNG a frame."""
        from vfs_jax.evaluation.propagation.labels import masks_along

        output.mkdir(parents=True)
        masks = masks_along(features, sequence.mask(0), settings, layout)
        for path, mask in zip(sequence.frames, masks, strict=True):
            yield functools.partial(_write_mask, output / f"{path.stem}.png", mask, layout.picture)

    def ground_truth(self, sequence: MaskSequence, index: int) -> np.ndarray:
        """Return the true mask of a frame, uint8 [h, w]."""
        return sequence.mask(index)

    def predictions(self, results: Path, sequence: MaskSequence, indices: Iterable[int]) -> list[np.ndarray]:
        """Read the masks of some frames, uint8 [h, w] each."""
        return [read_index_mask(results / sequence.name / f"{sequence.frames[index].stem}.png") for index in indices]


def _write_mask(path: Path, mask: "Array | np.ndarray", size: "Size") -> None:
    whole = np.asarray(mask)  # waits for the device
    write_index_mask(path, np.ascontiguousarray(whole[: size[0], : size[1]]))


class Davis(_MaskTask):
    """DAVIS 2016 and 2017: regions and contours of objects, first and last frame left out (VFS section 4)."""

    name: ClassVar[str] = "davis"
    table: ClassVar[str] = "per_object.csv"
    columns: ClassVar[tuple[str, ...]] = davis.COLUMNS
    primary_metric: ClassVar[str] = "J&F"
    frame_value: ClassVar[str] = "J&F"
    explanation: ClassVar[str] = (
        "J: overlap of regions, F: accuracy of contours, J&F: their mean; the first and the last frame are left out."
    )

    def __init__(self, year: int = 2017):
        """Take every label for an object of its own (2017), or all that is not background for one (2016)."""
        self.year = year

    def open(self, data: str, *, split: str, sequences: Sequence[str] = ()) -> list[MaskSequence]:
        """Open a folder of the DAVIS layout, see `open_davis`."""
        return open_davis(data, split, year=self.year, sequences=sequences)

    def score(self, results: Path, sequence: MaskSequence) -> SequenceScore:
        """Score the results of one sequence."""
        names = [frame.stem for frame in sequence.frames]
        check_names(self.output(results, sequence), names, names[1:-1])

        def pairs() -> Iterator[davis.Masks]:
            for index in range(1, len(sequence) - 1):
                path = existing_file(results / sequence.name / f"{sequence.frames[index].stem}.png")
                prediction, truth = sequence.read(path), sequence.ground_truth(index)
                if truth.max(initial=0) == VOID:  # then 255 is void in both; else it is an extra object
                    prediction, truth = without_void(prediction), without_void(truth)
                yield prediction, truth, str(path)

        objects = davis.score_sequence(sequence.name, pairs(), labels_of(sequence.mask(0)))
        curves = [(each.region + each.contour) / 2 for each in objects]
        curve = np.mean(curves, axis=0) if curves else np.zeros(0)  # a first mask without any object scores nothing
        rows = [{"Sequence": each.name} | each.row for each in objects]
        return SequenceScore(sequence.name, float(curve.mean()) if len(curve) else np.nan, curve, rows, objects)

    def summary(self, scores: Sequence[SequenceScore]) -> dict[str, float]:
        """Return the value of every column over all sequences."""
        return davis.global_row([each for score in scores for each in score.details])


class Vip(_MaskTask):
    """VIP: 20 classes of body parts and clothes, all frames."""

    name: ClassVar[str] = "vip"
    table: ClassVar[str] = "per_sequence.csv"
    columns: ClassVar[tuple[str, ...]] = ("mIoU",)
    primary_metric: ClassVar[str] = "mIoU"
    frame_value: ClassVar[str] = "mIoU"
    explanation: ClassVar[str] = "mIoU: overlap of regions, mean over the classes that are present, of all frames."

    def __init__(self, rules: Literal["vfs", "crw"] = "vfs"):
        """Leave out true pixels of 255 ("vfs") or of all that is no class ("crw")."""
        self.rules = rules

    def open(self, data: str, *, split: str, sequences: Sequence[str] = ()) -> list[MaskSequence]:
        """Open a folder of the VIP layout, see `open_vip`."""
        return open_vip(data, split, sequences=sequences)

    def score(self, results: Path, sequence: MaskSequence) -> SequenceScore:
        """Score the results of one sequence."""
        names = [frame.stem for frame in sequence.frames]
        check_names(self.output(results, sequence), names, names)
        counts = []
        for index, frame in enumerate(sequence.frames):
            path = existing_file(results / sequence.name / f"{frame.stem}.png")
            predicted, true = read_index_mask(path), read_index_mask(sequence.masks[index])
            if predicted.shape != true.shape:
                raise InputError(f"{path}: is not of its true mask's size; write masks at the original size")
            counts.append(miou.confusion(predicted, true, ignore_others=self.rules == "crw", name=str(path)))
        value = miou.mean_iou(counts)
        curve = np.array([miou.mean_iou([count]) for count in counts[1:]])
        return SequenceScore(sequence.name, value, curve, [{"Sequence": sequence.name, "mIoU": value}], sum(counts))

    def summary(self, scores: Sequence[SequenceScore]) -> dict[str, float]:
        """Return the value of every column over all sequences."""
        return {"mIoU": miou.mean_iou([score.details for score in scores])}


class YoutubeVos:
    """YouTube-VOS: objects that enter later. Ground truth is not public: masks are written for the official server."""

    name: ClassVar[str] = "youtube_vos"
    folder: ClassVar[str] = "masks"
    table: ClassVar[str] = "per_object.csv"
    columns: ClassVar[tuple[str, ...]] = davis.COLUMNS
    primary_metric: ClassVar[str] = "J&F"
    frame_value: ClassVar[str] = "J&F"
    explanation: ClassVar[str] = "The official server computes J and F."

    def open(self, data: str, *, split: str, sequences: Sequence[str] = ()) -> list[LateMaskSequence]:
        """Open a folder of the YouTube-VOS layout, see `open_youtube_vos`."""
        return open_youtube_vos(data, split, sequences=sequences)

    def output(self, results: Path, sequence: LateMaskSequence) -> Path:
        """Return the folder of masks of one sequence."""
        return results / sequence.name

    def write(
        self,
        features: "Iterable[Array]",
        sequence: LateMaskSequence,
        output: Path,
        settings: "Settings",
        layout: "Layout",
    ) -> Iterator[Callable[[], object]]:
        """Propagate masks along a sequence; writes a PNG for each frame that the server asks for."""
        from vfs_jax.evaluation.propagation.labels import masks_along

        output.mkdir(parents=True)
        later = {index: sequence.mask(index) for index in sequence.masks if index > 0}
        masks = masks_along(features, sequence.mask(0), settings, layout, new_masks=later)
        for path, mask in zip(sequence.frames, masks, strict=True):
            if path.stem in sequence.wanted:
                yield functools.partial(_write_mask, output / f"{path.stem}.png", mask, layout.picture)
            else:
                yield functools.partial(np.asarray, mask)

    def score(self, results: Path, sequence: LateMaskSequence) -> SequenceScore:
        """Raise InputError: the official server alone can score."""
        raise InputError(
            f"{results / sequence.name}: the ground truth of YouTube-VOS is not public; send the masks to its server"
        )

    def summary(self, scores: Sequence[SequenceScore]) -> dict[str, float]:
        """Return NaN for every column: there is no score."""
        del scores
        return davis.global_row([])

    def ground_truth(self, sequence: LateMaskSequence, index: int) -> np.ndarray:
        """Return the given mask of a frame in which objects enter, uint8 [h, w]; others have none."""
        return sequence.mask(index)

    def predictions(self, results: Path, sequence: LateMaskSequence, indices: Iterable[int]) -> list[np.ndarray]:
        """Read the masks of some frames, uint8 [h, w] each."""
        return [read_index_mask(results / sequence.name / f"{sequence.frames[index].stem}.png") for index in indices]
