"""Search of the best keys of every query position, inside its window only; shared by all functions that propagate.

The frame is cut into blocks of columns. For one block of query columns, and for one key frame, the key columns within
reach are cut out and split into strips of rows; each strip is compared, in batched matmuls, with the rows of the query
block within its reach. So nearly every product that is computed lies in somebody's window, the scores of a block
are the largest array there is, and no key is stored twice.
"""

import functools
from collections.abc import Callable, Iterator
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

# Rows of a strip of keys and columns of a block of queries. Larger ones make faster matmuls that compute more scores
# outside the windows; the best balance is flat around these.
_STRIP_ROWS = 6
_BLOCK_COLS = 6
# Queries that are compared at once where there is no window.
_CHUNK = 64
# Frames that are compared at a time. XLA's CPU runs a batched matmul of this size on one core, so two fill two cores.
_AT_ONCE = 2


class Frames(NamedTuple):
    """Feature maps, laid out for the search.

    Attributes:
        values: features [frames, h, w, c].
        scales: what the dot products of a position are multiplied with [frames, h, w]; None for 1.
    """

    values: jax.Array
    scales: jax.Array | None


class KeyGroup(NamedTuple):
    """Key frames that share a window.

    Attributes:
        frames: t frames in one or several pieces, so that a frame can be handed on without copying it.
        labels: their labels [t, h, w, l].
        radius: reach of the window in grid cells; None for none.
        order: int [t], where the frames are stored, in order of time; None where that is the order of storage.
        valid: bool [t] in order of storage, False for what is no key; None where all are.
    """

    frames: tuple[Frames, ...]
    labels: jax.Array
    radius: Number | None
    order: jax.Array | None = None
    valid: jax.Array | None = None


class _Block(NamedTuple):
    """The scores of some query positions, and where in them the scores lie that each position may use.

    Attributes:
        scores: arrays [frames, n], one for each piece of the key frames: all scores of the block.
        where: int [p, s], where in n the score of a position with the key of step s is; of no meaning where outside.
        place: int [p, s], that key's position on the flat grid; of no meaning where outside.
        inside: bool [p, s], whether that key is on the grid.
    """

    scores: list[jax.Array]
    where: jax.Array
    place: jax.Array
    inside: jax.Array


def check_options(radius: Number | None, window: Window, topk: int | None = 1, temperature: Number = 1.0) -> None:
    """Raise ValueError when an option that every propagating function takes is out of range."""
    window_offsets(radius, window, 1, 1)
    if topk is not None and topk < 1:
        raise ValueError(f"topk must be None or at least 1, got {topk}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")


def lay_out(features: jax.Array, normalize: bool) -> Frames:
    """Make features [t, h, w, c] ready for the search, divided by their norms if so asked.

    Wide floats are divided here, once. 16-bit floats are left as they are and their scores are multiplied later, since
    rounding the quotient to 16 bits would change the scores.
    """
    if not normalize:
        return Frames(features, None)
    scales = inverse_norm(features)
    if features.dtype.itemsize < 4:
        return Frames(features, scales)
    return Frames(features * scales[..., None], None)


def _score(query: Frames, keys: Frames) -> jax.Array:
    """Multiply queries [..., p, c] with keys [..., n, c] -> [..., p, n], summed in float32 at least."""
    dtype = product_dtype(query.values, keys.values)
    scores = jnp.einsum(
        "...pc,...nc->...pn",
        query.values.astype(dtype),
        keys.values.astype(dtype),
        preferred_element_type=accumulation_dtype(query.values, keys.values),
        precision=jax.lax.Precision.HIGHEST,
    )
    if query.scales is not None:
        scores *= query.scales[..., :, None].astype(scores.dtype)
    if keys.scales is not None:
        scores *= keys.scales[..., None, :].astype(scores.dtype)
    return scores


