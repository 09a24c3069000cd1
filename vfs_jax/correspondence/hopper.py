"""The largest score of every query and key position over all key frames, as one kernel for Hopper GPUs.

One program a pair of a tile of 8x8 queries and a tile of keys in its halo. Scores stay on the chip: of the t scores of
a query and a key position, only the largest is written. Halos are moved inwards at the border of the grid, so that keys
are read from where they are kept. The kernel is written in Pallas for Mosaic GPU. Its matmul instruction (wgmma) takes
16-bit floats and sums in float32; float32 features come in two float16 parts, which are split once, when a frame
becomes a key, and multiplied in three products, which is as exact as float32 (`halves.py`).

Where the kernel is used, `jax.export` takes one platform at a time, since Pallas lowers no kernel for several.
"""

import functools
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas
from jax.experimental.pallas import mosaic_gpu

from vfs_jax.correspondence.affinity import product_dtype
from vfs_jax.correspondence.halves import split_float32
from vfs_jax.correspondence.key_groups import KeyGroup, scale_and_bias
from vfs_jax.correspondence.largest_scores import LargestScores
from vfs_jax.correspondence.tiles import FeatureMaps, KernelMaps

# Pallas hands a kernel several kinds of references, which share no public type.
_Ref = Any
_Tiles = TypeVar("_Tiles", jax.Array, np.ndarray)

# Side of a tile of queries: 64 of them, which the matmul instruction takes as rows.
_TILE = 8
_QUERIES = _TILE * _TILE
# Fetches in flight: as many as leave room for two programs on a multiprocessor.
_STAGES = 3
# Most keys of a program, the columns of the matmul: its sums and maxima lie in registers, which hold 64 times 192 of
# each.
_MOST_KEYS = 192
MOST_COLS = _MOST_KEYS - _TILE + 1


