"""The obvious way to propagate labels: every score of every pair, sorted. Float64 and slow: what tests compare with."""

import numpy as np


def full_scores(query, keys, *, radius, window="circle", first_frame_windowed=True, key_valid=None, normalize=True):
    """Score every (query position, frame, key position): [h * w, t * h * w], -inf where a key is not allowed."""
    query, keys = np.asarray(query, np.float64), np.asarray(keys, np.float64)
    frames, height, width, channels = keys.shape
    if normalize:
        query = query / np.maximum(np.linalg.norm(query, axis=-1, keepdims=True), 1e-12)
        keys = keys / np.maximum(np.linalg.norm(keys, axis=-1, keepdims=True), 1e-12)
    scores = (query.reshape(-1, channels) @ keys.reshape(-1, channels).T).reshape(height * width, frames, -1)
    rows, cols = np.divmod(np.arange(height * width), width)
    row_steps, col_steps = abs(rows[:, None] - rows[None]), abs(cols[:, None] - cols[None])
    for frame in range(frames):
        allowed = np.ones(row_steps.shape, bool)
        if radius is not None and (frame > 0 or first_frame_windowed):
            if window == "circle":
                allowed = np.sqrt(row_steps**2 + col_steps**2) < radius
            else:
                allowed = (row_steps <= radius) & (col_steps <= radius)
        if key_valid is not None and not key_valid[frame]:
            allowed = np.zeros_like(allowed)
        scores[:, frame][~allowed] = -np.inf
    return scores.reshape(height * width, -1)


def full_propagation(query, keys, labels, *, topk=10, temperature=0.07, **options):
    """Propagate labels; returns labels [h, w, l] and the gap between the last chosen score and the next [h, w]."""
    height, width = query.shape[:2]
    labels = np.asarray(labels, np.float64)
    scores = full_scores(query, keys, **options)
    flat = labels.reshape(-1, labels.shape[-1])
    order = np.argsort(-scores, axis=1, kind="stable")
    count = scores.shape[1] if topk is None else min(topk, scores.shape[1])
    out = np.zeros((height * width, labels.shape[-1]))
    for position in range(height * width):
        chosen = [index for index in order[position, :count] if np.isfinite(scores[position, index])]
        if chosen:
            weights = np.exp((scores[position, chosen] - scores[position, chosen[0]]) / temperature)
            out[position] = (weights / weights.sum()) @ flat[chosen]
    ranked = np.take_along_axis(scores, order[:, : count + 1], axis=1)
    with np.errstate(invalid="ignore"):
        gap = ranked[:, -2] - ranked[:, -1] if ranked.shape[1] > count else np.full(height * width, np.inf)
    gap = np.where(np.isnan(gap), np.inf, gap)  # both -inf: nothing is left to choose from
    return out.reshape(height, width, -1), gap.reshape(height, width)


def full_video(features, first_labels, *, num_context=20, keep_first=True, fill_first=False, **options):
    """Propagate along a video by one `full_propagation` a frame; returns labels and the gaps of every frame."""
    labels, gaps = [np.asarray(first_labels, np.float64)], [np.full(first_labels.shape[:2], np.inf)]
    for frame in range(1, len(features)):
        past = list(range(frame - num_context, frame))
        past = [max(number, 0) for number in past] if fill_first else [number for number in past if number >= 0]
        keys = ([0] if keep_first else []) + past
        result, gap = full_propagation(features[frame], features[keys], np.stack([labels[k] for k in keys]), **options)
        labels.append(result)
        gaps.append(gap)
    return np.stack(labels), np.stack(gaps)
