"""The matches of a frame's positions, as propagation blends them, and colors that show what its features are alike."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from vfs_jax.correspondence import top_matches
from vfs_jax.correspondence.memory import ContextSpec
from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import Encoder
from vfs_jax.evaluation.propagation.features import features_of
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.tasks.base import LabeledSequence, ScoredTask

_SHOWN_MATCHES = 10  # of each position, where all keys share the weight


@dataclasses.dataclass(frozen=True)
class Look:
    """The matches of every position of one frame under one network, and the features in color.

    Attributes:
        frames: numbers of the key frames in the operator's order; frame 0 may be there twice.
        where: the matches of every position of the frame, best first: (index into `frames`, row, column), int32 [rows,
            cols, k, 3]; -1 where there are fewer.
        scores: their cosines, float32 [rows, cols, k], -inf where there are fewer.
        weights: their softmax, float32 [rows, cols, k]: what the operator multiplies their labels with.
        colors: features of the distinct key frames and of the frame itself (the last) by their three main directions,
            RGB uint8 [t, rows, cols, 3].
        colored: numbers of those frames.
    """

    frames: tuple[int, ...]
    where: np.ndarray
    scores: np.ndarray
    weights: np.ndarray
    colors: np.ndarray
    colored: tuple[int, ...]


class Inspector:
    """The frame and the point that the report looks into; looks are made once for every run and sequence."""

    def __init__(self, count: int, inspect_frame: int = -1, inspect_point: str = ""):
        """Choose the frame and the point.

        Args:
            count: number of sequences to look into.
            inspect_frame: number of the frame; -1 for the middle one.
            inspect_point: "x,y" in pixels of the frame; the middle of what is labeled in it where empty, or in the
                first frame where that alone is labeled.

        Raises:
            InputError: the point is not of that form.
        """
        self.count, self._frame = count, inspect_frame
        self._looks: dict[tuple[str, str], Look] = {}
        try:
            self._point = tuple(float(part) for part in inspect_point.split(",")) if inspect_point else None
            if self._point is not None and len(self._point) != 2:
                raise ValueError
        except ValueError:
            raise InputError(f"inspect_point={inspect_point}: write x,y in pixels") from None

    def frame_of(self, sequence: LabeledSequence) -> int:
        """Give the number of the frame that is looked into; at least 1, since frame 0 has no keys."""
        wanted = self._frame if self._frame >= 0 else len(sequence) // 2
        return min(max(wanted, 1), len(sequence) - 1)

    def point_of(self, task: ScoredTask, sequence: LabeledSequence) -> tuple[float, float]:
        """Give the point, (x, y) in pixels of the frame, whose matches are shown first."""
        height, width = sequence.size
        if self._point is not None:
            return min(max(self._point[0], 0), width - 1), min(max(self._point[1], 0), height - 1)
        labels = task.ground_truth(sequence, self.frame_of(sequence) if sequence.has_ground_truth else 0)
        if labels.dtype == np.uint8:
            rows, cols = np.nonzero(labels == labels[labels > 0].min() if labels.any() else labels == 0)
            # Of the labeled pixels the one nearest to their mean, which itself may lie outside.
            nearest = np.argmin((rows - rows.mean()) ** 2 + (cols - cols.mean()) ** 2)
            return float(cols[nearest]), float(rows[nearest])
        seen = labels[(labels >= 0).all(axis=1) & (labels < [width, height]).all(axis=1)]
        return (float(seen[0, 0]), float(seen[0, 1])) if len(seen) else (width / 2, height / 2)

    def look(self, name: str, encoder: Encoder, settings: Settings, sequence: LabeledSequence) -> Look:
        """Look into a sequence with the encoder and settings of the run of that name."""
        key = name, sequence.name
        if key not in self._looks:
            self._looks[key] = look(encoder.of_sequence(sequence.name), settings, sequence, self.frame_of(sequence))
        return self._looks[key]


def look(encoder: Encoder, settings: Settings, sequence: LabeledSequence, number: int) -> Look:
    """Find the matches of all positions of a frame, and color its features and those of its key frames.

    Args:
        encoder: of the sequence.
        settings: of the propagation. Of all keys (topk None) the ten best are given.
        sequence: of a data set.
        number: of the frame, at least 1.
    """
    frames = ContextSpec(
        settings.num_context, settings.keep_first, settings.fill_first, settings.first_once
    ).key_frames(number)
    distinct = sorted({*frames})
    numbers = (*distinct, number)
    images = (sequence.frame(frame) for frame in numbers)
    layout = Layout.of(sequence.size, settings, encoder)
    features = list(features_of(encoder, images, settings, layout, numbers=numbers))
    best, where = top_matches(
        features[-1],
        jnp.stack([features[distinct.index(frame)] for frame in frames]),
        radius=settings.radius,
        topk=settings.topk or _SHOWN_MATCHES,
        window=settings.window,
        first_frame_windowed=settings.first_frame_windowed,
    )
    scores = np.asarray(best)
    largest = scores.max(axis=-1, keepdims=True)
    weights = np.exp((scores - np.where(np.isfinite(largest), largest, 0)) / settings.temperature)
    weights /= np.maximum(weights.sum(axis=-1, keepdims=True), 1e-30)
    colors = main_colors(np.stack([np.asarray(each, np.float32) for each in features]))
    return Look(frames, np.asarray(where), scores, weights, colors, numbers)


def main_colors(features: np.ndarray) -> np.ndarray:
    """Color features by their three main directions (PCA over all positions and frames) as red, green and blue.

    Args:
        features: [t, rows, cols, c].

    Returns:
        RGB uint8 [t, rows, cols, 3]; the middle 98% of each direction fill 0..255.
    """
    flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    flat -= flat.mean(axis=0)
    _, directions = np.linalg.eigh(flat.T @ flat)
    main = directions[:, ::-1][:, :3]
    main *= np.where(main[np.abs(main).argmax(axis=0), range(main.shape[1])] < 0, -1, 1)  # a sign that does not flicker
    low, high = np.percentile(flat @ main, (1, 99), axis=0)
    scaled = np.clip((flat @ main - low) / np.maximum(high - low, 1e-12), 0, 1)
    return np.round(255 * scaled).astype(np.uint8).reshape(*features.shape[:3], -1)
