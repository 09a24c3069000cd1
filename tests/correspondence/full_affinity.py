"""The obvious way to propagate labels: every score of every pair, sorted. Float64 and slow: what tests compare with."""

from typing import Any, Literal

import jax
import numpy as np

# Scores that float32 may take for equal: it errs by some 1e-7 in an inner product of vectors of length 1, and features
# that were computed in float32 are off by up to 2e-5 of their spread, which adds up to some 1e-6.
NEAR = 1e-5


def full_scores(
    query: np.ndarray,
    keys: np.ndarray,
    *,
    radius: float | None,
    window: Literal["circle", "square"] = "circle",
    first_frame_windowed: bool = True,
    key_valid: np.ndarray | None = None,
    key_mask: np.ndarray | None = None,
    normalize: bool = True,
) -> np.ndarray:
    """Score every (query position, frame, key position): [h * w, t * h * w], -inf where a key is not allowed."""
    query, keys = np.asarray(query, np.float64), np.asarray(keys, np.float64)
    frames, height, width, channels = keys.shape
    if normalize:
        query = query / np.maximum(np.linalg.norm(query, axis=-1, keepdims=True), 1e-12)
        keys = keys / np.maximum(np.linalg.norm(keys, axis=-1, keepdims=True), 1e-12)
    scores = (query.reshape(-1, channels) @ keys.reshape(-1, channels).T).reshape(height * width, frames, -1)
    rows, cols = np.divmod(np.arange(height * width), width)
    down, right = abs(rows[:, None] - rows[None]), abs(cols[:, None] - cols[None])
    mask = np.broadcast_to(True if key_mask is None else key_mask, keys.shape[:3]).reshape(frames, -1)
    for frame in range(frames):
        allowed = np.ones(down.shape, bool)
        if radius is not None and (frame > 0 or first_frame_windowed):
            if window == "circle":
                allowed = np.sqrt(down**2 + right**2) < radius
            else:
                allowed = (down <= radius) & (right <= radius)
        if key_valid is not None and not key_valid[frame]:
            allowed = np.zeros_like(allowed)
        scores[:, frame][~(allowed & mask[frame])] = -np.inf
    return scores.reshape(height * width, -1)


def full_propagation(
    query: np.ndarray,
    keys: np.ndarray,
    labels: np.ndarray,
    *,
    topk: int | None = 10,
    temperature: float = 0.07,
    ties: Literal["first", "all"] = "first",
    slack: np.ndarray | None = None,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Propagate labels; returns labels [h, w, l] and their slack [h, w].

    Float32 may choose another key where the last chosen score and the next are nearly equal. The slack is how far that
    can move a label: the weight of the chosen keys that may give way times how far the labels of all that are so near
    lie apart; and what the labels of the keys may be off for the same reason, their `slack` [t, h, w].
    """
    height, width = query.shape[:2]
    labels = np.asarray(labels, np.float64)
    scores = full_scores(query, keys, **options)
    flat = labels.reshape(-1, labels.shape[-1])
    flat_slack = np.zeros(len(flat)) if slack is None else slack.ravel()
    order = np.argsort(-scores, axis=1, kind="stable")
    count = scores.shape[1] if topk is None else min(topk, scores.shape[1])
    out, out_slack = np.zeros((height * width, labels.shape[-1])), np.zeros(height * width)
    for position in range(height * width):
        ranked = scores[position, order[position]]
        number = np.count_nonzero(np.isfinite(ranked[:count]))
        if number == 0:
            continue
        if ties == "all":
            number = np.count_nonzero(ranked >= ranked[number - 1])
        chosen, others = order[position, :number], order[position, number:]
        weights = np.exp((ranked[:number] - ranked[0]) / temperature)
        weights /= weights.sum()
        out[position] = weights @ flat[chosen]
        out_slack[position] = weights @ flat_slack[chosen]
        near = others[ranked[number:] > ranked[number - 1] - NEAR]
        if near.size:
            weak = ranked[:number] < ranked[number] + NEAR
            near = np.concatenate([chosen[weak], near])
            apart = np.ptp(flat[near], axis=0).max() + 2 * flat_slack[near].max()
            out_slack[position] += weights[weak].sum() * apart
    return out.reshape(height, width, -1), out_slack.reshape(height, width)


def full_video(
    features: np.ndarray,
    first_labels: np.ndarray,
    *,
    num_context: int = 20,
    keep_first: bool = True,
    fill_first: bool = False,
    first_once: bool = False,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Propagate along a video by one `full_propagation` a frame; returns labels and their slack, of every frame."""
    labels, slacks = [np.asarray(first_labels, np.float64)], [np.zeros(first_labels.shape[:2])]
    for frame in range(1, len(features)):
        past = list(range(frame - num_context, frame))
        past = [max(number, 0) for number in past] if fill_first else [number for number in past if number >= 0]
        past = [number for number in past if number > 0 or not first_once]
        keys = ([0] if keep_first else []) + past
        past_labels, past_slack = (np.stack([each[k] for k in keys]) for each in (labels, slacks))
        result, slack = full_propagation(features[frame], features[keys], past_labels, slack=past_slack, **options)
        labels.append(result)
        slacks.append(slack)
    return np.stack(labels), np.stack(slacks)


def assert_propagated(
    result: jax.typing.ArrayLike, expected: np.ndarray, slack: np.ndarray, tolerance: float = 1e-5
) -> None:
    """That labels are the expected ones but for what near ties can change; that is little, or the test says nothing.

    The tolerance is that of float32's labels: sums of at most ten products of numbers in 0..1, whose weights carry the
    error of the scores, some 1e-7, divided by the temperature.
    """
    assert slack.mean() < 2e-3
    off = np.abs(np.asarray(result) - expected).max(axis=-1) - slack
    assert off.max() <= tolerance, off.max()
