"""The tasks with points: joints of people on JHMDB, tracked points on TAP-Vid."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vfs_jax.correspondence import Memory
from vfs_jax.data.point_datasets import JointSequence, TrackSequence, open_jhmdb, open_tapvid
from vfs_jax.errors import InputError
from vfs_jax.evaluation.metrics import pck, tapvid
from vfs_jax.evaluation.propagation.frames import resize_maps
from vfs_jax.evaluation.propagation.heatmaps import draw_maps, point_maps_on_grid, positions_of
from vfs_jax.evaluation.propagation.labels import first_maps_on_grid, pad_channels, propagate_labels, start, step
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.tasks.base import SequenceScore
from vfs_jax.evaluation.tasks.point_results import read_joints, read_tracks


class Jhmdb:
    """JHMDB: joints of a person, read off as peaks of propagated Gaussians."""

    name: ClassVar[str] = "jhmdb"
    folder: ClassVar[str] = "joints"
    table: ClassVar[str] = "per_sequence.csv"
    columns: ClassVar[tuple[str, ...]] = tuple(f"PCK@{threshold}" for threshold in pck.THRESHOLDS)
    primary_metric: ClassVar[str] = "PCK@0.2"
    frame_value: ClassVar[str] = "PCK@0.2"
    explanation: ClassVar[str] = "PCK@a: share of joints found within a times the size of the body."

    def __init__(self, rules: pck.Rules = "vfs"):
        """Take the rules by which joints count, see `pck.distances`."""
        self.rules = rules

    def open(self, data: str, *, split: str, sequences: Sequence[str] = ()) -> list[JointSequence]:
        """Open a folder of the JHMDB layout, see `open_jhmdb`; the splits are 1, 2 and 3."""
        number = split.removeprefix("test_split")
        if number not in ("1", "2", "3"):
            raise InputError(f"split={split}: JHMDB has the test splits 1, 2 and 3")
        return open_jhmdb(data, int(number), sequences=sequences)

    def output(self, results: Path, sequence: JointSequence) -> Path:
        """Return the file of joints of one clip."""
        return results / f"{sequence.name}.npy"

    def write(
        self, features: Iterable[Array], sequence: JointSequence, output: Path, settings: Settings, layout: Layout
    ) -> Iterator[Callable[[], object]]:
        """Propagate the first joints along a clip; the last job writes (x, y) in pixels, float64 [t, joints, 2]."""
        output.parent.mkdir(parents=True, exist_ok=True)
        size, cells, joints = layout.picture, layout.grid(settings.output), sequence.joints[0]
        if settings.joints == "grid":
            grid = draw_maps(joints * [cells[1] / size[1], cells[0] / size[0]], cells, sigma=0.5)
        else:
            first = draw_maps(joints, size)
            grid = first_maps_on_grid(first, settings, layout)
        positions_in = functools.partial(
            positions_of, size=size, peaks=settings.peaks, on_grid=settings.peaks_at == "grid"
        )
        # The first frame is scored too, after its maps went to the network's size and back, bilinearly both ways.
        known = grid if settings.joints == "grid" else resize_maps(first, layout.network)
        predicted: list[Array | np.ndarray] = [np.asarray(positions_in(jnp.asarray(known))[0])]
        for labels in propagate_labels(features, grid, settings, layout):
            positions, _ = positions_in(labels, grid=cells)
            predicted.append(positions)
            yield positions.block_until_ready
        count = len(joints)
        yield lambda: np.save(output, np.stack([np.asarray(each)[:count] for each in predicted]).astype(np.float64))

    def score(self, results: Path, sequence: JointSequence) -> SequenceScore:
        """Score the results of one clip."""
        predicted = read_joints(self.output(results, sequence), sequence)
        distances = pck.distances(predicted, sequence.joints, rules=self.rules)
        scores = pck.pck([distances])
        with np.errstate(invalid="ignore"):
            near = np.where(np.isnan(distances), np.nan, distances <= 0.2)[1:]
        counts = np.count_nonzero(~np.isnan(near), axis=1)
        curve = np.nansum(near, axis=1) / np.where(counts > 0, counts, np.nan)
        rows = [{"Sequence": sequence.name} | scores]
        return SequenceScore(sequence.name, scores["PCK@0.2"], curve, rows, distances)

    def summary(self, scores: Sequence[SequenceScore]) -> dict[str, float]:
        """Return the value of every column over all sequences."""
        return pck.pck([score.details for score in scores])

    def ground_truth(self, sequence: JointSequence, index: int) -> np.ndarray:
        """Return the true joints of a frame, (x, y) in pixels [joints, 2]."""
        return sequence.joints[index]

    def predictions(self, results: Path, sequence: JointSequence, indices: Iterable[int]) -> list[np.ndarray]:
        """Read the joints of some frames, (x, y) in pixels [joints, 2] each."""
        predicted = read_joints(self.output(results, sequence), sequence)
        return [predicted[index] for index in indices]


class Tapvid:
    """TAP-Vid: points queried at the first frame that shows them, scored at 256x256 (beyond the release)."""

    name: ClassVar[str] = "tapvid"
    folder: ClassVar[str] = "tracks"
    table: ClassVar[str] = "per_sequence.csv"
    columns: ClassVar[tuple[str, ...]] = ("AverageJaccard", "AverageWithin", "OcclusionAccuracy")
    primary_metric: ClassVar[str] = "average Jaccard"
    frame_value: ClassVar[str] = "points within 8 of 256 pixels"
    explanation: ClassVar[str] = (
        "Average Jaccard judges places and visibility, average within the places of visible points alone, both as "
        "means over 1, 2, 4, 8 and 16 of 256 pixels."
    )

    def __init__(self, occlusion_threshold: float = 0.5):
        """Take a point for occluded where its map's highest value is below this share of that at its query."""
        self.occlusion_threshold = occlusion_threshold

    def open(self, data: str, *, split: str, sequences: Sequence[str] = ()) -> list[TrackSequence]:
        """Open a file or folder of TAP-Vid, see `open_tapvid`."""
        del split  # there is one list
        return open_tapvid(data, sequences=sequences)

    def output(self, results: Path, sequence: TrackSequence) -> Path:
        """Return the file of tracks of one video."""
        return results / f"{sequence.name}.npz"

    def write(
        self, features: Iterable[Array], sequence: TrackSequence, output: Path, settings: Settings, layout: Layout
    ) -> Iterator[Callable[[], object]]:
        """Propagate every point from its query frame on; the last job writes tracks and occlusion."""
        output.parent.mkdir(parents=True, exist_ok=True)
        grid = layout.grid(settings.output)
        # Points that are queried at the same frame are propagated together.
        groups: list[tuple[np.ndarray, Memory]] = []
        placed: list[tuple[int, np.ndarray, Array, Array]] = []
        for number, frame in enumerate(features):
            maps_of: list[tuple[np.ndarray, Array | np.ndarray]] = []
            for index, (members, memory) in enumerate(groups):
                labels, memory = step(memory, frame, settings)
                groups[index] = members, memory
                maps_of.append((members, labels))
            members = np.flatnonzero(sequence.query_frames == number)
            if len(members):
                first = pad_channels(point_maps_on_grid(sequence.points[members, number], grid))
                groups.append((members, start(frame, first, settings, layout)))
                maps_of.append((members, first))
            placed += [(number, group, *positions_of(maps, size=(256, 256), grid=grid)) for group, maps in maps_of]
            if number < len(sequence) - 1:
                yield placed[-1][-1].block_until_ready if placed else frame.block_until_ready
        yield functools.partial(self._save, output, sequence, placed)

    def _save(self, output: Path, sequence: TrackSequence, placed: list[tuple[int, np.ndarray, Array, Array]]) -> None:
        """Write tracks and occlusion, of `placed`: (frame, points, positions, highest values) a group and frame."""
        points, frames = sequence.points.shape[:2]
        tracks, highest = np.zeros((points, frames, 2)), np.zeros((points, frames))
        for number, members, positions, values in placed:
            tracks[members, number] = np.asarray(positions)[: len(members)] + 0.5  # from the corner, as TAP-Vid counts
            highest[members, number] = np.asarray(values)[: len(members)]
        at_query = highest[np.arange(points), sequence.query_frames]
        occluded = highest < self.occlusion_threshold * at_query[:, None]
        before = np.arange(frames)[None] < sequence.query_frames[:, None]  # not there yet, so neither seen nor hidden
        np.savez(output, tracks=tracks, occluded=occluded & ~before)

    def score(self, results: Path, sequence: TrackSequence) -> SequenceScore:
        """Score the results of one video."""
        tracks, occluded = read_tracks(self.output(results, sequence), sequence)
        true = sequence.points * 256
        score = tapvid.score_tracks(tracks, occluded, true, sequence.occluded, sequence.query_frames)
        row = dict(zip(self.columns, dataclasses.astuple(score), strict=True))
        counted = ~sequence.occluded & (np.arange(len(sequence))[None] > sequence.query_frames[:, None])
        near = np.linalg.norm(tracks - true, axis=-1) < 8
        some = counted.any(axis=0)
        curve = np.where(some, (near & counted).sum(axis=0) / np.maximum(counted.sum(axis=0), 1), np.nan)[1:]
        rows = [{"Sequence": sequence.name} | row]
        return SequenceScore(sequence.name, score.average_jaccard, curve, rows, score)

    def summary(self, scores: Sequence[SequenceScore]) -> dict[str, float]:
        """Return the value of every column over all sequences."""
        mean = tapvid.mean_score([score.details for score in scores])
        return dict(zip(self.columns, dataclasses.astuple(mean), strict=True))

    def ground_truth(self, sequence: TrackSequence, index: int) -> np.ndarray:
        """Return the true points of a frame, (x, y) in pixels [points, 2], NaN where they are occluded."""
        height, width = sequence.size
        points = sequence.points[:, index] * np.array([width, height]) - 0.5
        return np.where(sequence.occluded[:, index, None], np.nan, points)

    def predictions(self, results: Path, sequence: TrackSequence, indices: Iterable[int]) -> list[np.ndarray]:
        """Read the points of some frames, (x, y) in pixels [points, 2] each, NaN where they are taken for occluded."""
        height, width = sequence.size
        tracks, hidden = read_tracks(self.output(results, sequence), sequence)
        before = np.arange(len(sequence))[None] < sequence.query_frames[:, None]
        shown = np.where((hidden | before)[..., None], np.nan, tracks / 256 * np.array([width, height]) - 0.5)
        return [shown[:, index] for index in indices]
