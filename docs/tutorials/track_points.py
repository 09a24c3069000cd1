# %% [markdown]
# # Points by top_matches
#
# You reuse the operator behind label propagation for something else: following points through a video. You get a
# tracker of some twenty lines that says when a point is hidden, and its error on sequences whose points are known
# exactly.
#
# ## A sequence with exact points
#
# Two pieces of photographs over a real video, with five marked points each; look-alikes cross them.

# %%
import itertools

import cv2
import numpy as np
from helpers import clips, filmstrip

from data_prep.compose import compose, photographs, read_background
from vfs_jax.correspondence import top_matches

background = read_background(clips() / "bigbuckbunny.mp4", 48, 240)
sequence = compose(np.random.default_rng(3), background, photographs())
frames, truth = sequence.frames[:24], sequence.points[:24]  # uint8 [t, h, w, 3]; [t, n, 2], (x, y)

# %% [markdown]
# ## Features
#
# One vector for every cell of 4 pixels: the colors of the 12x12 pixels around it, less their mean. They follow
# textures well as long as these turn and grow slowly; the features of any network stand in the same place.

# %%
CELL, PATCH = 4, 12  # pixels


def patches(frame: np.ndarray) -> np.ndarray:
    """Give the colors around every cell: RGB uint8 [h, w, 3] -> float32 [h / 4, w / 4, 432]."""
    rows, columns, margin = frame.shape[0] // CELL, frame.shape[1] // CELL, (PATCH - CELL) // 2
    padded = cv2.copyMakeBorder(frame, margin, PATCH, margin, PATCH, cv2.BORDER_REFLECT)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (PATCH, PATCH), axis=(0, 1))
    colors = windows[: rows * CELL : CELL, : columns * CELL : CELL].reshape(rows, columns, -1).astype(np.float32)
    return colors - colors.mean(-1, keepdims=True)


features = np.stack([patches(frame) for frame in frames])

# %% [markdown]
# ## A tracker
#
# `top_matches(query, keys)` gives for every position of `query` its best keys: scores [h, w, k] and places [h, w, k,
# 3], (frame, row, column). With the frame that is left as the query and the next one as the only key frame, a point
# goes where its matches lie: the mean of the five best, weighted by softmax. It is hidden where the way back does not
# lead home.


# %%
def follow(points: np.ndarray, here: np.ndarray, there: np.ndarray, *, radius: float) -> np.ndarray:
    """Carry points from one frame to another.

    Args:
        points: (x, y) in pixels, [n, 2].
        here: features [h, w, c] of the frame that they lie in.
        there: features of the other frame.
        radius: how far matches are searched, in cells.

    Returns:
        The points in the other frame, [n, 2].
    """
    scores, index = (np.asarray(part) for part in top_matches(here, there[None], radius=radius, topk=5))
    cells = np.clip(np.floor(points / CELL).astype(int), 0, np.array(here.shape[1::-1]) - 1)
    column, row = cells.T
    weights = np.exp((scores[row, column] - scores[row, column, :1]) / 0.02)[..., None]
    places = (index[row, column][..., :0:-1] + 0.5) * CELL  # (row, column) to (x, y)
    moved = (weights * places).sum(1) / weights.sum(1)
    return points + moved - (cells + 0.5) * CELL  # what lies off the cell's center stays off it


tracks, hidden = [truth[0]], [np.zeros(len(truth[0]), bool)]
for before, after in itertools.pairwise(features):
    moved = follow(tracks[-1], before, after, radius=5.0)
    back = follow(moved, after, before, radius=5.0)
    tracks.append(moved)
    hidden.append(np.linalg.norm(back - tracks[-2], axis=1) > 2 * CELL)
tracks, hidden = np.stack(tracks), np.stack(hidden)

# %% [markdown]
# ## How far off
#
# Thresholds as in TAP-Vid, in pixels of these frames; points that another piece covers, so that nobody can see them,
# count too.

# %%
error = np.linalg.norm(tracks - truth, axis=-1)[1:]
still = np.linalg.norm(truth[0] - truth, axis=-1)[1:]
for name, distances in {"followed": error, "left where they were": still}.items():
    within = ", ".join(f"{np.mean(distances < limit):.0%} within {limit}" for limit in (2, 4, 8, 16))
    print(f"{name}: median {np.median(distances):.1f} px; {within}")
print(f"hidden by the way back: {hidden.mean():.0%} of all")

# %%
drawn = []
for frame, points, real, away in zip(frames, tracks, truth, hidden, strict=True):
    picture = cv2.resize(frame, None, fx=2, fy=2)
    for n, (point, target) in enumerate(zip(points, real, strict=True)):
        color = (255, 90, 60) if n < 5 else (60, 200, 255)
        start, end = (tuple(int(v) for v in np.round(2 * place)) for place in (point, target))
        cv2.line(picture, start, end, (255, 255, 255), 2)
        cv2.circle(picture, start, 9, color, 2 if away[n] else -1)
    drawn.append(picture)
filmstrip("track_points", {"points as followed (rings: hidden), a white line to where they are": drawn}, columns=3)

# %% [markdown]
# ![Frames with the points as followed and lines to where they truly are](track_points.jpg)
#
# ## From here
#
# - The operator, its windows and masks: [`top_matches`](../api/correspondence.md). It can be jitted, mapped by vmap
#   over batches and differentiated, so that it serves a loss as well.
# - Points scored as TAP-Vid and JHMDB do: [the tasks](../evaluation.md#tasks); from the command line, `vfs-propagate
#   VIDEO --points=...`: [a video of yours](../own_video.md).
