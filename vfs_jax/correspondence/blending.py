"""Blend the labels of every query position's matches.

    label[q] = sum over the matches of softmax(score / temperature) * labels[t, p]

The topk matches come from matching.py and their labels are gathered from there. Where all keys share the weight, each
tile's scores are blended at once, since all matches would be an array over all pairs.
"""

import jax
import jax.numpy as jnp
import numpy as np

from vfs_jax.correspondence.affinity import Window
from vfs_jax.correspondence.arguments import Number
from vfs_jax.correspondence.matching import KeyGroup, map_tiles, scores_at, search, windows
from vfs_jax.correspondence.tiles import FeatureMaps, Tile


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


def _blend_tile(tile: Tile, keys: KeyGroup, labels: jax.Array, temperature: Number) -> tuple[jax.Array, jax.Array]:
    """Blend the labels [t, h, w, l] of all keys of every query into one: score [q, 1], label [q, 1, l].

    The score is temperature * log(sum of exp(score / temperature)), by which this one weighs in a softmax with others
    as much as all of them.
    """
    scores = scores_at(tile, keys, tile.pair, tile.in_bounds)
    labels = labels if keys.order is None else labels[keys.order]
    labels = labels.reshape(len(labels), -1, labels.shape[-1])
    labels = jnp.take(labels, tile.position, axis=1, mode="clip").swapaxes(0, 1)
    queries, frames, offsets = scores.shape
    scores = scores.reshape(queries, frames * offsets)
    total = temperature * jax.nn.logsumexp(scores / temperature, axis=1, keepdims=True)
    return total, _softmax_blend(scores, labels.reshape(queries, frames * offsets, -1), temperature)[:, None]


def blend_labels(
    query: FeatureMaps,
    groups: list[KeyGroup],
    labels: jax.Array,
    *,
    window: Window,
    topk: int | None,
    temperature: Number,
) -> jax.Array:
    """Give every query position the softmax-weighted labels of its matches.

    Args:
        query: one frame, values [1, h, w, c].
        groups: the key frames, first frames first.
        labels: of the frames of all groups, as stored [t, h, w, l].
        window: "circle" or "square".
        topk: how many matches share the weight; None for all keys that are allowed.
        temperature: divides the scores.

    Returns:
        Labels [h, w, l], float32.
    """
    if topk is not None:
        scores, index = search(query, groups, window=window, topk=topk)
        values = jnp.take(labels.reshape(-1, labels.shape[-1]), index, axis=0, mode="clip")
        return _softmax_blend(scores, values, temperature).astype(np.float32)
    blends = []
    for keys, offsets, before in windows(query, groups, window):

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
