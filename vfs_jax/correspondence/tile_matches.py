"""Find the matches of the queries of a tile among the scores that tiles.py computes.

The window is the same in every frame, so an offset's largest score over the frames tells whether any key at that offset
can be a match: the topk best offsets hold all matches. A first choice takes these offsets, a second one the matches
among their topk * t scores.
"""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from vfs_jax.correspondence.key_groups import KeyGroup, in_time, matches_among
from vfs_jax.correspondence.tiles import FeatureMaps, Tile, map_full_tiles, map_window_tiles


def scores_at(tile: Tile, keys: KeyGroup, pair: jax.Array, in_bounds: jax.Array) -> jax.Array:
    """Look up the scores of all frames at pair [q, o]: [q, t, o] in order of time, -inf where no key is."""
    scores = jnp.concatenate([jnp.take(piece, pair, axis=1, mode="clip") for piece in tile.scores])
    return in_time(scores, keys, in_bounds)


def _valid_scores(tile: Tile, keys: KeyGroup) -> Iterator[jax.Array]:
    """Give the scores [t, n] piece by piece, -inf where the frame is no key."""
    start = 0
    for piece in tile.scores:
        valid = None if keys.valid is None else keys.valid[start : start + len(piece), None]
        start += len(piece)
        yield piece if valid is None else jnp.where(valid, piece, -jnp.inf)


def top_offsets(largest: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Choose the `count` best offsets by their largest scores [q, o], of which there are more.

    Returns:
        The last score that was chosen [q, 1], the offsets [q, count], and whether it ties with one that was not chosen.
    """
    # The barrier keeps XLA from joining the slices below to the choice, which would turn it into a full sort.
    # One barrier each: XLA's rewriting of top_k fails on a barrier around both.
    best, chosen = (jax.lax.optimization_barrier(part) for part in jax.lax.top_k(largest, count + 1))
    last = best[:, count - 1 : count]
    return last, chosen[:, :count], jnp.any((last == best[:, count:]) & (last > -jnp.inf))


def _candidate_offsets(tile: Tile, keys: KeyGroup, count: int) -> jax.Array:
    """Choose, for every query, the offsets [q, count] that hold its `count` best matches, in rising order.

    Offsets rank by (score, lowest frame that reaches it, lowest position), as matches do. `lax.top_k` knows nothing of
    frames; where that matters, which is when a tie crosses the border of the choice, the offsets are sorted.
    """
    if tile.pair.shape[1] == count:
        return jnp.broadcast_to(jnp.arange(count, dtype=np.int32), tile.pair.shape)
    largest = functools.reduce(jnp.maximum, (piece.max(axis=0) for piece in _valid_scores(tile, keys)))
    ranked = jnp.where(tile.in_bounds, jnp.take(largest, tile.pair, mode="clip"), -jnp.inf)
    last, chosen, tied = top_offsets(ranked, count)

    def by_frame() -> jax.Array:
        never, start = np.int32(np.iinfo(np.int32).max), 0
        ages = jnp.arange(keys.num_frames, dtype=np.int32)
        ages = ages if keys.order is None else jnp.zeros_like(ages).at[keys.order].set(ages)
        oldest = jnp.full(largest.shape, never)
        for piece in _valid_scores(tile, keys):
            reached = jnp.where(piece == largest[None], ages[start : start + len(piece), None], never)
            oldest, start = jnp.minimum(oldest, reached.min(axis=0)), start + len(piece)
        frame = jnp.take(oldest, tile.pair, mode="clip")
        rank = jnp.where(ranked > last, -1, jnp.where(ranked == last, frame, never))
        return jax.lax.top_k(-rank, count)[1]

    return jnp.sort(jax.lax.cond(tied, by_frame, lambda: chosen), axis=1)


def match_tile(tile: Tile, keys: KeyGroup, topk: int) -> tuple[jax.Array, jax.Array]:
    """Find the topk matches of every query of a tile: scores and index [q, k], as `matches_among`."""
    candidates = _candidate_offsets(tile, keys, min(topk, tile.pair.shape[1]))
    pair, position, in_bounds = (jnp.take_along_axis(table, candidates, axis=1) for table in tile[1:])
    return matches_among(scores_at(tile, keys, pair, in_bounds), position, keys, topk)


def map_tiles(choose: Callable[[Tile], tuple], query: FeatureMaps, keys: KeyGroup, offsets: np.ndarray) -> tuple:
    """Let `choose` reduce the scores of the query frame tile by tile, in its windows if there are any."""
    query, frames = query._replace(kernel=None), tuple(piece._replace(kernel=None) for piece in keys.frames)

    def choose_keys(tile: Tile) -> tuple:
        if keys.mask is None:
            return choose(tile)
        unmasked = jnp.take(keys.mask.reshape(-1), tile.position, mode="clip")
        return choose(tile._replace(in_bounds=tile.in_bounds & unmasked))

    if keys.radius is None:
        return map_full_tiles(choose_keys, query, frames)
    return map_window_tiles(choose_keys, query, frames, offsets)
