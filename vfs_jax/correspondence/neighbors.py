"""Search for the best keys of every query position, tile by tile, inside the window that the options allow.

Shared by `propagate_frame`, `propagate_video` and `propagate_next`. One tile is a block of query positions; its keys
are the block of positions within reach, of all frames, so that one matmul gives all scores that the tile can need.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vfs_jax.correspondence.affinity import (
    Number,
    Window,
    accumulation_dtype,
    inverse_norm,
    product_dtype,
    window_offsets,
)

# Rows and columns of a tile: the matmul's waste grows with the tile, its speed too.
_TILE = (6, 9)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Features:
    """Feature maps of some frames, laid out for the search.

    Attributes:
        values: arrays [frames, h, w, c], one behind the other; several so that a frame can be handed on uncopied.
        scales: arrays [frames, h, w] like values, or (): what the dot products of a position are multiplied with.
    """

    values: tuple[jax.Array, ...]
    scales: tuple[jax.Array, ...]

    @property
    def num_frames(self) -> int:
        """Number of frames in all arrays together."""
        return sum(len(value) for value in self.values)


class KeyGroup(NamedTuple):
    """Key frames that share a window.

    Attributes:
        features: t frames.
        labels: their labels [t, h, w, l].
        radius: reach of the window in grid cells; None for none.
        order: int [t], where the frames are stored, in order of time; None where that is the order of storage.
        valid: bool [t] in order of storage, False for what is no key; None where all are.
    """

    features: Features
    labels: jax.Array
    radius: Number | None
    order: jax.Array | None = None
    valid: jax.Array | None = None


def check_options(radius: Number | None, window: Window, topk: int | None = 1, temperature: Number = 1.0) -> None:
    """Raise ValueError when an option that every propagating function takes is out of range."""
    window_offsets(radius, window, 1, 1)
    if topk is not None and topk < 1:
        raise ValueError(f"topk must be None or at least 1, got {topk}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")


def lay_out(frames: jax.Array, normalize: bool) -> Features:
    """Make frames [t, h, w, c] ready for the search, divided by their norms if so asked.

    Wide floats are divided here, once. 16-bit floats are left as they are and their scores are multiplied later, since
    rounding the quotient to 16 bits would change the scores.
    """
    if not normalize:
        return Features((frames,), ())
    scale = inverse_norm(frames)
    if frames.dtype.itemsize < 4:
        return Features((frames,), (scale,))
    return Features((frames * scale[..., None].astype(frames.dtype),), ())


def _blocks(arrays: tuple[jax.Array, ...], row: jax.Array, col: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Cut the same block of positions out of every frame: [t, rows * cols, ...]."""
    cut = []
    for array in arrays:
        start = (0, row, col) + (0,) * (array.ndim - 3)
        block = jax.lax.dynamic_slice(array, start, (len(array), *shape, *array.shape[3:]))
        cut.append(block.reshape(len(array), shape[0] * shape[1], *array.shape[3:]))
    return jnp.concatenate(cut) if len(cut) > 1 else cut[0]


