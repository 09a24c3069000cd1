"""The obvious way to find the largest scores over the key frames, in float64: what both backends are held to."""

import jax
import numpy as np

from vfs_jax.correspondence.largest_scores import LargestScores


def check_largest(
    largest: LargestScores,
    query: jax.typing.ArrayLike,
    keys: jax.typing.ArrayLike,
    offsets: np.ndarray,
    scale: jax.typing.ArrayLike = 1.0,
) -> None:
    """Assert that LargestScores holds those of query [h, w, c] and keys [t, h, w, c] in the window, and no others.

    scale [h, w]: what the scores of a query are to be multiplied with, which decides nothing.
    """
    query, keys = np.asarray(query, np.float64), np.asarray(keys, np.float64)
    height, width = query.shape[:2]
    found = np.asarray(largest.scores, np.float64) * np.broadcast_to(scale, (height, width))[..., None]
    for row, col in np.ndindex(height, width):
        position = largest.origin[row, col] + largest.shift
        there = np.flatnonzero(found[row, col] > -np.inf)
        reached = offsets + np.array([row, col])
        reached = reached[np.all((reached >= 0) & (reached < (height, width)), axis=1)]
        assert sorted(position[there]) == sorted(reached @ (width, 1))
        vectors = keys.reshape(len(keys), height * width, -1)[:, position[there]]
        # float32 sums of c products err by some 2 ** -24 of the sum of their sizes each.
        limit = query.shape[-1] * 2.0**-24 * (abs(vectors) @ abs(query[row, col])).max(axis=0)
        assert np.all(abs(found[row, col, there] - (vectors @ query[row, col]).max(axis=0)) <= limit)
