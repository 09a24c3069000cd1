"""Find the matches of a whole frame by every key position's largest score over the key frames.

    largest[q, p] = max over key frames t of score[q, t, p]

The window is the same in every frame, so the topk positions p with the largest scores hold all matches of q. Their
scores are computed again, in all frames, and the matches are chosen among these topk * t.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vfs_jax.correspondence.key_groups import KeyGroup, in_time, matches_among
from vfs_jax.correspondence.tile_matches import top_offsets
from vfs_jax.correspondence.tiles import FeatureMaps

# XLA has a kernel for top_k on GPUs that takes rows of at least this length; it sorts shorter ones.
_KERNEL_LENGTH = 1024


class LargestScores(NamedTuple):
    """Largest scores over the key frames.

    Attributes:
        scores: [h, w, n], -inf where no key is or where it lies outside of the window.
        origin: int [h, w], a position (row * width + column) for each query.
        shift: int [n]; the n-th score of a query is that of the key at position origin + shift.
    """

    scores: jax.Array
    origin: np.ndarray
    shift: np.ndarray


def match_by_largest(
    largest: LargestScores, query: FeatureMaps, keys: KeyGroup, topk: int, if_tied: Callable[[], tuple]
) -> tuple[jax.Array, jax.Array]:
    """Find the topk matches of every query: scores and index [h, w, k], as `matches_among` has them.

    Where a tie crosses the border of the first choice, `if_tied` gives the result.
    """
    height, width, number = largest.scores.shape
    size = height * width
    ranked = largest.scores.reshape(size, number)
    if _KERNEL_LENGTH // 2 < number < _KERNEL_LENGTH:
        ranked = jnp.pad(ranked, ((0, 0), (0, _KERNEL_LENGTH - number)), constant_values=-np.inf)
    _, chosen, tied = top_offsets(ranked, topk)

    def score_again() -> tuple[jax.Array, jax.Array]:
        shift = jnp.asarray(largest.shift, np.int32)
        position = jnp.asarray(largest.origin.reshape(size, 1), np.int32) + jnp.take(shift, chosen, mode="clip")
        found = jnp.take_along_axis(ranked, chosen, axis=1) > -jnp.inf
        # In rising order, in which equal scores of a frame count; what was not found comes last.
        position = jnp.sort(jnp.where(found, position, size), axis=1)

        def at_position(array: jax.Array) -> jax.Array:
            return jnp.take(array.reshape(len(array), size, *array.shape[3:]), position, axis=1, mode="clip")

        def joined(parts: Iterable[jax.Array]) -> jax.Array:
            return jnp.concatenate([at_position(part) for part in parts])

        # One product for all frames: two would round differently, and equal keys of two frames would not tie.
        dtype = ranked.dtype
        values = query.values.reshape(size, -1).astype(dtype)
        key_values = joined(piece.values for piece in keys.frames).astype(dtype)
        scores = jnp.einsum("qc,tqoc->tqo", values, key_values, precision=jax.lax.Precision.HIGHEST)
        if scales := [piece.scales for piece in keys.frames if piece.scales is not None]:
            scores *= joined(scales)
        if masks := [piece.mask for piece in keys.frames if piece.mask is not None]:
            scores = jnp.where(joined(masks), scores, -jnp.inf)
        if query.scales is not None:
            scores *= query.scales.reshape(1, -1, 1)
        matches = matches_among(in_time(scores, keys, position < size), position, keys, topk)
        return matches[0].reshape(height, width, -1), matches[1].reshape(height, width, -1)

    return jax.lax.cond(tied, if_tied, score_again)
