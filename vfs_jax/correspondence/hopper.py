"""The largest score of every offset over all key frames, as one kernel for Hopper GPUs.

    largest[q, o] = max over key frames t of score[q, t, q + o]      for every query q and every offset o in its window

One program a pair of a tile of 8x8 queries and a tile of keys in its halo. Scores stay on the chip: of the t scores of
a query and an offset, only the largest is written. The kernel is written in Pallas for Mosaic GPU. Its matmul
instruction (wgmma) takes 16-bit floats and sums in float32; float32 features are split into three bfloat16 parts and
multiplied in six products, which is as exact as float32.

On an H200 the kernel takes 0.21 ms (bfloat16) and 1.33 ms (float32) of a frame on a 60x107 grid with 256 channels,
radius 12 and 21 key frames. Where it is used, `jax.export` takes one platform at a time, since Pallas lowers no kernel
for several.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas
from jax.experimental.pallas import mosaic_gpu

from vfs_jax.correspondence.affinity import product_dtype
from vfs_jax.correspondence.key_groups import KeyGroup
from vfs_jax.correspondence.largest_scores import LargestScores
from vfs_jax.correspondence.tiles import FeatureMaps

# Pallas hands a kernel several kinds of references, which share no public type.
_Ref = Any

# Side of a tile of queries: 64 of them, which the matmul instruction takes as columns.
_TILE = 8
_QUERIES = _TILE * _TILE
# Channels that are fetched at a time: 128 bytes of a key, the longest line that the fetching unit interleaves.
_CHUNK = 64
# Fetches in flight: as many as leave room for two programs on a multiprocessor.
_STAGES = 3
# Most keys of a program: its sums and maxima lie in registers, which hold 192 times 64 of each.
_MOST_KEYS = 192
MOST_COLS = _MOST_KEYS - _TILE + 1


class _Tiling(NamedTuple):
    """How a frame is cut into programs: one for each tile of queries and tile of keys in its halo.

    Attributes:
        query_tiles: tiles of queries in both directions.
        halo: rows and columns that the window reaches.
        halo_rows: key rows that a tile of queries and its halo take.
        key_rows: rows of a key tile.
        key_cols: columns of a key tile: those of a tile of queries and its halo, rounded up.
        key_tiles: key tiles for a tile of queries; the last one is moved upwards to end where the halo ends.
    """

    query_tiles: tuple[int, int]
    halo: tuple[int, int]
    halo_rows: int
    key_rows: int
    key_cols: int
    key_tiles: int

    @property
    def keys(self) -> int:
        """Keys of a tile, a multiple of 64, since the matmul instruction takes 64 as rows."""
        return self.key_rows * self.key_cols

    def first_rows(self) -> np.ndarray:
        """First row of every key tile, counted from the start of the halo, int [key_tiles]."""
        return np.minimum(np.arange(self.key_tiles) * self.key_rows, self.halo_rows - self.key_rows)


def _tiling(height: int, width: int, offsets: np.ndarray) -> _Tiling:
    row_halo, col_halo = (int(halo) for halo in abs(offsets).max(axis=0))
    halo_rows, key_cols = _TILE + 2 * row_halo, _TILE + 2 * col_halo
    multiple = 16 if key_cols <= _MOST_KEYS // 4 else 64
    key_cols = -(-key_cols // multiple) * multiple
    key_rows = 4 if multiple == 16 else _MOST_KEYS // key_cols
    query_tiles = -(-height // _TILE), -(-width // _TILE)
    return _Tiling(
        query_tiles, (row_halo, col_halo), halo_rows, key_rows, key_cols, key_tiles=-(-halo_rows // max(key_rows, 1))
    )


def fits(dtype: jax.typing.DTypeLike, offsets: np.ndarray) -> bool:
    """Tell whether the kernel takes features of this type and this window."""
    return jnp.dtype(dtype) in (jnp.float32, jnp.bfloat16, jnp.float16) and _tiling(_TILE, _TILE, offsets).key_rows > 0


def _run(parts: int, tiling: _Tiling, queries: jax.Array, keys: jax.Array, adjust: jax.Array) -> jax.Array:
    """Run the kernel.

    Args:
        parts: how many numbers whose sum a feature is lie behind each other in the channels.
        tiling: the cut into programs.
        queries: [tile rows, tile cols, parts * c, 64].
        keys: [t, rows, cols, parts * c], padded.
        adjust: what the scores of a key are multiplied with and what is then added [t, tile rows, tile cols, key
            tiles, 2, keys], float32.

    Returns:
        Largest scores over t [tile rows, tile cols, key tiles, keys, 64], float32.
    """
    frames, channels = len(keys), keys.shape[3] // parts
    chunks = channels // _CHUNK
    # Products of a part of the keys with a part of the queries, without those below float32's last digit.
    products = parts * (parts + 1) // 2
    steps = frames * products * chunks
    stages = min(_STAGES, steps)

    def body(
        query_ref: _Ref,
        key_ref: _Ref,
        adjust_ref: _Ref,
        out_ref: _Ref,
        query_part: _Ref,
        key_part: _Ref,
        adjust_part: _Ref,
        arrived: _Ref,
        adjust_arrived: _Ref,
    ) -> None:
        row, col, key_tile = (lax.axis_index(name) for name in ("row", "col", "key_tile"))
        first_row = row * _TILE + jnp.minimum(key_tile * tiling.key_rows, tiling.halo_rows - tiling.key_rows)

        def fetch(step: jax.Array) -> None:
            slot = lax.rem(step, stages)
            frame, product = lax.div(step, products * chunks), lax.rem(lax.div(step, chunks), products)
            # (key part, query part) of the six products: 00 01 02 10 11 20.
            key_number = jnp.where(product < 3, 0, jnp.where(product < 5, 1, 2))
            query_number = product - jnp.where(product < 3, 0, jnp.where(product < 5, 3, 5))
            start = lax.rem(step, chunks) * _CHUNK
            query_channels = pallas.ds(query_number * channels + start, _CHUNK)
            key_channels = pallas.ds(key_number * channels + start, _CHUNK)
            mosaic_gpu.copy_gmem_to_smem(query_ref.at[row, col, query_channels], query_part.at[slot], arrived.at[slot])
            for number in range(tiling.key_rows):
                mosaic_gpu.copy_gmem_to_smem(
                    key_ref.at[frame, first_row + number, pallas.ds(col * _TILE, tiling.key_cols), key_channels],
                    key_part.at[slot, pallas.ds(number * tiling.key_cols, tiling.key_cols)],
                    arrived.at[slot],
                )

        for step in range(stages):
            fetch(jnp.int32(step))

        def one_frame(frame: jax.Array, largest: jax.Array) -> jax.Array:
            mosaic_gpu.copy_gmem_to_smem(adjust_ref.at[frame, row, col, key_tile], adjust_part, adjust_arrived)

            def multiply(sums: _Ref) -> jax.Array:
                def one(number: jax.Array, _: None) -> None:
                    step = frame * (products * chunks) + number
                    slot = lax.rem(step, stages)
                    mosaic_gpu.barrier_wait(arrived.at[slot])
                    mosaic_gpu.wgmma(sums, key_part.at[slot], query_part.at[slot])
                    mosaic_gpu.wgmma_wait(0)
                    pallas.when(step + stages < steps)(lambda: fetch(step + stages))

                lax.fori_loop(0, products * chunks, one, None)
                return sums[...]

            scores = pallas.run_scoped(multiply, mosaic_gpu.ACC((tiling.keys, _QUERIES), jnp.float32))
            mosaic_gpu.barrier_wait(adjust_arrived)
            scale, bias = (lax.broadcast_in_dim(adjust_part[number], scores.shape, (0,)) for number in range(2))
            mosaic_gpu.commit_smem()  # what was read may now be fetched over
            return jnp.maximum(largest, scores * scale + bias)

        nothing = jnp.full((tiling.keys, _QUERIES), -jnp.inf, np.float32)
        out_ref[row, col, key_tile] = lax.fori_loop(0, frames, one_frame, nothing)

    # Lines of 128 bytes, interleaved by groups of 8: what the matmul instruction reads.
    lines = mosaic_gpu.TilingTransform((8, _CHUNK)), mosaic_gpu.SwizzleTransform(128)
    grid = (*tiling.query_tiles, tiling.key_tiles)
    run = mosaic_gpu.kernel(
        body,
        out_type=jax.ShapeDtypeStruct((*grid, tiling.keys, _QUERIES), np.float32),
        scratch_types=[
            mosaic_gpu.SMEM((stages, _CHUNK, _QUERIES), queries.dtype, transforms=lines),
            mosaic_gpu.SMEM((stages, tiling.keys, _CHUNK), keys.dtype, transforms=lines),
            mosaic_gpu.SMEM((2, tiling.keys), np.float32),
            mosaic_gpu.Barrier(num_arrivals=1 + tiling.key_rows, num_barriers=stages),
            mosaic_gpu.Barrier(),
        ],
        grid=grid,
        grid_names=("row", "col", "key_tile"),
        compiler_params=mosaic_gpu.CompilerParams(lowering_semantics=mosaic_gpu.LoweringSemantics.Warpgroup),
    )
    return run(queries, keys, adjust)


def _split(array: jax.Array) -> jax.Array:
    """Write float32 numbers as the sum of three bfloat16 numbers, behind each other in the last axis."""
    parts = []
    for _ in range(3):
        # reduce_precision and not a cast alone: XLA may take a cast to bfloat16 and back for nothing.
        parts.append(lax.reduce_precision(array, exponent_bits=8, mantissa_bits=7))
        array = array - parts[-1]
    return jnp.concatenate(parts, axis=-1).astype(jnp.bfloat16)


def largest_over_frames(maps: FeatureMaps, group: KeyGroup, offsets: np.ndarray) -> LargestScores:
    """Give every query position the largest score of every key position in its window over all key frames.

    Args:
        maps: the query frame, values [1, h, w, c].
        group: the key frames.
        offsets: (row, column) offsets in the window, [o, 2].

    Returns:
        The scores, float32, without the scale of the query.
    """
    query, keys, valid, mask = maps.values[0], group.frames, group.valid, group.mask
    height, width, channels = query.shape
    tiling = _tiling(height, width, offsets)
    (tile_rows, tile_cols), (row_halo, col_halo) = tiling.query_tiles, tiling.halo
    below, right = tile_rows * _TILE - height, tile_cols * _TILE - width
    beyond = (tile_cols - 1) * _TILE + tiling.key_cols - col_halo - width
    around = (0, 0), (row_halo, below + row_halo), (col_halo, beyond)
    spare = -channels % _CHUNK

    def merge(arrays: list[jax.Array]) -> jax.Array:
        return jnp.pad(jnp.concatenate(arrays), (*around, (0, spare))[: arrays[0].ndim])

    values = merge([piece.values for piece in keys])
    parts, dtype = 1, product_dtype(query, values)
    query = jnp.pad(query, ((0, below), (0, right), (0, spare))).astype(dtype)
    values = values.astype(dtype)
    if dtype == np.float32:
        parts, query, values = 3, _split(query), _split(values)
    queries = query.reshape(tile_rows, _TILE, tile_cols, _TILE, -1).transpose(0, 2, 4, 1, 3)
    queries = queries.reshape(tile_rows, tile_cols, -1, _QUERIES)

    # What a key's scores are multiplied with, and what is then added: -inf where there is no key.
    own = [jnp.ones(piece.values.shape[:3], bool) if piece.mask is None else piece.mask for piece in keys]
    allowed = jnp.concatenate(own)
    allowed = allowed if valid is None else allowed & valid[:, None, None]
    allowed = allowed if mask is None else allowed & mask[None]
    scales = [jnp.ones(piece.values.shape[:3]) if piece.scales is None else piece.scales for piece in keys]
    bias = jnp.where(merge([allowed]), 0, -jnp.inf).astype(np.float32)
    adjust = jnp.stack([merge(scales).astype(np.float32), bias])
    rows = np.arange(tile_rows)[:, None, None] * _TILE + tiling.first_rows()[:, None] + np.arange(tiling.key_rows)
    cols = np.arange(tile_cols)[:, None] * _TILE + np.arange(tiling.key_cols)
    adjust = adjust[:, :, rows[:, None, :, :, None], cols[:, None, None]]
    adjust = adjust.reshape(2, len(values), *tiling.query_tiles, tiling.key_tiles, tiling.keys)
    adjust = jnp.moveaxis(adjust, 0, -2)

    largest = _run(parts, tiling, queries, values, adjust).reshape(tile_rows * tile_cols, -1)

    # Where the score of a query and the key at an offset lies in [key tiles, key rows, key cols, 64]: [64, o].
    query_row, query_col = np.divmod(np.arange(_QUERIES)[:, None], _TILE)
    key_row, key_col = query_row + offsets[:, 0] + row_halo, query_col + offsets[:, 1] + col_halo
    key_tile = np.minimum(key_row // tiling.key_rows, tiling.key_tiles - 1)
    pair = (key_tile * tiling.key_rows + key_row - tiling.first_rows()[key_tile]) * tiling.key_cols + key_col
    pair = pair * _QUERIES + np.arange(_QUERIES)[:, None]
    scores = largest[:, pair.astype(np.int32)].reshape(tile_rows, tile_cols, _TILE, _TILE, len(offsets))
    scores = scores.swapaxes(1, 2).reshape(tile_rows * _TILE, tile_cols * _TILE, len(offsets))[:height, :width]
    return LargestScores(
        scores, np.arange(height * width).reshape(height, width), offsets[:, 0] * width + offsets[:, 1]
    )
