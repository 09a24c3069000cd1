"""Scores of a frame's queries with the keys in their windows, computed by tiles of queries and halos of keys in XLA.

A tile of queries is some columns of the frame, all rows. The keys that its windows reach, the tile's halo, are cut out
of one key frame and split into key tiles of some rows. Each key tile is multiplied, in batched matmuls, with those
query rows of the tile whose windows reach it. So nearly every product that is computed lies in somebody's window, the
scores of one tile are the largest array there is, and no key is stored twice.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vfs_jax.correspondence.affinity import accumulation_dtype, product_dtype, scale_and_inverse_norm

# Columns of a tile of queries and rows of a tile of keys. Larger ones make faster matmuls that compute more scores
# outside the windows; the best balance is flat around these.
_QUERY_COLS = 6
_KEY_ROWS = 6
# Queries of a tile where there is no window.
_QUERIES = 64
# Key frames in flight. XLA's CPU runs a batched matmul of this size on one core, so two fill two cores.
_IN_FLIGHT = 2


class KernelMaps(NamedTuple):
    """Features as a kernel reads them.

    Attributes:
        parts: arrays [t, rows, cols, channels] whose sum, times the scale, the features are, padded on all sides.
        scale: float32 [t, h, w].
    """

    parts: tuple[jax.Array, ...]
    scale: jax.Array


class FeatureMaps(NamedTuple):
    """Feature maps, ready to be multiplied with each other.

    Attributes:
        values: features [t, h, w, c].
        scales: what the products of a position are multiplied with [t, h, w]; None for 1.
        mask: bool [t, h, w], False for positions that are no keys; None where all are.
        kernel: the features as a kernel reads them, laid out once for all products with them; None where none does.
    """

    values: jax.Array
    scales: jax.Array | None
    mask: jax.Array | None = None
    kernel: KernelMaps | None = None


class Tile(NamedTuple):
    """The scores of q queries, and which of them belong to a query and the key at an offset from it.

    Attributes:
        scores: arrays [t, n], one for each piece of the key frames: n pairs of a query and a key.
        pair: int [q, o], which of the n pairs a query and the key at offset o are; of no meaning out of bounds.
        position: int [q, o], row * width + column of that key; of no meaning out of bounds.
        in_bounds: bool [q, o], whether that position is on the grid.
    """

    scores: list[jax.Array]
    pair: jax.Array
    position: jax.Array
    in_bounds: jax.Array


def feature_maps(features: jax.Array, *, normalize: bool, mask: jax.Array | None = None) -> FeatureMaps:
    """Make features [t, h, w, c] ready to be multiplied, divided by their norms if so asked; mask: [t, h, w] or None.

    Wide floats are divided here, once. 16-bit floats keep their digits and their scores are multiplied later, since
    rounding the quotient to 16 bits would change the scores.
    """
    if not normalize:
        return FeatureMaps(features, None, mask)
    values, scales = scale_and_inverse_norm(features)
    if values.dtype.itemsize < 4:
        return FeatureMaps(values, scales, mask)
    return FeatureMaps(values * scales[..., None], None, mask)


def score_pairs(query: FeatureMaps, keys: FeatureMaps) -> jax.Array:
    """Multiply queries [..., q, c] with keys [..., k, c] -> [..., q, k], summed in float32 at least."""
    dtype = product_dtype(query.values, keys.values)
    scores = jnp.einsum(
        "...qc,...kc->...qk",
        query.values.astype(dtype),
        keys.values.astype(dtype),
        preferred_element_type=accumulation_dtype(query.values, keys.values),
        precision=jax.lax.Precision.HIGHEST,
    )
    if query.scales is not None:
        scores *= query.scales[..., :, None].astype(scores.dtype)
    if keys.scales is not None:
        scores *= keys.scales[..., None, :].astype(scores.dtype)
    return scores if keys.mask is None else jnp.where(keys.mask[..., None, :], scores, -jnp.inf)


def _score_frames(
    queries: list[FeatureMaps],
    cut: Callable[[FeatureMaps, jax.Array], list[FeatureMaps]],
    keys: tuple[FeatureMaps, ...],
) -> list[jax.Array]:
    """Score each of the queries with what `cut` takes for it from a frame: for each piece of the keys [t, n]."""
    now = jnp.zeros((), np.int32)

    def score(frame: FeatureMaps, after: jax.Array = now) -> jax.Array:
        # Rows [1, n] are joined by copying; XLA would put flat ones into a loop over elements, which is far slower.
        pairs = zip(queries, cut(frame, after), strict=True)
        return jnp.concatenate([score_pairs(query, part).reshape(1, -1) for query, part in pairs], axis=1)

    results: list[jax.Array] = []
    for piece in keys:
        if len(piece.values) > 1:
            results.append(jax.lax.map(score, piece)[:, 0])
            continue
        # All cuts together are several times as large as the scores. A number that is always 0, though XLA cannot know,
        # and that earlier scores decide, makes it take a few at a time.
        after = now
        if len(results) >= _IN_FLIGHT:
            last = results[-_IN_FLIGHT][0, 0]
            after = (jnp.isnan(last) & (last < 0)).astype(np.int32)
        results.append(score(jax.tree.map(lambda array: array[0], piece), after))
    return results


def _pad_end(array: jax.Array, axis: int, size: int) -> jax.Array:
    """Add zeros at the end of one axis until it is `size` long."""
    return jnp.pad(array, [(0, size - length if number == axis else 0) for number, length in enumerate(array.shape)])


class _Tiling(NamedTuple):
    """How a grid is cut into tiles; an axis that is shorter than a tile is one tile.

    Attributes:
        query_cols: columns of a tile of queries.
        query_tiles: tiles of queries; the last one may pass the grid's end.
        key_rows: rows of a key tile; the last one may pass the grid's end.
        key_cols: columns of a key tile: those of the tile of queries and its halo, at most the grid's.
        col_halo: columns that the window reaches.
        first_query_row: int [key tiles], the first query row that is multiplied with each key tile.
        query_rows: int [key tiles], how many these are; fewer at the border, where a halo ends with the grid.
    """

    query_cols: int
    query_tiles: int
    key_rows: int
    key_cols: int
    col_halo: int
    first_query_row: np.ndarray
    query_rows: np.ndarray

    def groups(self) -> list[np.ndarray]:
        """List the numbers of key tiles that have equally many query rows, so that one batched matmul takes them."""
        return [np.flatnonzero(self.query_rows == size) for size in np.unique(self.query_rows)]


def _tiling(height: int, width: int, offsets: np.ndarray) -> _Tiling:
    row_halo, col_halo = (int(halo) for halo in abs(offsets).max(axis=0))
    query_cols, key_rows = min(_QUERY_COLS, width), min(_KEY_ROWS, height)
    first_key_row = np.arange(-(-height // key_rows)) * key_rows
    first_query_row = np.maximum(first_key_row - row_halo, 0)
    query_rows = np.minimum(first_key_row + key_rows + row_halo, height) - first_query_row
    # A key tile at the top and its counterpart at the bottom take equally many rows, to be of one group.
    query_rows = np.maximum(query_rows, query_rows[::-1])
    return _Tiling(
        query_cols=query_cols,
        query_tiles=-(-width // query_cols),
        key_rows=key_rows,
        key_cols=min(query_cols + 2 * col_halo, width),
        col_halo=col_halo,
        first_query_row=np.minimum(first_query_row, height - query_rows),
        query_rows=query_rows,
    )


def map_window_tiles(
    choose: Callable[[Tile], tuple], query: FeatureMaps, keys: tuple[FeatureMaps, ...], offsets: np.ndarray
) -> tuple:
    """Score the query frame tile by tile with the keys in its windows, and let `choose` reduce each tile's scores.

    Args:
        choose: called with a tile; returns arrays [q, ...].
        query: one frame, values [1, h, w, c].
        keys: frames on the same grid, in one or several pieces.
        offsets: (row, column) offsets in the window, [o, 2].

    Returns:
        The arrays that `choose` returned, on the grid: [h, w, ...].
    """
    height, width = query.values.shape[1:3]
    tiling = _tiling(height, width, offsets)
    cols, key_rows, key_cols = tiling.query_cols, tiling.key_rows, tiling.key_cols
    groups = tiling.groups()
    order = np.concatenate(groups)
    rows_before = np.zeros(len(order), int)
    rows_before[order] = tiling.query_rows[order].cumsum() - tiling.query_rows[order]

    # Which of the pairs [query rows, cols, key rows, key cols] of all key tiles, group by group, a query and the key at
    # an offset are: a part that rows decide, [h, 1, o], one that columns decide, [1, cols, o], and a shift of the tile.
    row_of_key = np.arange(height)[:, None] + offsets[:, 0]
    row_in_bounds = (row_of_key >= 0) & (row_of_key < height)
    key_tile, row_in_tile = np.divmod(np.clip(row_of_key, 0, height - 1), key_rows)
    query_row = rows_before[key_tile] + np.arange(height)[:, None] - tiling.first_query_row[key_tile]
    row_part = (query_row * cols * key_rows + row_in_tile) * key_cols
    col_of_key = np.arange(cols)[:, None] + offsets[:, 1]
    col_part = np.arange(cols)[:, None] * key_rows * key_cols + col_of_key
    padded = jax.tree.map(lambda array: _pad_end(array[0], 1, tiling.query_tiles * cols), query)

    def reduce_tile(number: jax.Array) -> tuple:
        col = number * cols
        key_col = jnp.clip(col - tiling.col_halo, 0, width - key_cols)  # moved inwards at the border

        def cut_queries(group: np.ndarray, array: jax.Array) -> jax.Array:
            tile = jax.lax.dynamic_slice_in_dim(array, col, cols, axis=1)
            spans = zip(tiling.first_query_row[group], tiling.query_rows[group], strict=True)
            rows = jnp.stack([tile[start : start + count] for start, count in spans])
            return rows.reshape(len(group), -1, *array.shape[2:])

        def cut_keys(group: np.ndarray, after: jax.Array, array: jax.Array) -> jax.Array:
            runs = np.split(group, np.flatnonzero(np.diff(group) > 1) + 1)
            rows = [array[run[0] * key_rows : (run[-1] + 1) * key_rows] for run in runs]
            rows = [jax.lax.dynamic_slice_in_dim(part, key_col + after, key_cols, axis=1) for part in rows]
            tiles = _pad_end(jnp.concatenate(rows), 0, len(group) * key_rows)
            return tiles.reshape(len(group), key_rows * key_cols, *array.shape[2:])

        def cut(frame: FeatureMaps, after: jax.Array) -> list[FeatureMaps]:
            return [jax.tree.map(functools.partial(cut_keys, group, after), frame) for group in groups]

        def add(row_table: np.ndarray, col_table: np.ndarray, shift: jax.Array) -> jax.Array:
            table = jnp.asarray(row_table, np.int32)[:, None] + jnp.asarray(col_table, np.int32)[None] + shift
            return table.reshape(-1, len(offsets))

        # Queries that only pad the last tile get no key: their scores, all 0, would count as ties.
        col_in_bounds = (col_of_key + col >= 0) & (col_of_key + col < width) & (np.arange(cols)[:, None] + col < width)
        queries = [jax.tree.map(functools.partial(cut_queries, group), padded) for group in groups]
        return choose(
            Tile(
                scores=_score_frames(queries, cut, keys),
                pair=add(row_part, col_part, col - key_col),
                position=add(row_of_key * width, col_of_key, col),
                in_bounds=(jnp.asarray(row_in_bounds)[:, None] & col_in_bounds[None]).reshape(-1, len(offsets)),
            )
        )

    results = jax.lax.map(reduce_tile, jnp.arange(tiling.query_tiles, dtype=np.int32))

    def assemble(result: jax.Array) -> jax.Array:
        result = result.reshape(tiling.query_tiles, height, cols, *result.shape[2:])
        return jnp.moveaxis(result, 0, 1).reshape(height, -1, *result.shape[3:])[:, :width]

    return jax.tree.map(assemble, results)


def map_full_tiles(choose: Callable[[Tile], tuple], query: FeatureMaps, keys: tuple[FeatureMaps, ...]) -> tuple:
    """Score the query frame with all positions of the keys, some queries at a time; as `map_window_tiles`."""
    height, width = query.values.shape[1:3]
    size = height * width
    count = min(_QUERIES, size)
    tiles = -(-size // count)

    def cut_queries(array: jax.Array) -> jax.Array:
        flat = _pad_end(array.reshape(size, *array.shape[3:]), 0, tiles * count)
        return flat.reshape(tiles, count, *flat.shape[1:])

    def reduce_tile(queries: FeatureMaps) -> tuple:
        def flatten(frame: FeatureMaps, _: jax.Array) -> list[FeatureMaps]:
            return [jax.tree.map(lambda array: array.reshape(size, *array.shape[2:]), frame)]

        position = jnp.broadcast_to(jnp.arange(size, dtype=np.int32), (count, size))
        pair = jnp.arange(count * size, dtype=np.int32).reshape(count, size)
        return choose(Tile(_score_frames([queries], flatten, keys), pair, position, jnp.ones(pair.shape, bool)))

    def assemble(result: jax.Array) -> jax.Array:
        return result.reshape(tiles * count, *result.shape[2:])[:size].reshape(height, width, *result.shape[2:])

    return jax.tree.map(assemble, jax.lax.map(reduce_tile, jax.tree.map(cut_queries, query)))
