"""Blend the labels of every query position's matches.

    label[q] = sum over the matches of softmax(score / temperature) * labels[t, p]

The topk matches come from matching.py and their labels are gathered from there. Where all keys share the weight, each
tile's scores are blended at once, since all matches would be an array over all pairs. Where all keys that tie with the
last match take part, and there are such, they are added up tile by tile and join the blend as one.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vfs_jax.correspondence.arguments import Number
from vfs_jax.correspondence.key_groups import KeyGroup, SearchSpec, windows
from vfs_jax.correspondence.matching import search
from vfs_jax.correspondence.tile_matches import map_tiles, match_tile, scores_at
from vfs_jax.correspondence.tiles import FeatureMaps, Tile

Ties = Literal["first", "all"]


def check_blending(topk: int | None, temperature: Number) -> None:
    """Raise ValueError when one of the options by which matches are chosen and weighed is out of range."""
    if topk is not None and topk < 1:
        raise ValueError(f"topk must be None or at least 1, got {topk}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")


def _softmax_blend(scores: jax.Array, labels: jax.Array, temperature: Number) -> jax.Array:
    """Average labels [..., k, l] with softmax(scores [..., k] / temperature); zeros where every score is -inf."""
    largest = scores.max(axis=-1, keepdims=True)
    weights = jnp.exp((scores - jnp.where(largest > -jnp.inf, largest, 0)) / temperature)
    total = weights.sum(axis=-1, keepdims=True)
    weights /= jnp.where(total > 0, total, 1)
    return jnp.einsum("...k,...kl->...l", weights, labels.astype(scores.dtype), precision=jax.lax.Precision.HIGHEST)


def _labels_in_time(labels: jax.Array, keys: KeyGroup) -> jax.Array:
    """Bring the labels of a group, as stored [t, h, w, l], into order of time: [t, h * w, l]."""
    labels = labels if keys.order is None else labels[keys.order]
    return labels.reshape(len(labels), -1, labels.shape[-1])


def _blend_tile(tile: Tile, keys: KeyGroup, labels: jax.Array, temperature: Number) -> tuple[jax.Array, jax.Array]:
    """Blend the labels [t, h, w, l] of all keys of every query into one: score [q, 1], label [q, 1, l].

    The score is temperature * log(sum of exp(score / temperature)), by which this one weighs in a softmax with others
    as much as all of them.
    """
    scores = scores_at(tile, keys, tile.pair, tile.in_bounds)
    labels = jnp.take(_labels_in_time(labels, keys), tile.position, axis=1, mode="clip").swapaxes(0, 1)
    queries, frames, offsets = scores.shape
    scores = scores.reshape(queries, frames * offsets)
    total = temperature * jax.nn.logsumexp(scores / temperature, axis=1, keepdims=True)
    return total, _softmax_blend(scores, labels.reshape(queries, frames * offsets, -1), temperature)[:, None]


class _Ties(NamedTuple):
    """The matches of queries in one group of keys, and all of its keys that score as the last match.

    Attributes:
        scores: of the matches [..., k], falling, -inf for missing ones.
        where: the matches' index [..., k], as `match_tile` gives it.
        counts: how many keys score as the last match [..., 1]; 0 where that is missing.
        labels: the mean of their labels [..., 1, l].
    """

    scores: jax.Array
    where: jax.Array
    counts: jax.Array
    labels: jax.Array


def _find_ties(tile: Tile, keys: KeyGroup, labels: jax.Array, topk: int) -> _Ties:
    """Find the matches of the queries of a tile and what ties with the last of them; labels: as stored [t, h, w, l]."""
    scores, index = match_tile(tile, keys, topk)
    last = jnp.where(scores[:, -1:] > -jnp.inf, scores[:, -1:], jnp.nan)  # NaN is equal to nothing
    tied = scores_at(tile, keys, tile.pair, tile.in_bounds) == last[..., None]

    def add_frame(total: jax.Array, frame: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        own = jnp.take(frame[1], tile.position, axis=0, mode="clip")
        exact = jax.lax.Precision.HIGHEST
        return total + jnp.einsum("qo,qol->ql", frame[0].astype(own.dtype), own, precision=exact), None

    # One frame at a time: the labels of all keys of a tile are several times as large as their scores.
    nothing = jnp.zeros((len(tied), labels.shape[-1]), labels.dtype)
    total, _ = jax.lax.scan(add_frame, nothing, (tied.swapaxes(0, 1), _labels_in_time(labels, keys)))
    count = jnp.count_nonzero(tied, axis=(1, 2)).astype(labels.dtype)[:, None]
    return _Ties(scores, index, count, (total / jnp.maximum(count, 1))[:, None])


def _blend_with_ties(
    query: FeatureMaps, groups: list[KeyGroup], labels: jax.Array, *, spec: SearchSpec, topk: int, temperature: Number
) -> jax.Array:
    """Blend as `blend_labels`, with all keys whose score is that of the topk-th match or higher.

    What ties with the last match of a group is one entry of the softmax, with as much weight as all of its keys.
    """
    flat = labels.reshape(-1, labels.shape[-1])
    results, values = [], []
    for keys, offsets, before in windows(query, groups, spec.window):
        own = labels[before : before + keys.num_frames]
        choose = functools.partial(_find_ties, keys=keys, labels=own, topk=topk)
        results.append(_Ties(*map_tiles(choose, query, keys, offsets)))
        first = before * len(flat) // len(labels)
        values += [jnp.take(flat, results[-1].where + first, axis=0, mode="clip"), results[-1].labels]
    matches = jnp.concatenate([group.scores for group in results], axis=-1)
    threshold = jax.lax.top_k(matches, min(topk, matches.shape[-1]))[0][..., -1:]
    scores = []
    for group in results:
        last = group.scores[..., -1:]
        together = last + temperature * jnp.log(jnp.maximum(group.counts, 1)).astype(last.dtype)
        scores += [
            jnp.where((group.scores > last) & (group.scores >= threshold), group.scores, -jnp.inf),
            jnp.where((group.counts > 0) & (last >= threshold), together, -jnp.inf),
        ]
    blend = _softmax_blend(jnp.concatenate(scores, axis=-1), jnp.concatenate(values, axis=-2), temperature)
    return blend.astype(np.float32)


def blend_labels(
    query: FeatureMaps,
    groups: list[KeyGroup],
    labels: jax.Array,
    *,
    spec: SearchSpec,
    topk: int | None,
    temperature: Number,
    ties: Ties,
) -> jax.Array:
    """Give every query position the softmax-weighted labels of its matches.

    Args:
        query: one frame, values [1, h, w, c].
        groups: the key frames, first frames first.
        labels: of the frames of all groups, as stored [t, h, w, l].
        spec: the window, and what finds the matches.
        topk: how many matches share the weight; None for all keys that are allowed.
        temperature: divides the scores.
        ties: "first" for topk matches, "all" for all keys besides that score as the last of them.

    Returns:
        Labels [h, w, l], float32.
    """
    if topk is not None:
        # One match more tells whether the last one ties with a key that is none.
        scores, index = search(query, groups, spec=spec, topk=topk + (ties == "all"))

        def blend_first() -> jax.Array:
            values = jnp.take(labels.reshape(-1, labels.shape[-1]), index[..., :topk], axis=0, mode="clip")
            return _softmax_blend(scores[..., :topk], values, temperature).astype(np.float32)

        if scores.shape[-1] <= topk:
            return blend_first()
        last, following = scores[..., topk - 1], scores[..., topk]

        def blend_all() -> jax.Array:
            return _blend_with_ties(query, groups, labels, spec=spec, topk=topk, temperature=temperature)

        return jax.lax.cond(jnp.any((last == following) & (last > -jnp.inf)), blend_all, blend_first)
    blends = []
    for keys, offsets, before in windows(query, groups, spec.window):

        def choose(
            tile: Tile, keys: KeyGroup = keys, own: jax.Array = labels[before : before + keys.num_frames]
        ) -> tuple[jax.Array, jax.Array]:
            return _blend_tile(tile, keys, own, temperature)

        blends.append(map_tiles(choose, query, keys, offsets))
    if not blends:
        return jnp.zeros((*query.values.shape[1:3], labels.shape[-1]), np.float32)
    scores, values = (
        jnp.concatenate([score for score, _ in blends], -1),
        jnp.concatenate([label for _, label in blends], -2),
    )
    return _softmax_blend(scores, values, temperature).astype(np.float32)
