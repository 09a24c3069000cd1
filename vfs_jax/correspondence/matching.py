"""Find the best matches of every query position among the keys in its window.

    score[q, t, p] = dot(query[q], key[t, p])     for every key frame t and every position p in the window of q
    matches[q]     = the topk largest of score[q]; of equals the lowest (t, row, column)

Exact, without sorting all scores. The window is the same in every frame, so an offset's largest score over the frames
tells whether any key at that offset can be a match: the topk best offsets hold all matches. A first choice takes these
offsets, a second one the matches among their topk * t scores. The largest scores over the frames come from one of two
backends: tiles.py, in XLA for any device, and hopper.py, one kernel for GPUs that have its instructions.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from vfs_jax.correspondence.affinity import Window, product_dtype, window_offsets
from vfs_jax.correspondence.arguments import Number, checked
from vfs_jax.correspondence.tiles import FeatureMaps, Tile, feature_maps, map_full_tiles, map_window_tiles


@dataclasses.dataclass(frozen=True)
class SearchSpec:
    """Which keys a query position may match, and whether scores are cosines.

    Attributes:
        radius: of the window in grid cells; None for no window.
        window: "circle" (Euclidean distance < radius) or "square" (both row and column distance <= radius).
        first_frame_windowed: False frees the first key frame from the window.
        normalize: divide every feature vector by max(its Euclidean norm, 1e-12) first.
    """

    radius: Number | None
    window: Window
    first_frame_windowed: bool
    normalize: bool

    def __post_init__(self) -> None:
        window_offsets(self.radius, self.window, 1, 1)

    @property
    def first_frame_free(self) -> bool:
        """Whether the first key frame has another window than the rest."""
        return not self.first_frame_windowed and self.radius is not None


class KeyGroup(NamedTuple):
    """Key frames that share a window.

    Attributes:
        frames: t frames in one or several pieces, so that a frame can be handed on without copying it.
        radius: of the window in grid cells; None for none.
        order: int [t], where the frames are stored, in order of time; None where that is the order of storage.
        valid: bool [t] in order of storage, False for frames that are no keys; None where all are.
        mask: bool [h, w], False for positions that are keys in no frame; None where all are. It costs less than a mask
            for each frame, which its feature maps hold.
    """

    frames: tuple[FeatureMaps, ...]
    radius: Number | None
    order: jax.Array | None = None
    valid: jax.Array | None = None
    mask: jax.Array | None = None

    @property
    def num_frames(self) -> int:
        """The number of frames."""
        return sum(len(piece.values) for piece in self.frames)


def group_frames(keys: jax.Array, spec: SearchSpec, valid: jax.Array | None, mask: jax.Array | None) -> list[KeyGroup]:
    """Sort key frames [t, h, w, c] into groups that share a window; valid: [t], mask: [h, w] or [t, h, w]."""
    shared, own = (mask, None) if mask is None or mask.ndim == 2 else (None, mask)
    maps = feature_maps(keys, normalize=spec.normalize, mask=own)

    def group(frames: slice, radius: Number | None) -> KeyGroup:
        piece = jax.tree.map(lambda array: array[frames], maps)
        return KeyGroup((piece,), radius, valid=None if valid is None else valid[frames], mask=shared)

    if not spec.first_frame_free:
        return [group(slice(None), spec.radius)]
    rest = [group(slice(1, None), spec.radius)] if len(keys) > 1 else []
    return [group(slice(1), None), *rest]


def _in_time(scores: jax.Array, keys: KeyGroup, in_bounds: jax.Array) -> jax.Array:
    """Bring scores [t, q, o] into order of time, [q, t, o], -inf where no key is; in_bounds: bool [q, o]."""
    allowed = in_bounds[None] if keys.valid is None else in_bounds[None] & keys.valid[:, None, None]
    scores = jnp.where(allowed, scores, -jnp.inf)
    return (scores if keys.order is None else scores[keys.order]).swapaxes(0, 1)


def scores_at(tile: Tile, keys: KeyGroup, pair: jax.Array, in_bounds: jax.Array) -> jax.Array:
    """Look up the scores of all frames at pair [q, o]: [q, t, o] in order of time, -inf where no key is."""
    scores = jnp.concatenate([jnp.take(piece, pair, axis=1, mode="clip") for piece in tile.scores])
    return _in_time(scores, keys, in_bounds)


def _valid_scores(tile: Tile, keys: KeyGroup) -> Iterator[jax.Array]:
    """Give the scores [t, n] piece by piece, -inf where the frame is no key."""
    start = 0
    for piece in tile.scores:
        valid = None if keys.valid is None else keys.valid[start : start + len(piece), None]
        start += len(piece)
        yield piece if valid is None else jnp.where(valid, piece, -jnp.inf)


def _top_offsets(largest: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
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
    last, chosen, tied = _top_offsets(ranked, count)

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


def _matches_among(
    candidates: jax.Array, position: jax.Array, keys: KeyGroup, topk: int
) -> tuple[jax.Array, jax.Array]:
    """Find the topk matches among candidates [q, t, o], in order of time, that lie at position [q, o].

    Returns:
        Scores [q, k], falling, -inf for missing ones, and index [q, k]: frame, as stored, * h * w + position.
    """
    queries, frames, offsets = candidates.shape
    scores, chosen = jax.lax.top_k(candidates.reshape(queries, frames * offsets), min(topk, frames * offsets))
    frame = chosen // offsets if keys.order is None else keys.order[chosen // offsets]
    size = keys.frames[0].values.shape[1] * keys.frames[0].values.shape[2]
    return scores, frame * size + jnp.clip(jnp.take_along_axis(position, chosen % offsets, axis=1), 0, size - 1)


def match_tile(tile: Tile, keys: KeyGroup, topk: int) -> tuple[jax.Array, jax.Array]:
    """Find the topk matches of every query of a tile: scores and index [q, k], as `_matches_among`."""
    candidates = _candidate_offsets(tile, keys, min(topk, tile.pair.shape[1]))
    pair, position, in_bounds = (jnp.take_along_axis(table, candidates, axis=1) for table in tile[1:])
    return _matches_among(scores_at(tile, keys, pair, in_bounds), position, keys, topk)


@functools.cache
def _has_hopper() -> bool:
    """Tell whether this process computes on GPUs that have the instructions of hopper.py."""
    devices = jax.local_devices() if jax.default_backend() == "gpu" else []
    return bool(devices) and all(device.compute_capability == "9.0" for device in devices)


def _match_by_kernel(
    query: FeatureMaps, keys: KeyGroup, offsets: np.ndarray, topk: int, if_tied: Callable[[], tuple]
) -> tuple[jax.Array, jax.Array]:
    """Do what `match_tile` does, for a whole frame, with the kernel: scores and index [h, w, k].

    The kernel gives every offset's largest score, which tells the candidates; their scores are computed again, for all
    frames. Where a tie crosses the border of the choice, `if_tied` gives the result.
    """
    # Imported here, since it takes a third of a second that only GPUs repay.
    from vfs_jax.correspondence.hopper import largest_over_frames

    height, width = query.values.shape[1:3]
    known = query.values[0], keys.frames, keys.valid, keys.mask
    largest = largest_over_frames(*jax.lax.stop_gradient(known), offsets).reshape(height * width, len(offsets))
    _, chosen, tied = _top_offsets(largest, topk)

    def score_again() -> tuple[jax.Array, jax.Array]:
        candidates = jnp.sort(chosen, axis=1)
        flat_offsets = jnp.asarray(offsets[:, 0] * width + offsets[:, 1], np.int32)
        position = jnp.arange(height * width, dtype=np.int32)[:, None] + flat_offsets[candidates]

        def at_candidates(array: jax.Array) -> jax.Array:
            return jnp.take(array.reshape(len(array), height * width, *array.shape[3:]), position, axis=1, mode="clip")

        def score(piece: FeatureMaps) -> jax.Array:
            values = query.values.reshape(height * width, -1).astype(np.float32)
            exact = jax.lax.Precision.HIGHEST
            key_values = at_candidates(piece.values).astype(np.float32)
            scores = jnp.einsum("qc,tqoc->tqo", values, key_values, precision=exact)
            if piece.scales is not None:
                scores *= at_candidates(piece.scales)
            return scores if piece.mask is None else jnp.where(at_candidates(piece.mask), scores, -jnp.inf)

        scores = jnp.concatenate([score(piece) for piece in keys.frames])
        if query.scales is not None:
            scores *= query.scales.reshape(1, -1, 1)
        in_bounds = jnp.take_along_axis(largest, candidates, axis=1) > -jnp.inf
        matches = _matches_among(_in_time(scores, keys, in_bounds), position, keys, topk)
        return matches[0].reshape(height, width, -1), matches[1].reshape(height, width, -1)

    return jax.lax.cond(tied, if_tied, score_again)


def map_tiles(choose: Callable[[Tile], tuple], query: FeatureMaps, keys: KeyGroup, offsets: np.ndarray) -> tuple:
    """Let `choose` reduce the scores of the query frame tile by tile, in its windows if there are any."""

    def choose_keys(tile: Tile) -> tuple:
        if keys.mask is None:
            return choose(tile)
        unmasked = jnp.take(keys.mask.reshape(-1), tile.position, mode="clip")
        return choose(tile._replace(in_bounds=tile.in_bounds & unmasked))

    if keys.radius is None:
        return map_full_tiles(choose_keys, query, keys.frames)
    return map_window_tiles(choose_keys, query, keys.frames, offsets)


def _match_frame(query: FeatureMaps, keys: KeyGroup, offsets: np.ndarray, topk: int) -> tuple[jax.Array, jax.Array]:
    """Find the topk matches of a frame, by the backend for it: scores and index [h, w, k], as `_matches_among`."""

    def by_tiles() -> tuple[jax.Array, jax.Array]:
        return map_tiles(lambda tile: match_tile(tile, keys, topk), query, keys, offsets)

    if keys.radius is None or len(offsets) <= topk or not _has_hopper():
        return by_tiles()
    from vfs_jax.correspondence.hopper import fits

    if not fits(product_dtype(query.values, keys.frames[0].values), offsets):
        return by_tiles()

    def by_kernel() -> tuple[jax.Array, jax.Array]:
        return _match_by_kernel(query, keys, offsets, topk, if_tied=by_tiles)

    return jax.lax.platform_dependent(cuda=by_kernel, default=by_tiles)


def windows(query: FeatureMaps, groups: list[KeyGroup], window: Window) -> Iterator[tuple[KeyGroup, np.ndarray, int]]:
    """Give each group whose window is not empty, the offsets in it, and the number of frames before the group."""
    before = 0
    for keys in groups:
        offsets = window_offsets(keys.radius, window, *query.values.shape[1:3])
        if len(offsets):
            yield keys, offsets, before
        before += keys.num_frames


def search(query: FeatureMaps, groups: list[KeyGroup], *, window: Window, topk: int) -> tuple[jax.Array, jax.Array]:
    """Find the topk matches of every query position.

    Args:
        query: one frame, values [1, h, w, c].
        groups: the key frames, first frames first.
        window: "circle" or "square".
        topk: how many matches.

    Returns:
        Scores [h, w, k], falling, -inf for missing ones, and index [h, w, k] int32: number of the frame among those of
        all groups, as stored, * h * w + row * w + column. k is topk, or less where there are fewer keys.
    """
    height, width = query.values.shape[1:3]
    results = []
    for keys, offsets, before in windows(query, groups, window):
        scores, index = _match_frame(query, keys, offsets, topk)
        results.append((scores, index + before * height * width))
    if not results:
        return jnp.full((height, width, 1), -jnp.inf, np.float32), jnp.zeros((height, width, 1), np.int32)
    scores, index = (jnp.concatenate(parts, axis=-1) for parts in zip(*results, strict=True))
    if scores.shape[-1] > topk:
        scores, chosen = jax.lax.top_k(scores, topk)
        index = jnp.take_along_axis(index, chosen, axis=-1)
    return scores, index


@functools.partial(jax.jit, static_argnames=("spec", "topk"))
def _top_matches(
    query: jax.Array,
    keys: jax.Array,
    key_valid: jax.Array | None,
    key_mask: jax.Array | None,
    *,
    spec: SearchSpec,
    topk: int,
) -> tuple[jax.Array, jax.Array]:
    groups = group_frames(keys, spec, key_valid, key_mask)
    query_maps = feature_maps(query[None], normalize=spec.normalize)
    scores, index = search(query_maps, groups, window=spec.window, topk=topk)
    height, width = query.shape[:2]
    frame, position = index // (height * width), index % (height * width)
    where = jnp.stack([frame, position // width, position % width], axis=-1)
    where = jnp.where(scores[..., None] > -jnp.inf, where, -1)
    missing = (0, 0), (0, 0), (0, topk - scores.shape[-1])
    scores = jnp.pad(scores.astype(np.float32), missing, constant_values=-jnp.inf)
    return scores, jnp.pad(where, (*missing, (0, 0)), constant_values=-1)


@checked
def top_matches(
    query: Float[Array | np.ndarray, "h w c"],
    keys: Float[Array | np.ndarray, "t h w c"],
    *,
    radius: Number | None,
    topk: int | None,
    window: Window = "circle",
    first_frame_windowed: bool = True,
    key_valid: Bool[Array | np.ndarray, " t"] | None = None,
    key_mask: Bool[Array | np.ndarray, "h w"] | Bool[Array | np.ndarray, "t h w"] | None = None,
    normalize: bool = True,
) -> tuple[Float[Array, "h w k"], Int32[Array, "h w k 3"]]:
    """Find the best matches of every position of a frame among the positions of other frames.

    What `propagate_frame` blends the labels of. The scores can be differentiated; the work is that of the window, as
    there, and no array over all pairs of positions is built.

    Args:
        query: features [h, w, c] of a frame, any float.
        keys: features [t, h, w, c] of the frames to search, in order of time; keys[0] is the first frame.
        radius: of the window in grid cells; None allows every position.
        topk: number of matches, at least 1.
        window: "circle" (Euclidean distance < radius; write sqrt(r * r + 0.5) for "<= r") or "square" (both row and
            column distance <= radius).
        first_frame_windowed: False lets keys[0] be searched without a window.
        key_valid: bool [t], False removes a whole frame.
        key_mask: bool [h, w], or [t, h, w] for each frame its own, False removes a position.
        normalize: divide every feature vector by max(its Euclidean norm, 1e-12) first, so that scores are cosines.

    Returns:
        Scores [h, w, k], float32, falling, -inf where there are fewer keys; and where the matches are, [h, w, k, 3],
        int32 (frame, row, column), -1 where there are fewer. Of equal scores the lowest (frame, row, column) is first.

    Raises:
        ValueError: an option is out of range, topk is None, or an axis has length 0.
        TypeError: the shapes do not fit each other, an array has a type other than stated, or an option is traced.

    Example:
        >>> import jax.numpy as jnp
        >>> frame = jnp.eye(6).reshape(2, 3, 6)  # every position looks like itself alone
        >>> scores, index = top_matches(jnp.roll(frame, 1, axis=1), frame[None], radius=None, topk=1)
        >>> scores[0, :, 0].tolist(), index[0, :, 0].tolist()
        ([1.0, 1.0, 1.0], [[0, 0, 2], [0, 0, 0], [0, 0, 1]])
    """
    if topk is None or topk < 1:
        raise ValueError(f"topk must be a number, at least 1, got {topk}")
    spec = SearchSpec(radius, window, first_frame_windowed, normalize)
    arrays = (None if array is None else jnp.asarray(array) for array in (query, keys, key_valid, key_mask))
    return _top_matches(*arrays, spec=spec, topk=topk)
