"""The tasks with points: joints of people on JHMDB, tracked points on TAP-Vid."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vfs_jax.data.point_labels import JointSequence, TrackSequence, open_jhmdb, open_tapvid
from vfs_jax.errors import InputError
from vfs_jax.evaluation.features import grid_size
from vfs_jax.evaluation.label_tasks import (
    Settings,
    network_features,
    network_size,
    propagate_labels,
    propagate_maps,
    resize_maps,
)
from vfs_jax.evaluation.metrics import pck, tapvid
from vfs_jax.evaluation.point_maps import draw_maps, positions_of
from vfs_jax.evaluation.task import SequenceScore, existing_file
from vfs_jax.models.resnet import Variables


class Jhmdb:
    """JHMDB: joints of a person, found as peaks of propagated Gaussians."""

    folder: ClassVar[str] = "joints"
    table: ClassVar[str] = "per_sequence.csv"
    columns: ClassVar[tuple[str, ...]] = tuple(f"PCK@{threshold}" for threshold in pck.THRESHOLDS)
    headline: ClassVar[str] = "PCK@0.2"
    frame_value: ClassVar[str] = "PCK@0.2"
    explanation: ClassVar[str] = "PCK@a: share of joints found within a times the size of the body."

    def open(self, data: str, *, split: str, year: int, sequences: Sequence[str]) -> list[JointSequence]:
        """The sequences of a data set."""
        del year
        number = split.removeprefix("test_split")
        if number not in ("1", "2", "3"):
            raise InputError(f"split {split}: JHMDB has the test splits 1, 2 and 3")
        return open_jhmdb(data, int(number), sequences=sequences)

    def output(self, results: Path, sequence: JointSequence) -> Path:
        """Where the results of one sequence lie."""
        return results / f"{sequence.name}.npy"

    def write(
        self,
        variables: Variables,
        sequence: JointSequence,
        frames: Iterable[np.ndarray],
        output: Path,
        settings: Settings,
    ) -> Iterator[Callable[[], object]]:
        """Propagates through one sequence; yields jobs that wait and write."""
        output.parent.mkdir(parents=True, exist_ok=True)
        size = sequence.frame(0).shape[:2]
        first = draw_maps(sequence.joints[0], size)
        # The first frame is scored too, after its maps went to the network's size and back, bilinearly both ways.
        inner = resize_maps(first, network_size(size[0], size[1], settings))
        found: list[Array | np.ndarray] = [np.asarray(positions_of(jnp.asarray(inner), size=size)[0])]
        for labels in propagate_maps(variables, frames, first, settings):
            positions, _ = positions_of(labels, size=size)
            found.append(positions)
            yield positions.block_until_ready
        yield lambda: np.save(output, np.stack(found).astype(np.float64))

    def score(self, results: Path, sequence: JointSequence) -> SequenceScore:
        """Scores the results of one sequence."""
        path = existing_file(self.output(results, sequence))
        found = np.load(path)
        if found.shape != sequence.joints.shape:
            shapes = f"{list(found.shape)}, not {list(sequence.joints.shape)}"
            raise InputError(f"{path}: is {shapes}; write (x, y) of every joint and frame, [t, joints, 2]")
        distances = pck.distances(found, sequence.joints)
        scores = pck.pck([distances])
        with np.errstate(invalid="ignore"):
            near = np.where(np.isnan(distances), np.nan, distances <= 0.2)[1:]
        counts = np.count_nonzero(~np.isnan(near), axis=1)
        curve = np.nansum(near, axis=1) / np.where(counts > 0, counts, np.nan)
        rows = [{"Sequence": sequence.name} | scores]
        return SequenceScore(sequence.name, scores["PCK@0.2"], curve, rows, distances)

    def summary(self, scores: Sequence[SequenceScore]) -> dict[str, float]:
        """The columns over all sequences."""
        return pck.pck([score.details for score in scores])

    def truth(self, sequence: JointSequence, index: int) -> np.ndarray:
        """What is true of a frame, to be drawn."""
        return sequence.joints[index]

    def results(self, results: Path, sequence: JointSequence, indices: Iterable[int]) -> list[np.ndarray]:
        """What was found in some frames, to be drawn."""
        found = np.load(self.output(results, sequence))
        return [found[index] for index in indices]


class Tapvid:
    """TAP-Vid: points queried at the first frame that shows them, scored at 256x256 (beyond the release)."""

    folder: ClassVar[str] = "tracks"
    table: ClassVar[str] = "per_sequence.csv"
    columns: ClassVar[tuple[str, ...]] = ("AverageJaccard", "AverageWithin", "OcclusionAccuracy")
    headline: ClassVar[str] = "average Jaccard"
    frame_value: ClassVar[str] = "points within 8 of 256 pixels"
    explanation: ClassVar[str] = (
        "Average Jaccard judges places and visibility, average within the places of visible points alone, both as "
        "means over 1, 2, 4, 8 and 16 of 256 pixels."
    )

    def __init__(self, occlusion_threshold: float = 0.5):
        """A point is taken to be hidden where its map's highest value is below this share of that at its query."""
        self.occlusion_threshold = occlusion_threshold

    def open(self, data: str, *, split: str, year: int, sequences: Sequence[str]) -> list[TrackSequence]:
        """The sequences of a data set."""
        del split, year
        return open_tapvid(data, sequences=sequences)

    def output(self, results: Path, sequence: TrackSequence) -> Path:
        """Where the results of one sequence lie."""
        return results / f"{sequence.name}.npz"

    def write(
        self,
        variables: Variables,
        sequence: TrackSequence,
        frames: Iterable[np.ndarray],
        output: Path,
        settings: Settings,
    ) -> Iterator[Callable[[], object]]:
        """Propagates through one sequence; yields jobs that wait and write."""
        output.parent.mkdir(parents=True, exist_ok=True)
        features = []
        for each in network_features(variables, frames, settings):
            features.append(each)
            if len(features) < len(sequence):
                yield each.block_until_ready
        height, width = sequence.frame(0).shape[:2]
        inner = network_size(height, width, settings)
        grid = grid_size(inner[0], inner[1])
        points, frames_ = sequence.points.shape[:2]
        tracks = np.zeros((points, frames_, 2))
        occluded = np.zeros((points, frames_), bool)
        # Points that are queried at the same frame are propagated together.
        for query in np.unique(sequence.query_frames):
            group = np.flatnonzero(sequence.query_frames == query)
            first = point_maps_on_grid(sequence.points[group, query], grid)
            maps = itertools.chain([first], propagate_labels(features[query:], first, settings))
            at_query = np.zeros(len(group))
            for frame, labels in enumerate(maps, start=query):
                positions, highest = positions_of(labels, size=(256, 256))
                tracks[group, frame] = np.asarray(positions) + 0.5  # from the picture's corner, as TAP-Vid counts
                at_query = np.asarray(highest) if frame == query else at_query
                occluded[group, frame] = np.asarray(highest) < self.occlusion_threshold * at_query
        yield lambda: np.savez(output, tracks=tracks, occluded=occluded)

    def score(self, results: Path, sequence: TrackSequence) -> SequenceScore:
        """Scores the results of one sequence."""
        path = existing_file(self.output(results, sequence))
        with np.load(path) as file:
            tracks, occluded = file["tracks"], file["occluded"]
        if tracks.shape != sequence.points.shape:
            raise InputError(f"{path}: tracks are {list(tracks.shape)}, the truth is {list(sequence.points.shape)}")
        truth = sequence.points * 256
        score = tapvid.score_tracks(tracks, occluded, truth, sequence.occluded, sequence.query_frames)
        row = dict(zip(self.columns, dataclasses.astuple(score), strict=True))
        counted = ~sequence.occluded & (np.arange(len(sequence))[None] > sequence.query_frames[:, None])
        near = np.linalg.norm(tracks - truth, axis=-1) < 8
        some = counted.any(axis=0)
        curve = np.where(some, (near & counted).sum(axis=0) / np.maximum(counted.sum(axis=0), 1), np.nan)[1:]
        rows = [{"Sequence": sequence.name} | row]
        return SequenceScore(sequence.name, score.average_jaccard, curve, rows, score)

    def summary(self, scores: Sequence[SequenceScore]) -> dict[str, float]:
        """The columns over all sequences."""
        mean = tapvid.mean_score([score.details for score in scores])
        return dict(zip(self.columns, dataclasses.astuple(mean), strict=True))

    def truth(self, sequence: TrackSequence, index: int) -> np.ndarray:
        """What is true of a frame, to be drawn."""
        height, width = sequence.frame(index).shape[:2]
        points = sequence.points[:, index] * np.array([width, height]) - 0.5
        return np.where(sequence.occluded[:, index, None], np.nan, points)

    def results(self, results: Path, sequence: TrackSequence, indices: Iterable[int]) -> list[np.ndarray]:
        """What was found in some frames, to be drawn."""
        height, width = sequence.frame(0).shape[:2]
        with np.load(self.output(results, sequence)) as file:
            tracks, hidden = file["tracks"], file["occluded"]
        before = np.arange(len(sequence))[None] < sequence.query_frames[:, None]
        shown = np.where((hidden | before)[..., None], np.nan, tracks / 256 * np.array([width, height]) - 0.5)
        return [shown[:, index] for index in indices]


def point_maps_on_grid(points: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """A Gaussian of one grid cell around every point: (x, y) as shares [n, 2] to float32 [rows, cols, n]."""
    rows, cols = (np.arange(side) + 0.5 for side in grid)
    x, y = points[:, 0] * grid[1], points[:, 1] * grid[0]
    squares = (cols[None, :, None] - x) ** 2 + (rows[:, None, None] - y) ** 2
    return np.exp(-squares / 2).astype(np.float32)
