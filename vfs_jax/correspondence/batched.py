"""The largest score of every query and key position over all key frames, by few large batched matmuls in XLA.

Frames are cut into square tiles, the same for queries and keys. A tile of keys, of all key frames at once, is
multiplied with the tiles of queries whose windows reach it: the tile at its place and a halo of whole tiles. So no key
is copied for each of the windows it lies in, which queries are, of which there is one frame; and what is computed
for a tile of queries is found by shifting whole tiles, without looking up single scores. A row of tiles is one matmul.

GPUs multiply 16-bit floats several times as fast as float32. There, float32 features are split into two float16 parts
and multiplied in three products, which is as exact as float32 (halves.py).
"""

import jax
import jax.numpy as jnp
import numpy as np

from vfs_jax.correspondence.affinity import product_dtype
from vfs_jax.correspondence.halves import split_float32
from vfs_jax.correspondence.key_groups import KeyGroup, in_time, matches_among, scale_and_bias
from vfs_jax.correspondence.largest_scores import LargestScores
from vfs_jax.correspondence.tiles import FeatureMaps, score_pairs

# Side of a tile. Halos of whole tiles of this side fit the windows of radius 12 and 18 without a margin.
_SIDE = 6
# Scores that are computed at a time where there is no window.
_SCORES = 2**25