class _Tiling(NamedTuple):
    """How a frame is cut into programs: one for each tile of queries and tile of keys in its halo.

    Attributes:
        grid: rows and columns of the key frames as `prepare` pads them.
        margin: columns of padding on the left, so that all halos begin at a multiple of 8 columns.
        query_tiles: tiles of queries in both directions.
        halo: rows and columns that the window reaches.
        key_rows: rows of a tile of keys.
        key_cols: columns of a tile of keys: those of a tile of queries and its halo, rounded up to 8.
        key_tiles: tiles of keys, below each other, for a tile of queries.
    """

    grid: tuple[int, int]
    margin: int
    query_tiles: tuple[int, int]
    halo: tuple[int, int]
    key_rows: int
    key_cols: int
    key_tiles: int

    @property
    def keys(self) -> int:
        """Keys of a tile."""
        return self.key_rows * self.key_cols

    def first_row(self, query_tile: _Tiles) -> _Tiles:
        """Row of the grid at which the keys of a row of query tiles begin."""
        return (query_tile * _TILE - self.halo[0]).clip(0, self.grid[0] - self.key_tiles * self.key_rows)

    def first_col(self, query_tile: _Tiles) -> _Tiles:
        """Column of the padded grid at which the keys of a column of query tiles begin."""
        return (query_tile - self.halo[1] // 8).clip(0, (self.grid[1] - self.key_cols) // 8) * 8


def _tiling(height: int, width: int, offsets: np.ndarray) -> _Tiling:
    row_halo, col_halo = (int(halo) for halo in abs(offsets).max(axis=0))
    halo_rows, key_cols = _TILE + 2 * row_halo, -(-(_TILE + 2 * col_halo) // 8) * 8
    key_tiles = -(-halo_rows // (_MOST_KEYS // key_cols))
    key_rows = -(-halo_rows // key_tiles)
    margin = col_halo % 8
    grid = max(height, key_tiles * key_rows), max(-(-(margin + width) // 8) * 8, key_cols)
    return _Tiling(
        grid, margin, (-(-height // _TILE), -(-width // _TILE)), (row_halo, col_halo), key_rows, key_cols, key_tiles
    )


def fits(dtype: jax.typing.DTypeLike, offsets: np.ndarray) -> bool:
    """Tell whether the kernel takes features of this type and this window."""
    cols = 2 * abs(offsets).max(axis=0)[1] + 1
    return jnp.dtype(dtype) in (jnp.float32, jnp.bfloat16, jnp.float16) and bool(cols <= MOST_COLS)


def _run(tiling: _Tiling, queries: jax.Array, keys: tuple[jax.Array, ...], adjust: jax.Array) -> jax.Array:
    """Run the kernel.

    Args:
        tiling: the cut into programs.
        queries: [tile rows, tile cols, 64, parts * c], the parts whose sum a feature is behind each other.
        keys: one array [t, rows, cols, c] for each part.
        adjust: what the scores of a key are multiplied with and what is then added, for the columns of each tile of
            keys [t, tile cols, 2, rows * key cols], float32.

    Returns:
        Largest scores over t [tile rows, tile cols, 64, key tiles * keys], float32.
    """
    parts, (frames, *_, channels) = len(keys), keys[0].shape
    chunk = _chunk(parts)
    chunks = channels // chunk
    stages = min(_STAGES, frames * chunks)
    # (query part, key part) of the products, without the one below float32's last digit.
    products = ((0, 0), (1, 0), (0, 1))[: 2 * parts - 1]

    def body(query_ref: _Ref, *references: _Ref) -> None:
        key_refs = references[:parts]
        adjust_ref, out_ref, query_part, key_part, adjust_part, arrived, adjust_arrived = references[parts:]
        row, col, key_tile = (lax.axis_index(name) for name in ("row", "col", "key_tile"))
        first_row = tiling.first_row(row) + key_tile * tiling.key_rows
        first_col = tiling.first_col(col)
        # A halo that was moved inwards has keys that no window reaches.
        reached = (first_row + tiling.key_rows > row * _TILE - tiling.halo[0]) & (
            first_row < (row + 1) * _TILE + tiling.halo[0]
        )
        steps = jnp.where(reached, frames * chunks, 0)

        def fetch(step: jax.Array) -> None:
            slot, frame = lax.rem(step, stages), lax.div(step, chunks)
            for part in range(parts):
                start = lax.rem(step, chunks) * chunk
                mosaic_gpu.copy_gmem_to_smem(
                    query_ref.at[row, col, pallas.ds(0, _QUERIES), pallas.ds(part * channels + start, chunk)],
                    query_part.at[slot, part],
                    arrived.at[slot],
                )
                for number in range(tiling.key_rows):
                    mosaic_gpu.copy_gmem_to_smem(
                        key_refs[part].at[
                            frame,
                            first_row + number,
                            pallas.ds(first_col, tiling.key_cols),
                            pallas.ds(start, chunk),
                        ],
                        key_part.at[slot, part, pallas.ds(number * tiling.key_cols, tiling.key_cols)],
                        arrived.at[slot],
                    )

        for step in range(stages):
            pallas.when(step < steps)(functools.partial(fetch, jnp.int32(step)))

        def one_frame(frame: jax.Array, largest: jax.Array) -> jax.Array:
            mosaic_gpu.copy_gmem_to_smem(
                adjust_ref.at[frame, col, pallas.ds(0, 2), pallas.ds(first_row * tiling.key_cols, tiling.keys)],
                adjust_part,
                adjust_arrived,
            )

            def multiply(sums: _Ref) -> jax.Array:
                def one(number: jax.Array, _: None) -> None:
                    step = frame * chunks + number
                    slot = lax.rem(step, stages)
                    mosaic_gpu.barrier_wait(arrived.at[slot])
                    for query, key in products:
                        keys_as_columns = key_part.at[slot, key].transpose((1, 0))
                        mosaic_gpu.wgmma(sums, query_part.at[slot, query], keys_as_columns)
                    mosaic_gpu.wgmma_wait(0)
                    pallas.when(step + stages < steps)(lambda: fetch(step + stages))

                lax.fori_loop(0, chunks, one, None)
                return sums[...]

            scores = pallas.run_scoped(multiply, mosaic_gpu.ACC((_QUERIES, tiling.keys), jnp.float32))
            mosaic_gpu.barrier_wait(adjust_arrived)
            scale, bias = (lax.broadcast_in_dim(adjust_part[number], scores.shape, (1,)) for number in range(2))
            mosaic_gpu.commit_smem()  # what was read may now be fetched over
            return jnp.maximum(largest, scores * scale + bias)

        nothing = jnp.full((_QUERIES, tiling.keys), -jnp.inf, np.float32)
        own = pallas.ds(key_tile * tiling.keys, tiling.keys)
        out_ref[row, col, :, own] = lax.fori_loop(0, jnp.where(reached, frames, 0), one_frame, nothing)

    # Lines that are interleaved by groups of 8: what the matmul instruction reads.
    lines = mosaic_gpu.TilingTransform((8, chunk)), mosaic_gpu.SwizzleTransform(2 * chunk)
    grid = (*tiling.query_tiles, tiling.key_tiles)
    run = mosaic_gpu.kernel(
        body,
        out_type=jax.ShapeDtypeStruct((*tiling.query_tiles, _QUERIES, tiling.key_tiles * tiling.keys), np.float32),
        scratch_types=[
            mosaic_gpu.SMEM((stages, parts, _QUERIES, chunk), queries.dtype, transforms=lines),
            mosaic_gpu.SMEM((stages, parts, tiling.keys, chunk), keys[0].dtype, transforms=lines),
            mosaic_gpu.SMEM((2, tiling.keys), np.float32),
            mosaic_gpu.Barrier(num_arrivals=parts * (1 + tiling.key_rows), num_barriers=stages),
            mosaic_gpu.Barrier(),
        ],
        grid=grid,
        grid_names=("row", "col", "key_tile"),
        compiler_params=mosaic_gpu.CompilerParams(lowering_semantics=mosaic_gpu.LoweringSemantics.Warpgroup),
    )
    return run(queries, *keys, adjust)


def _chunk(parts: int) -> int:
    """Channels that are fetched at a time: of one part the longest line that the fetching unit interleaves."""
    return 64 // parts


def prepare(values: jax.Array, offsets: np.ndarray) -> KernelMaps:
    """Lay out features [t, h, w, c] as the kernel reads them in a window of these offsets."""
    values = lax.stop_gradient(values)
    tiling = _tiling(values.shape[1], values.shape[2], offsets)
    parts: tuple[jax.Array, ...] = (values,)
    scale = jnp.ones(values.shape[:3], np.float32)
    if values.dtype == np.float32:
        high, low, scale = split_float32(values)
        parts = high, low
    below, beyond = tiling.grid[0] - values.shape[1], tiling.grid[1] - tiling.margin - values.shape[2]
    around = (0, 0), (0, below), (tiling.margin, beyond), (0, -values.shape[3] % _chunk(len(parts)))
    return KernelMaps(tuple(jnp.pad(part, around) for part in parts), scale)


def largest_over_frames(query: FeatureMaps, keys: KeyGroup, offsets: np.ndarray) -> LargestScores:
    """Give every query position the largest score of every key position in its window over all key frames.

    Args:
        query: one frame, values [1, h, w, c].
        keys: the key frames.
        offsets: (row, column) offsets in the window, [o, 2].

    Returns:
        The scores, float32, without the scale of the query.
    """
    height, width = query.values.shape[1:3]
    tiling = _tiling(height, width, offsets)
    (tile_rows, tile_cols), (rows, cols), margin = tiling.query_tiles, tiling.grid, tiling.margin
    dtype = product_dtype(query.values, keys.frames[0].values)

    def prepared(maps: FeatureMaps) -> KernelMaps:
        if maps.kernel is not None and maps.values.dtype == dtype:
            return maps.kernel
        return prepare(maps.values.astype(dtype), offsets)

    queries = jnp.concatenate(prepared(query).parts, axis=-1)[0, :height, margin : margin + width]
    queries = jnp.pad(queries, ((0, tile_rows * _TILE - height), (0, tile_cols * _TILE - width), (0, 0)))
    queries = queries.reshape(tile_rows, _TILE, tile_cols, _TILE, -1).swapaxes(1, 2)
    queries = queries.reshape(tile_rows, tile_cols, _QUERIES, -1)

    pieces = [prepared(piece) for piece in keys.frames]
    scale, bias = scale_and_bias(keys)
    scale *= jnp.concatenate([piece.scale for piece in pieces])
    around = (0, 0), (0, rows - height), (margin, cols - margin - width)
    adjust = jnp.stack([jnp.pad(scale, around), jnp.pad(bias, around, constant_values=-np.inf)])
    key_cols = tiling.first_col(np.arange(tile_cols))[:, None] + np.arange(tiling.key_cols)
    adjust = adjust[:, :, :, key_cols].transpose(1, 3, 0, 2, 4).reshape(len(scale), tile_cols, 2, -1)

    # Joining pieces would copy the keys. The frames of a stream are many pieces; there it costs least.
    parts = [piece.parts for piece in pieces]
    if len(parts) > 2:
        parts = [tuple(jnp.concatenate(part) for part in zip(*parts, strict=True))]
    ends = np.cumsum([len(piece[0]) for piece in parts])
    largest = [
        _run(tiling, queries, piece, adjust[end - len(piece[0]) : end]) for piece, end in zip(parts, ends, strict=True)
    ]
    scores = functools.reduce(jnp.maximum, largest).reshape(tile_rows, tile_cols, _TILE, _TILE, -1)
    scores = scores.swapaxes(1, 2).reshape(tile_rows * _TILE, tile_cols * _TILE, -1)[:height, :width]

    # Which of them are in the window: how far it reaches sideways in a row, against how far the key's column is.
    first_row = tiling.first_row(np.arange(height) // _TILE)
    first_col = tiling.first_col(np.arange(width) // _TILE) - margin
    key_row, key_col = np.divmod(np.arange(scores.shape[-1]), tiling.key_cols)
    reach = np.full(tiling.halo[0] + 1, -1)
    np.maximum.at(reach, abs(offsets[:, 0]).astype(int), abs(offsets[:, 1]))
    down = abs(first_row[:, None] + np.arange(key_row[-1] + 1) - np.arange(height)[:, None])
    over = abs(first_col[:, None] + np.arange(tiling.key_cols) - np.arange(width)[:, None])
    reach = np.where(down <= tiling.halo[0], reach[np.minimum(down, tiling.halo[0])], -1)
    within = jnp.asarray(over, np.int32)[None, :, None] <= jnp.asarray(reach, np.int32)[:, None, :, None]
    scores = jnp.where(within.reshape(scores.shape), scores, -jnp.inf)
    return LargestScores(scores, first_row[:, None] * width + first_col, key_row * width + key_col)