def _score_frames(
    queries: list[Frames], cut: Callable[[Frames, jax.Array], list[Frames]], keys: tuple[Frames, ...]
) -> list[jax.Array]:
    """Score each of the queries with what `cut` takes for it from a frame: for each piece of the keys [frames, n]."""
    now = jnp.zeros((), np.int32)

    def score(frame: Frames, after: jax.Array = now) -> jax.Array:
        # Rows [1, n] are joined by copying; XLA would put flat ones into a loop over elements, which is far slower.
        pairs = zip(queries, cut(frame, after), strict=True)
        return jnp.concatenate([_score(query, part).reshape(1, -1) for query, part in pairs], axis=1)

    results: list[jax.Array] = []
    for piece in keys:
        if len(piece.values) > 1:
            results.append(jax.lax.map(score, piece)[:, 0])
            continue
        # All cuts together are several times as large as the scores. A number that is always 0, though XLA cannot know,
        # and that earlier scores decide, makes it take a few at a time.
        after = now
        if len(results) >= _AT_ONCE:
            last = results[-_AT_ONCE][0, 0]
            after = (jnp.isnan(last) & (last < 0)).astype(np.int32)
        results.append(score(jax.tree.map(lambda array: array[0], piece), after))
    return results


def _pad_end(array: jax.Array, axis: int, size: int) -> jax.Array:
    """Add zeros at the end of one axis until it is `size` long."""
    return jnp.pad(array, [(0, size - length if number == axis else 0) for number, length in enumerate(array.shape)])