def _scan_tiles(
    visit: Callable[..., tuple[jax.Array, ...]],
    query: Features,
    keys: Features,
    reach: tuple[int, int],
) -> tuple:
    """Call `visit` for every tile and put its results, [tile positions, ...] each, back on the grid.

    visit(scores [p, t, n], rows [p], cols [p], (row, col, key rows, key cols)) sees the positions of its tile and the
    scores with the block of n = key rows * key cols key positions that starts at (row, col).
    """
    height, width = query.values[0].shape[1:3]
    tile = (min(_TILE[0], height), min(_TILE[1], width))
    block = (min(tile[0] + 2 * reach[0], height), min(tile[1] + 2 * reach[1], width))
    counts = (-(-height // tile[0]), -(-width // tile[1]))
    padding = ((0, 0), (0, counts[0] * tile[0] - height), (0, counts[1] * tile[1] - width))
    padded = Features(
        tuple(jnp.pad(value, (*padding, (0, 0))) for value in query.values),
        tuple(jnp.pad(scale, padding) for scale in query.scales),
    )
    dtype = product_dtype(*query.values, *keys.values)

    def one(index: jax.Array) -> tuple[jax.Array, ...]:
        row, col = index // counts[1] * tile[0], index % counts[1] * tile[1]
        key_row = jnp.clip(row - reach[0], 0, height - block[0])
        key_col = jnp.clip(col - reach[1], 0, width - block[1])
        scores = jnp.einsum(
            "pc,tnc->ptn",
            _blocks(padded.values, row, col, tile)[0].astype(dtype),
            _blocks(keys.values, key_row, key_col, block).astype(dtype),
            preferred_element_type=accumulation_dtype(*query.values, *keys.values),
            precision=jax.lax.Precision.HIGHEST,
        )
        if query.scales:
            scores *= _blocks(query.scales, row, col, tile)[0][:, None, None].astype(scores.dtype)
        if keys.scales:
            scores *= _blocks(keys.scales, key_row, key_col, block)[None].astype(scores.dtype)
        rows, cols = (np.indices(tile)).reshape(2, -1)
        return visit(scores, row + rows, col + cols, (key_row, key_col, *block))

    results = jax.lax.map(one, jnp.arange(counts[0] * counts[1]))

    def assemble(result: jax.Array) -> jax.Array:
        rest = result.shape[2:]
        result = result.reshape(*counts, *tile, *rest).swapaxes(1, 2)
        return result.reshape(counts[0] * tile[0], counts[1] * tile[1], *rest)[:height, :width]

    return jax.tree.map(assemble, results)


def _allowed(
    steps: np.ndarray, rows: jax.Array, cols: jax.Array, block: tuple, grid: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """Find the key positions of every query's window: index into the block [p, offsets], and whether on the grid."""
    key_row, key_col, block_rows, block_cols = block
    target_rows = rows[:, None] + steps[:, 0][None]
    target_cols = cols[:, None] + steps[:, 1][None]
    inside = (target_rows >= 0) & (target_rows < grid[0]) & (target_cols >= 0) & (target_cols < grid[1])
    index = (target_rows - key_row) * block_cols + target_cols - key_col
    return jnp.clip(index, 0, block_rows * block_cols - 1), inside


def _best_positions(scores: jax.Array, frames: Callable[[], jax.Array], count: int) -> jax.Array:
    """Pick the `count` best of the n positions by (score, then lowest frame, then lowest position), in any order.

    scores [p, n] is the best score of every position; frames() gives the lowest frame that reaches it. `lax.top_k`
    breaks ties by position alone, so ties at the border of the choice, which are rare, take the long way.
    """
    if scores.shape[1] == count:
        return jnp.broadcast_to(jnp.arange(count), scores.shape)
    best, chosen = jax.lax.top_k(scores, count + 1)
    last = best[:, count - 1]
    tied = jnp.any((last == best[:, count]) & (last > -jnp.inf))

    def by_frame() -> jax.Array:
        first = jnp.where(scores == last[:, None], frames(), np.iinfo(np.int32).max)
        surely = scores > last[:, None]
        rank = jnp.where(surely, -1, first)
        return jnp.argsort(rank, axis=1, stable=True)[:, :count].astype(chosen.dtype)

    return jax.lax.cond(tied, by_frame, lambda: chosen[:, :count])


def best_keys(query: Features, keys: KeyGroup, *, window: Window, topk: int) -> tuple[jax.Array, jax.Array]:
    """Find the exact top-k keys of every query position, over all frames and all positions in its window.

    The window depends on the position only, so the best score of a position over all frames decides which positions
    can hold one of the top k: every entry among the top k lies in one of the k best positions. Hence: the maximum over
    frames, the k best positions in the window, and the k best of their k * t scores.

    Args:
        query: one frame.
        keys: t frames on the same grid.
        window: "circle" or "square".
        topk: how many keys at most.

    Returns:
        Scores [h, w, k'] in falling order, -inf for missing ones, and indices [h, w, k'] into the flat [t, h, w] of
        the frames as stored; k' <= topk. Of equal scores the lowest (frame, row, column) comes first.
    """
    height, width = query.values[0].shape[1:3]
    frames = keys.features.num_frames
    steps = window_offsets(keys.radius, window, height, width)
    positions = min(topk, height * width, len(steps))
    count = min(topk, positions * frames)
    if count == 0:
        dtype = accumulation_dtype(*query.values, *keys.features.values)
        return jnp.zeros((height, width, 0), dtype), jnp.zeros((height, width, 0), np.int32)
    reach = (int(steps[:, 0].max()), int(steps[:, 1].max()))
    everything = reach == (height - 1, width - 1) and len(steps) == (2 * height - 1) * (2 * width - 1)

    def visit(scores: jax.Array, rows: jax.Array, cols: jax.Array, block: tuple) -> tuple[jax.Array, jax.Array]:
        if keys.valid is not None:
            scores = jnp.where(keys.valid[None, :, None], scores, -jnp.inf)
        best = scores.max(axis=1)
        if everything:
            index = jnp.broadcast_to(jnp.arange(best.shape[1]), best.shape)
            inside = jnp.ones(best.shape, bool)
        else:
            index, inside = _allowed(steps, rows, cols, block, (height, width))
            best = jnp.where(inside, jnp.take_along_axis(best, index, axis=1), -jnp.inf)

        def chronological(array: jax.Array) -> jax.Array:
            return array if keys.order is None else array[:, keys.order]

        def first_frame() -> jax.Array:
            first = jnp.argmax(chronological(scores), axis=1).astype(np.int32)
            return first if everything else jnp.take_along_axis(first, index, axis=1)

        # Sorted, so that of equal scores in a frame the lowest position comes first.
        picked = jnp.sort(_best_positions(best, first_frame, positions), axis=1)
        index = jnp.take_along_axis(index, picked, axis=1)
        inside = jnp.take_along_axis(inside, picked, axis=1)
        candidates = jnp.take_along_axis(scores, index[:, None, :], axis=2)
        candidates = chronological(jnp.where(inside[:, None, :], candidates, -jnp.inf))
        top, winner = jax.lax.top_k(candidates.reshape(len(candidates), -1), count)
        frame, slot = winner // positions, winner % positions
        if keys.order is not None:
            frame = keys.order[frame]
        place = jnp.take_along_axis(index, slot, axis=1)
        row, col = block[0] + place // block[3], block[1] + place % block[3]
        return top, (frame * height + row) * width + col

    return _scan_tiles(visit, query, keys.features, reach)


def all_keys(
    query: Features, keys: KeyGroup, *, window: Window, temperature: Number
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sum the labels of all allowed keys, weighted by exp((score - largest) / temperature).

    Args:
        query: one frame.
        keys: t frames on the same grid.
        window: "circle" or "square".
        temperature: divides the scores.

    Returns:
        The largest score [h, w] (-inf where no key is allowed), the sum of weights [h, w], the sum of weighted labels
        [h, w, l].
    """
    height, width = query.values[0].shape[1:3]
    steps = window_offsets(keys.radius, window, height, width)
    dtype = accumulation_dtype(*query.values, *keys.features.values)
    if len(steps) == 0:
        nothing = jnp.zeros((height, width), dtype)
        return nothing - jnp.inf, nothing, jnp.zeros((height, width, keys.labels.shape[-1]), dtype)
    reach = (int(steps[:, 0].max()), int(steps[:, 1].max()))
    table = np.zeros((2 * height - 1, 2 * width - 1), bool)
    table[steps[:, 0] + height - 1, steps[:, 1] + width - 1] = True

    def visit(
        scores: jax.Array, rows: jax.Array, cols: jax.Array, block: tuple
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        key_rows, key_cols = np.indices(block[2:]).reshape(2, -1)
        row_steps = block[0] + key_rows[None] - rows[:, None] + height - 1
        col_steps = block[1] + key_cols[None] - cols[:, None] + width - 1
        allowed = jnp.asarray(table)[row_steps, col_steps][:, None, :]
        if keys.valid is not None:
            allowed &= keys.valid[None, :, None]
        scores = jnp.where(allowed, scores, -jnp.inf)
        largest = scores.max(axis=(1, 2))
        shift = jnp.where(jnp.isfinite(largest), largest, 0)
        weights = jnp.exp((scores - shift[:, None, None]) / temperature)
        values = _blocks((keys.labels,), block[0], block[1], block[2:]).astype(dtype)
        blended = jnp.einsum("ptn,tnl->pl", weights, values, precision=jax.lax.Precision.HIGHEST)
        return largest, weights.sum(axis=(1, 2)), blended

    return _scan_tiles(visit, query, keys.features, reach)


def _softmax_blend(scores: jax.Array, labels: jax.Array, temperature: Number) -> jax.Array:
    """Average labels [..., k, l] with softmax(scores [..., k] / temperature); zeros where every score is -inf."""
    largest = scores.max(axis=-1, keepdims=True, initial=-jnp.inf)
    weights = jnp.exp((scores - jnp.where(jnp.isfinite(largest), largest, 0)) / temperature)
    total = weights.sum(axis=-1, keepdims=True)
    weights /= jnp.where(total > 0, total, 1)
    return jnp.einsum("...k,...kl->...l", weights, labels.astype(scores.dtype), precision=jax.lax.Precision.HIGHEST)


def blend_labels(
    query: Features, groups: list[KeyGroup], *, window: Window, topk: int | None, temperature: Number
) -> jax.Array:
    """Give every query position the softmax-weighted labels of its best keys.

    Args:
        query: one frame.
        groups: the key frames, first frames first.
        window: "circle" or "square".
        topk: how many keys share the weight; None for all that are allowed.
        temperature: divides the scores.

    Returns:
        Labels [h, w, l], float32.
    """
    if topk is None:
        sums = [all_keys(query, keys, window=window, temperature=temperature) for keys in groups]
        largest = functools.reduce(jnp.maximum, (part[0] for part in sums))
        shift = jnp.where(jnp.isfinite(largest), largest, 0)
        factors = [jnp.exp((part[0] - shift) / temperature) for part in sums]
        total = sum(factor * part[1] for factor, part in zip(factors, sums, strict=True))
        blended = sum(factor[..., None] * part[2] for factor, part in zip(factors, sums, strict=True))
        return (blended / jnp.where(total > 0, total, 1)[..., None]).astype(np.float32)
    scores, labels = [], []
    for keys in groups:
        top, index = best_keys(query, keys, window=window, topk=topk)
        scores.append(top)
        labels.append(keys.labels.reshape(-1, keys.labels.shape[-1])[index])
    best, values = jnp.concatenate(scores, axis=-1), jnp.concatenate(labels, axis=-2)
    if len(groups) > 1 and best.shape[-1] > topk:
        best, index = jax.lax.top_k(best, topk)
        values = jnp.take_along_axis(values, index[..., None], axis=-2)
    return _softmax_blend(best, values, temperature).astype(np.float32)