def largest_over_frames(query: FeatureMaps, keys: KeyGroup, offsets: np.ndarray, *, split: bool) -> LargestScores:
    """Give every query position the largest score of every key position in its window over all key frames.

    Args:
        query: one frame, values [1, h, w, c].
        keys: the key frames.
        offsets: (row, column) offsets in the window, [o, 2].
        split: multiply float32 features as float16 parts.

    Returns:
        The scores, without the scale of the query.
    """
    height, width = query.values.shape[1:3]
    rows, cols = -(-height // _SIDE), -(-width // _SIDE)  # of tiles
    row_halo, col_halo = (-(-int(halo) // _SIDE) for halo in abs(offsets).max(axis=0))  # in tiles
    halo_rows, halo_cols = (2 * row_halo + 1) * _SIDE, 2 * col_halo + 1
    below, right = rows * _SIDE - height, cols * _SIDE - width
    dtype = product_dtype(query.values, keys.frames[0].values)
    split &= dtype == np.float32

    queries = query.values[0].astype(dtype)
    if split:
        high, low, _ = split_float32(queries)  # the scale changes no order
        queries = jnp.concatenate([high, low, high], axis=-1)
    around = ((row_halo * _SIDE, row_halo * _SIDE + below), (col_halo * _SIDE, col_halo * _SIDE + right), (0, 0))
    queries = jnp.pad(queries, around)
    scale, bias = scale_and_bias(keys)
    scale = jnp.pad(scale, ((0, 0), (0, below), (0, 0)))
    bias = jnp.pad(bias, ((0, 0), (0, below), (0, 0)), constant_values=-np.inf)

    def score_row(number: jax.Array) -> jax.Array:
        """Score a row of tiles of keys: largest scores [cols, keys of a tile, queries of a tile and its halo]."""
        first = number * _SIDE
        band = jax.lax.dynamic_slice_in_dim(queries, first, halo_rows).reshape(halo_rows, -1, _SIDE, queries.shape[-1])
        halos = jnp.stack([band[:, shift : shift + cols] for shift in range(halo_cols)], axis=2)
        halos = halos.swapaxes(0, 1).reshape(cols, halo_rows * halo_cols * _SIDE, -1)

        def cut(row: jax.Array, beyond: float = 0) -> jax.Array:
            """Cut rows of frames [t, side, w, ...] into tiles: [cols, t * keys of a tile, ...]."""
            margin = (0, 0), (0, 0), (0, right), *[(0, 0)] * (row.ndim - 3)
            row = jnp.pad(row, margin, constant_values=beyond).reshape(len(row), _SIDE, cols, _SIDE, *row.shape[3:])
            return jnp.moveaxis(row, 2, 0).reshape(cols, -1, *row.shape[4:])

        # Rows below the grid repeat its last one and are no keys.
        key_rows = jnp.minimum(first + np.arange(_SIDE), height - 1)
        pieces = [jnp.take(piece.values, key_rows, axis=1, mode="clip") for piece in keys.frames]
        values = cut(jnp.concatenate(pieces).astype(dtype))
        row_scale, row_bias = (
            cut(jax.lax.dynamic_slice_in_dim(part, first, _SIDE, axis=1), beyond)
            for part, beyond in ((scale, 0), (bias, -np.inf))
        )
        if split:
            high, low, own = split_float32(values)
            values, row_scale = jnp.concatenate([high, high, low], axis=-1), row_scale * own
        scores = jnp.einsum(
            "bkc,bqc->bkq",
            values,
            halos,
            preferred_element_type=scale.dtype,
            precision=jax.lax.Precision.HIGHEST,
        )
        scores = scores * row_scale[..., None] + row_bias[..., None]
        return scores.reshape(cols, keys.num_frames, _SIDE**2, -1).max(axis=1)

    largest = jax.lax.map(score_row, jnp.arange(rows, dtype=np.int32))
    shape = (rows, cols, _SIDE**2, 2 * row_halo + 1, _SIDE, halo_cols, _SIDE)
    tiles_around = (row_halo, row_halo), (col_halo, col_halo), *[(0, 0)] * 5
    largest = jnp.pad(largest.reshape(shape), tiles_around, constant_values=-np.inf)
    # A tile of keys that lies `down` tiles below a tile of queries has that tile `down` tiles above itself.
    shifts = [(down, over) for down in range(2 * row_halo + 1) for over in range(halo_cols)]
    tiles = [
        largest[down : down + rows, over : over + cols, :, 2 * row_halo - down, :, 2 * col_halo - over]
        for down, over in shifts
    ]
    scores = jnp.stack(tiles, axis=-1).transpose(0, 3, 1, 4, 5, 2)  # [rows, side, cols, side, shifts, keys of a tile]

    # Where their keys lie, from a tile's first position, and which are in the window: the same for every tile.
    down, over = (np.array(shifts) - (row_halo, col_halo)).T[:, :, None] * _SIDE
    side = np.arange(_SIDE)
    key_row = (down + np.repeat(side, _SIDE)).ravel()
    key_col = (over + np.tile(side, _SIDE)).ravel()
    window = np.zeros((2 * halo_rows, 2 * halo_cols * _SIDE), bool)  # offset 0 is in the middle
    window[offsets[:, 0] + halo_rows, offsets[:, 1] + halo_cols * _SIDE] = True
    within = window[key_row - side[:, None, None] + halo_rows, key_col - side[:, None] + halo_cols * _SIDE]
    scores = jnp.where(within[:, None], scores.reshape(*scores.shape[:4], -1), -jnp.inf)
    scores = scores.reshape(rows * _SIDE, cols * _SIDE, -1)[:height, :width]
    origin = (np.arange(height) // _SIDE * _SIDE)[:, None] * width + np.arange(width) // _SIDE * _SIDE
    return LargestScores(scores, origin, key_row * width + key_col)


def match_everywhere(query: FeatureMaps, keys: KeyGroup, topk: int) -> tuple[jax.Array, jax.Array]:
    """Find the topk matches of every query among all positions: scores and index [h, w, k], as `matches_among`."""
    height, width = query.values.shape[1:3]
    query, frames = query._replace(kernel=None), [piece._replace(kernel=None) for piece in keys.frames]
    size = height * width
    count = max(1, min(size, _SCORES // (keys.num_frames * size)))
    chunks = -(-size // count)
    position = jnp.broadcast_to(jnp.arange(size, dtype=np.int32), (count, size))
    allowed = (
        jnp.ones((count, size), bool) if keys.mask is None else jnp.broadcast_to(keys.mask.reshape(-1), (count, size))
    )

    def match(queries: FeatureMaps) -> tuple[jax.Array, jax.Array]:
        flat = (jax.tree.map(lambda a: a.reshape(len(a), size, *a.shape[3:]), piece) for piece in frames)
        scores = [jax.vmap(lambda one: score_pairs(queries, one))(piece) for piece in flat]
        return matches_among(in_time(jnp.concatenate(scores), keys, allowed), position, keys, topk)

    def cut(array: jax.Array) -> jax.Array:
        flat = array.reshape(size, *array.shape[3:])
        flat = jnp.pad(flat, [(0, chunks * count - size)] + [(0, 0)] * (flat.ndim - 1))
        return flat.reshape(chunks, count, *flat.shape[1:])

    matches = jax.lax.map(match, jax.tree.map(cut, query))
    return tuple(part.reshape(chunks * count, -1)[:size].reshape(height, width, -1) for part in matches)