def _window_blocks(
    choose: Callable[[_Block], tuple], query: Frames, keys: tuple[Frames, ...], steps: np.ndarray
) -> tuple:
    """Score the query frame block by block against the keys in its windows, and let `choose` look at each block.

    Args:
        choose: called with the block; returns arrays [p, ...].
        query: one frame, values [1, h, w, c].
        keys: frames on the same grid.
        steps: (row, col) steps that the window allows, [s, 2].

    Returns:
        The arrays that `choose` returned, on the grid: [h, w, ...].
    """
    height, width = query.values.shape[1:3]
    row_reach, col_reach = (int(reach) for reach in abs(steps).max(axis=0))
    # A strip of keys holds `rows` rows and is compared with `near` rows of queries; a block of queries has `cols`
    # columns and is compared with `wide` columns of keys. Near the border the larger of two is moved inwards.
    # Strips at the border have fewer rows near them: a strip at the top and one at the bottom are a group of their own.
    rows, cols = min(_STRIP_ROWS, height), min(_BLOCK_COLS, width)
    wide = min(cols + 2 * col_reach, width)
    strips, blocks = -(-height // rows), -(-width // cols)
    numbers = np.arange(strips)
    near_start = np.maximum(numbers * rows - row_reach, 0)
    near = np.minimum((numbers + 1) * rows + row_reach, height) - near_start
    near = np.maximum(near, near[::-1])
    near_start = np.minimum(near_start, height - near)
    groups = [np.flatnonzero(near == size) for size in np.unique(near)]
    order = np.concatenate(groups)
    near_before = np.zeros(strips, int)
    near_before[order] = near[order].cumsum() - near[order]

    # Where the score of query row y with the key of a step lies in [near, cols, rows, wide] of all strips, group by
    # group: a part that rows decide, [h, 1, s], one that columns decide, [1, cols, s], and one that the block decides.
    key_rows = np.arange(height)[:, None] + steps[:, 0]
    on_rows = (key_rows >= 0) & (key_rows < height)
    strip, row = np.divmod(np.clip(key_rows, 0, height - 1), rows)
    near_row = np.arange(height)[:, None] - near_start[strip]
    row_part = ((near_before[strip] + near_row) * cols * rows + row) * wide
    key_cols = np.arange(cols)[:, None] + steps[:, 1]
    col_part = np.arange(cols)[:, None] * rows * wide + key_cols
    padded = jax.tree.map(lambda array: _pad_end(array[0], 1, blocks * cols), query)

    def one(number: jax.Array) -> tuple:
        col = number * cols
        key_col = jnp.clip(col - col_reach, 0, width - wide)

        def near_rows(group: np.ndarray, array: jax.Array) -> jax.Array:
            block = jax.lax.dynamic_slice_in_dim(array, col, cols, axis=1)
            strip = jnp.stack([block[near_start[n] : near_start[n] + near[n]] for n in group])
            return strip.reshape(len(group), -1, *array.shape[2:])

        def key_strips(group: np.ndarray, after: jax.Array, array: jax.Array) -> jax.Array:
            runs = np.split(group, np.flatnonzero(np.diff(group) > 1) + 1)
            blocks = [array[run[0] * rows : (run[-1] + 1) * rows] for run in runs]
            blocks = [jax.lax.dynamic_slice_in_dim(block, key_col + after, wide, axis=1) for block in blocks]
            strip = _pad_end(jnp.concatenate(blocks), 0, len(group) * rows)
            return strip.reshape(len(group), rows * wide, *array.shape[2:])

        def cut(frame: Frames, after: jax.Array) -> list[Frames]:
            return [jax.tree.map(functools.partial(key_strips, group, after), frame) for group in groups]

        queries = [jax.tree.map(functools.partial(near_rows, group), padded) for group in groups]

        def spread(row_table: np.ndarray, col_table: np.ndarray, offset: jax.Array) -> jax.Array:
            table = jnp.asarray(row_table, np.int32)[:, None] + jnp.asarray(col_table, np.int32)[None] + offset
            return table.reshape(-1, len(steps))

        # Queries that only pad the last block get no key: their scores, all 0, would count as ties.
        on_cols = (key_cols + col >= 0) & (key_cols + col < width) & (np.arange(cols)[:, None] + col < width)
        return choose(
            _Block(
                scores=_score_frames(queries, cut, keys),
                where=spread(row_part, col_part, col - key_col),
                place=spread(key_rows * width, key_cols, col),
                inside=(jnp.asarray(on_rows)[:, None] & on_cols[None]).reshape(-1, len(steps)),
            )
        )

    results = jax.lax.map(one, jnp.arange(blocks, dtype=np.int32))

    def assemble(result: jax.Array) -> jax.Array:
        result = result.reshape(blocks, height, cols, *result.shape[2:])
        return jnp.moveaxis(result, 0, 1).reshape(height, blocks * cols, *result.shape[3:])[:, :width]

    return jax.tree.map(assemble, results)


def _full_blocks(choose: Callable[[_Block], tuple], query: Frames, keys: tuple[Frames, ...]) -> tuple:
    """Score the query frame against all positions of the keys, some queries at a time; as `_window_blocks`."""
    height, width = query.values.shape[1:3]
    size = height * width
    count = min(_CHUNK, size)
    blocks = -(-size // count)

    def chunks(array: jax.Array) -> jax.Array:
        flat = _pad_end(array.reshape(size, *array.shape[3:]), 0, blocks * count)
        return flat.reshape(blocks, count, *flat.shape[1:])

    def one(queries: Frames) -> tuple:
        def flatten(frame: Frames, _: jax.Array) -> list[Frames]:
            return [jax.tree.map(lambda array: array.reshape(size, *array.shape[2:]), frame)]

        place = jnp.broadcast_to(jnp.arange(size, dtype=np.int32), (count, size))
        index = jnp.arange(count * size, dtype=np.int32).reshape(count, size)
        return choose(_Block(_score_frames([queries], flatten, keys), index, place, jnp.ones(index.shape, bool)))

    def assemble(result: jax.Array) -> jax.Array:
        return result.reshape(blocks * count, *result.shape[2:])[:size].reshape(height, width, *result.shape[2:])

    return jax.tree.map(assemble, jax.lax.map(one, jax.tree.map(chunks, query)))


def _in_time(scores: jax.Array, keys: KeyGroup, inside: jax.Array) -> jax.Array:
    """Bring scores [t, p, k] into order of time, [p, t, k], -inf where no key is; inside [p, k]: on the grid."""
    allowed = inside[None] if keys.valid is None else inside[None] & keys.valid[:, None, None]
    scores = jnp.where(allowed, scores, -jnp.inf)
    return (scores if keys.order is None else scores[keys.order]).swapaxes(0, 1)


def _gather(block: _Block, keys: KeyGroup, index: jax.Array, inside: jax.Array) -> jax.Array:
    """Look up the scores of all frames at index [p, k]: [p, t, k] in order of time, -inf where no key is."""
    scores = jnp.concatenate([jnp.take(piece, index, axis=1, mode="clip") for piece in block.scores])
    return _in_time(scores, keys, inside)


def _valid_scores(block: _Block, keys: KeyGroup) -> Iterator[jax.Array]:
    """Give the scores [frames, n] piece by piece, -inf where the frame is no key."""
    start = 0
    for piece in block.scores:
        valid = None if keys.valid is None else keys.valid[start : start + len(piece), None]
        start += len(piece)
        yield piece if valid is None else jnp.where(valid, piece, -jnp.inf)


def _top_steps(ranked: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pick the `count` best steps by their scores [p, s], of which there are more.

    Returns:
        The last score that was picked [p, 1], the steps [p, count], and whether it ties with one that was not picked.
    """
    # The barrier keeps XLA from joining the slices below to the choice, which would turn it into a full sort.
    # One barrier each: XLA's rewriting of top_k fails on a barrier around both.
    best, chosen = (jax.lax.optimization_barrier(part) for part in jax.lax.top_k(ranked, count + 1))
    last = best[:, count - 1 : count]
    return last, chosen[:, :count], jnp.any((last == best[:, count:]) & (last > -jnp.inf))


def _best_steps(block: _Block, keys: KeyGroup, count: int) -> jax.Array:
    """Pick, for every query position, the steps [p, count] that can lead to its `count` best keys, in rising order.

    The window depends on the position only, so a step's best score over all frames tells whether it can hold one of the
    best keys: every key among the best lies at one of the best steps. Steps rank by (score, lowest frame that reaches
    it, lowest position), as keys do. `lax.top_k` knows nothing of frames; where that matters, which is when a tie
    crosses the border of the choice, the steps are sorted.
    """
    if block.where.shape[1] == count:
        return jnp.broadcast_to(jnp.arange(count, dtype=np.int32), block.where.shape)
    largest = functools.reduce(jnp.maximum, (piece.max(axis=0) for piece in _valid_scores(block, keys)))
    ranked = jnp.where(block.inside, jnp.take(largest, block.where, mode="clip"), -jnp.inf)
    last, chosen, tied = _top_steps(ranked, count)

    def by_frame() -> jax.Array:
        never, start = np.int32(np.iinfo(np.int32).max), 0
        ages = jnp.arange(len(keys.labels), dtype=np.int32)
        ages = ages if keys.order is None else jnp.zeros_like(ages).at[keys.order].set(ages)
        oldest = jnp.full(largest.shape, never)
        for piece in _valid_scores(block, keys):
            reached = jnp.where(piece == largest[None], ages[start : start + len(piece), None], never)
            oldest, start = jnp.minimum(oldest, reached.min(axis=0)), start + len(piece)
        frame = jnp.take(oldest, block.where, mode="clip")
        rank = jnp.where(ranked > last, -1, jnp.where(ranked == last, frame, never))
        return jax.lax.top_k(-rank, count)[1]

    return jnp.sort(jax.lax.cond(tied, by_frame, lambda: chosen), axis=1)


def _best_keys(candidates: jax.Array, place: jax.Array, keys: KeyGroup, topk: int) -> tuple[jax.Array, jax.Array]:
    """Find the top-k of candidates [p, t, k] that lie at place [p, k].

    Returns:
        Scores [p, k], falling, -inf for missing ones, and labels [p, k, l].
    """
    positions, frames, steps = candidates.shape
    best, winner = jax.lax.top_k(candidates.reshape(positions, frames * steps), min(topk, frames * steps))
    frame = winner // steps if keys.order is None else keys.order[winner // steps]
    place = jnp.take_along_axis(place, winner % steps, axis=1)
    height, width, size = keys.labels.shape[1:]
    labels = keys.labels.reshape(-1, height * width, size)
    return best, labels[frame, jnp.clip(place, 0, height * width - 1)]


def _choose_best(block: _Block, keys: KeyGroup, topk: int) -> tuple[jax.Array, jax.Array]:
    """Find the top-k keys of every position: scores [p, k], falling, -inf for missing ones, and labels [p, k, l]."""
    picked = _best_steps(block, keys, min(topk, block.where.shape[1]))
    index, place, inside = (jnp.take_along_axis(table, picked, axis=1) for table in block[1:])
    return _best_keys(_gather(block, keys, index, inside), place, keys, topk)


@functools.cache
def _has_hopper() -> bool:
    """Tell whether this process computes on GPUs that have the instructions of `window_maxima`."""
    devices = jax.local_devices() if jax.default_backend() == "gpu" else []
    return bool(devices) and all(device.compute_capability == "9.0" for device in devices)


def _kernel_best(
    query: Frames, keys: KeyGroup, steps: np.ndarray, topk: int, if_tied: Callable[[], tuple]
) -> tuple[jax.Array, jax.Array]:
    """Do what `_choose_best` does, for a whole frame, with the kernel: scores [h, w, k] and labels [h, w, k, l].

    The kernel gives the best score of every step, which tells the steps that matter; the scores of these are computed
    again, for all frames. Where a tie crosses the border of the choice, `if_tied` gives the result.
    """
    # Imported here, since it takes a third of a second that only GPUs repay.
    from vfs_jax.correspondence.hopper import window_maxima

    height, width = query.values.shape[1:3]
    known = query.values[0], keys.frames, keys.valid
    largest = window_maxima(*jax.lax.stop_gradient(known), steps).reshape(height * width, len(steps))
    _, chosen, tied = _top_steps(largest, topk)

    def score_again() -> tuple[jax.Array, jax.Array]:
        picked = jnp.sort(chosen, axis=1)
        moves = jnp.asarray(steps[:, 0] * width + steps[:, 1], np.int32)
        place = jnp.arange(height * width, dtype=np.int32)[:, None] + moves[picked]

        def near(array: jax.Array) -> jax.Array:
            flat = array.reshape(len(array), height * width, *array.shape[3:])
            return jnp.take(flat, place, axis=1, mode="clip").astype(np.float32)

        def score(piece: Frames) -> jax.Array:
            values = query.values.reshape(height * width, -1).astype(np.float32)
            exact = jax.lax.Precision.HIGHEST
            scores = jnp.einsum("pc,tpkc->tpk", values, near(piece.values), precision=exact)
            return scores if piece.scales is None else scores * near(piece.scales)

        scores = jnp.concatenate([score(piece) for piece in keys.frames])
        if query.scales is not None:
            scores *= query.scales.reshape(1, -1, 1)
        inside = jnp.take_along_axis(largest, picked, axis=1) > -jnp.inf
        best, labels = _best_keys(_in_time(scores, keys, inside), place, keys, topk)
        return best.reshape(height, width, -1), labels.reshape(height, width, *labels.shape[1:])

    return jax.lax.cond(tied, if_tied, score_again)


def _search_window(query: Frames, keys: KeyGroup, steps: np.ndarray, topk: int) -> tuple[jax.Array, jax.Array]:
    """Find the top-k keys inside the window for a frame: scores [h, w, k] and labels [h, w, k, l]."""

    def by_blocks() -> tuple[jax.Array, jax.Array]:
        return _window_blocks(lambda block: _choose_best(block, keys, topk), query, keys.frames, steps)

    if not _has_hopper():
        return by_blocks()
    from vfs_jax.correspondence.hopper import fits

    dtype = product_dtype(query.values, keys.frames[0].values)
    if len(steps) <= topk or not fits(dtype, steps):
        return by_blocks()

    def by_kernel() -> tuple[jax.Array, jax.Array]:
        return _kernel_best(query, keys, steps, topk, if_tied=by_blocks)

    return jax.lax.platform_dependent(cuda=by_kernel, default=by_blocks)


def _choose_all(block: _Block, keys: KeyGroup, temperature: Number) -> tuple[jax.Array, jax.Array]:
    """Blend all keys of every position into one: score [p, 1], labels [p, 1, l].

    The score is temperature * log(sum of exp(score / temperature)), by which this one key weighs in a softmax with
    others as much as all of them.
    """
    scores = _gather(block, keys, block.where, block.inside)
    labels = keys.labels if keys.order is None else keys.labels[keys.order]
    labels = labels.reshape(len(labels), -1, labels.shape[-1])
    labels = jnp.take(labels, block.place, axis=1, mode="clip").swapaxes(0, 1)
    positions, frames, steps = scores.shape
    scores = scores.reshape(positions, frames * steps)
    total = temperature * jax.nn.logsumexp(scores / temperature, axis=1, keepdims=True)
    return total, _softmax_blend(scores, labels.reshape(positions, frames * steps, -1), temperature)[:, None]


def _softmax_blend(scores: jax.Array, labels: jax.Array, temperature: Number) -> jax.Array:
    """Average labels [..., k, l] with softmax(scores [..., k] / temperature); zeros where every score is -inf."""
    largest = scores.max(axis=-1, keepdims=True)
    weights = jnp.exp((scores - jnp.where(largest > -jnp.inf, largest, 0)) / temperature)
    total = weights.sum(axis=-1, keepdims=True)
    weights /= jnp.where(total > 0, total, 1)
    return jnp.einsum("...k,...kl->...l", weights, labels.astype(scores.dtype), precision=jax.lax.Precision.HIGHEST)


def blend_labels(
    query: Frames, groups: list[KeyGroup], *, window: Window, topk: int | None, temperature: Number
) -> jax.Array:
    """Give every query position the softmax-weighted labels of its best keys.

    Args:
        query: one frame, values [1, h, w, c].
        groups: the key frames, first frames first.
        window: "circle" or "square".
        topk: how many keys share the weight; None for all that are allowed.
        temperature: divides the scores.

    Returns:
        Labels [h, w, l], float32.
    """
    height, width = query.values.shape[1:3]
    scores, labels = [], []
    for keys in groups:

        def choose(block: _Block, keys: KeyGroup = keys) -> tuple[jax.Array, jax.Array]:
            return _choose_all(block, keys, temperature) if topk is None else _choose_best(block, keys, topk)

        steps = window_offsets(keys.radius, window, height, width)
        if keys.radius is None:
            best, values = _full_blocks(choose, query, keys.frames)
        elif len(steps) == 0:
            continue
        elif topk is None:
            best, values = _window_blocks(choose, query, keys.frames, steps)
        else:
            best, values = _search_window(query, keys, steps, topk)
        scores.append(best)
        labels.append(values)
    if not scores:
        return jnp.zeros((height, width, groups[0].labels.shape[-1]), np.float32)
    best, values = jnp.concatenate(scores, axis=-1), jnp.concatenate(labels, axis=-2)
    if topk is not None and best.shape[-1] > topk:
        best, index = jax.lax.top_k(best, topk)
        values = jnp.take_along_axis(values, index[..., None], axis=-2)
    return _softmax_blend(best, values, temperature).astype(np.float32)
