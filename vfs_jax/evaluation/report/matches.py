"""Looking into the features: which keys a point of a frame is compared with best, and what the features are alike."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vfs_jax.correspondence import affinity
from vfs_jax.errors import InputError
from vfs_jax.evaluation.propagation.labels import network_features
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.tasks.base import ScoredTask
from vfs_jax.models.resnet import Variables

_SHOWN_KEYS = 10  # of each position, where all keys share the weight


@dataclasses.dataclass(frozen=True)
class Look:
    """What one network sees in one frame.

    Attributes:
        frames: numbers of the key frames in the operator's order; frame 0 may be there twice.
        where: the best keys of every position of the frame, best first: indices (into `frames`, row, col), int32 [rows,
            cols, k, 3]; -1 where there are fewer.
        scores: their cosines, float32 [rows, cols, k], -inf where there are fewer.
        weights: their softmax, float32 [rows, cols, k]; what the operator multiplies their labels with.
        colors: of the features of the distinct key frames and of the frame itself (the last), RGB uint8 [t, rows, cols,
            3]: their three main directions.
        colored: numbers of those frames.
    """

    frames: tuple[int, ...]
    where: np.ndarray
    scores: np.ndarray
    weights: np.ndarray
    colors: np.ndarray
    colored: tuple[int, ...]


class Inspector:
    """Looks at the frame and the point that were asked for, once for every run and sequence."""

    def __init__(self, count: int, frame: int = -1, point: str = ""):
        """Choose.

        Args:
            count: of sequences to look at.
            frame: number of the frame; -1 for the middle one.
            point: "x,y" in pixels of the frame; the middle of what is labeled in it where empty.

        Raises:
            InputError: the point is none.
        """
        self.count, self._frame = count, frame
        self._looks: dict[tuple[str, str], Look] = {}
        try:
            self._point = tuple(float(part) for part in point.split(",")) if point else None
            if self._point is not None and len(self._point) != 2:
                raise ValueError
        except ValueError:
            raise InputError(f"inspect_point={point}: write x,y in pixels") from None

    def frame_of(self, sequence: Any) -> int:
        """Return the number of the frame that is looked at; at least 1, since frame 0 has no keys."""
        wanted = self._frame if self._frame >= 0 else len(sequence) // 2
        return min(max(wanted, 1), len(sequence) - 1)

    def point_of(self, task: ScoredTask, sequence: Any) -> tuple[float, float]:
        """(x, y) in pixels of the frame where the look begins."""
        height, width = sequence.size
        if self._point is not None:
            return min(max(self._point[0], 0), width - 1), min(max(self._point[1], 0), height - 1)
        truth = task.ground_truth(sequence, self.frame_of(sequence))
        if truth.dtype == np.uint8:
            rows, cols = np.nonzero(truth == truth[truth > 0].min() if truth.any() else truth == 0)
            # Of the labeled pixels the one nearest to their mean, which itself may lie outside.
            nearest = np.argmin((rows - rows.mean()) ** 2 + (cols - cols.mean()) ** 2)
            return float(cols[nearest]), float(rows[nearest])
        seen = truth[(truth >= 0).all(axis=1) & (truth < [width, height]).all(axis=1)]
        return (float(seen[0, 0]), float(seen[0, 1])) if len(seen) else (width / 2, height / 2)

    def look(self, name: str, variables: Variables, settings: Settings, sequence: Any) -> Look:
        """Look at a sequence with the weights and settings of the run of that name."""
        key = name, sequence.name
        if key not in self._looks:
            self._looks[key] = look(variables, settings, sequence, self.frame_of(sequence))
        return self._looks[key]


def key_frames(number: int, settings: Settings) -> tuple[int, ...]:
    """Return the numbers of the frames that serve as keys for a frame, in the operator's order.

    >>> key_frames(2, Settings(num_context=3)), key_frames(2, Settings(num_context=3, fill_first=True))
    ((0, 0, 1), (0, 0, 0, 1))
    """
    previous = [frame for frame in range(number - settings.num_context, number)]
    if settings.fill_first:
        previous = [max(frame, 0) for frame in previous]
    return (*((0,) if settings.keep_first else ()), *(frame for frame in previous if frame >= 0))


def look(variables: Variables, settings: Settings, sequence: Any, number: int) -> Look:
    """Find the best keys of all positions of a frame, and the main directions of its features and theirs.

    Args:
        variables: of a ResNet.
        settings: of the propagation.
        sequence: of a data set.
        number: of the frame, at least 1.
    """
    frames = key_frames(number, settings)
    distinct = sorted({*frames})
    layout = Layout.of(sequence.size, settings)
    images = (sequence.frame(frame) for frame in (*distinct, number))
    features = [np.asarray(each, np.float32) for each in network_features(variables, images, settings, layout)]
    keys = [features[distinct.index(frame)] for frame in frames]
    where, scores = best_keys(features[-1], keys, settings)
    largest = scores.max(axis=-1, keepdims=True)
    weights = np.exp((scores - np.where(np.isfinite(largest), largest, 0)) / settings.temperature)
    weights /= np.maximum(weights.sum(axis=-1, keepdims=True), 1e-30)
    return Look(frames, where, scores, weights, main_colors(np.stack(features)), (*distinct, number))


def best_keys(query: np.ndarray, keys: Sequence[np.ndarray], settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys whose labels the operator blends, for every position of a frame.

    Args:
        query: features [rows, cols, c].
        keys: the same of the key frames, in order.
        settings: radius, window, topk, first_frame_windowed. Of all keys (topk None) the ten best are given.

    Returns:
        where int32 [rows, cols, k, 3] and scores float32 [rows, cols, k], as in `Look`.
    """
    rows, cols, _ = query.shape
    count = settings.topk or _SHOWN_KEYS
    # A strip of query rows at a time, against the rows that its windows reach: all scores of two frames fill gigabytes.
    strip = max(1, min(rows, 2**24 // (rows * cols * cols)))
    where = np.full((rows, cols, count, 3), -1, np.int32)
    scores = np.full((rows, cols, count), -np.inf, np.float32)
    for start in range(0, rows, strip):
        found = []
        part = query[start : start + strip]
        for index, key in enumerate(keys):
            free = settings.radius is None or (index == 0 and not settings.first_frame_windowed)
            best, place = _best(
                part, key, start, radius=None if free else settings.radius, window=settings.window, count=count
            )
            found.append((np.asarray(best), np.asarray(place), np.full(place.shape, index)))
        best, place, frame = (np.concatenate(each, axis=-1) for each in zip(*found, strict=True))
        # Of equals the lowest (frame, row, col) first, as the operator has it: the frames come in order, top_k's too.
        order = np.argsort(-best, axis=-1, kind="stable")[..., :count]
        best, place, frame = (np.take_along_axis(each, order, axis=-1) for each in (best, place, frame))
        triples = np.stack([frame, place // cols, place % cols], axis=-1)
        end = start + len(part)
        scores[start:end, :, : best.shape[-1]] = best
        where[start:end, :, : best.shape[-1]] = np.where(np.isfinite(best)[..., None], triples, -1)
    return where, scores


@functools.partial(jax.jit, static_argnames=("radius", "window", "count"))
def _best(
    query: Array, key: Array, start: Array, *, radius: float | None, window: str, count: int
) -> tuple[Array, Array]:
    """Return the best keys of some rows of queries in one frame: scores and flat places [rows, cols, k]."""
    height, width = key.shape[:2]
    scores = affinity(query, key)
    if radius is not None:
        down = (jnp.arange(query.shape[0]) + start)[:, None, None, None] - jnp.arange(height)[None, None, :, None]
        right = jnp.arange(width)[None, :, None, None] - jnp.arange(width)[None, None, None, :]
        down, right = down.astype(jnp.float32), right.astype(jnp.float32)
        if window == "circle":
            allowed = down * down + right * right < radius * radius
        else:
            allowed = (abs(down) <= radius) & (abs(right) <= radius)
        scores = jnp.where(allowed, scores, -jnp.inf)
    flat = scores.reshape(*scores.shape[:2], height * width)
    return jax.lax.top_k(flat, min(count, height * width))


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
