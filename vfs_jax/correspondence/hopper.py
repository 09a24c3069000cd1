"""The best score of every step of the window over all key frames, as one kernel for Hopper GPUs.

Scores stay on the chip: of the t scores of a query and a step, only the largest is written. The kernel is written in
Pallas for Mosaic GPU. Its matmul instruction (wgmma) takes 16-bit floats and sums in float32; float32 features are
split into three bfloat16 parts and multiplied in six products, which is as exact as float32.

It has been compiled for the H100 and run by Pallas' interpreter, not on a GPU: how fast it is remains to be seen. Where
it is used, `jax.export` takes one platform at a time, since Pallas lowers no kernel for several.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas
from jax.experimental.pallas import mosaic_gpu

from vfs_jax.correspondence.affinity import product_dtype

# Pallas hands a kernel several kinds of references, which share no public type.
_Ref = Any

# Side of the square of queries that one program serves: 64 of them, which the matmul instruction takes as columns.
_TILE = 8
_QUERIES = _TILE * _TILE
# Channels that are fetched at a time: 128 bytes of a key, the longest line that the fetching unit interleaves.
_CHUNK = 64
# Fetches under way at once: as many as leave room for two programs on a multiprocessor.
_STAGES = 3
# Most keys of a program: its sums and maxima lie in registers, which hold 192 times 64 of each.
_MOST_KEYS = 192


class _Plan(NamedTuple):
    """How a frame is cut into programs: one for each tile of queries and strip of key rows.

    Attributes:
        tiles: tiles of queries in both directions.
        reach: rows and columns that the window reaches.
        near: key rows that a tile sees.
        rows: key rows of a strip.
        wide: key columns of a strip.
        strips: strips of a tile; the last one is moved upwards to end where the tile's sight ends.
    """

    tiles: tuple[int, int]
    reach: tuple[int, int]
    near: int
    rows: int
    wide: int
    strips: int

    @property
    def keys(self) -> int:
        """Keys of a strip, a multiple of 64, since the matmul instruction takes 64 as rows."""
        return self.rows * self.wide

    def tops(self) -> np.ndarray:
        """First key row of every strip, int [strips]."""
        return np.minimum(np.arange(self.strips) * self.rows, self.near - self.rows)


def _plan(height: int, width: int, steps: np.ndarray) -> _Plan:
    row_reach, col_reach = (int(reach) for reach in abs(steps).max(axis=0))
    near, wide = _TILE + 2 * row_reach, _TILE + 2 * col_reach
    multiple = 16 if wide <= _MOST_KEYS // 4 else 64
    wide = -(-wide // multiple) * multiple
    rows = 4 if multiple == 16 else _MOST_KEYS // wide
    tiles = -(-height // _TILE), -(-width // _TILE)
    return _Plan(tiles, (row_reach, col_reach), near, rows, wide, -(-near // max(rows, 1)))


def fits(dtype: jax.typing.DTypeLike, steps: np.ndarray) -> bool:
    """Tell whether the kernel takes features of this type and this window."""
    return jnp.dtype(dtype) in (jnp.float32, jnp.bfloat16, jnp.float16) and _plan(_TILE, _TILE, steps).rows > 0


def _run(parts: int, plan: _Plan, queries: jax.Array, keys: jax.Array, adjust: jax.Array) -> jax.Array:
    """Run the kernel.

    Args:
        parts: how many numbers whose sum a feature is lie behind each other in the channels.
        plan: the cut.
        queries: [tile rows, tile cols, parts * c, 64].
        keys: [t, rows, cols, parts * c], padded.
        adjust: what the scores of a key are multiplied with and what is then added [t, tile rows, tile cols, strips, 2,
            keys], float32.

    Returns:
        Largest scores over t [tile rows, tile cols, strips, keys, 64], float32.
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
        change: _Ref,
        arrived: _Ref,
        changed: _Ref,
    ) -> None:
        row, col, strip = (lax.axis_index(name) for name in ("row", "col", "strip"))
        top = row * _TILE + jnp.minimum(strip * plan.rows, plan.near - plan.rows)

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
            for number in range(plan.rows):
                mosaic_gpu.copy_gmem_to_smem(
                    key_ref.at[frame, top + number, pallas.ds(col * _TILE, plan.wide), key_channels],
                    key_part.at[slot, pallas.ds(number * plan.wide, plan.wide)],
                    arrived.at[slot],
                )

        for step in range(stages):
            fetch(jnp.int32(step))

        def one_frame(frame: jax.Array, largest: jax.Array) -> jax.Array:
            mosaic_gpu.copy_gmem_to_smem(adjust_ref.at[frame, row, col, strip], change, changed)

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

            scores = pallas.run_scoped(multiply, mosaic_gpu.ACC((plan.keys, _QUERIES), jnp.float32))
            mosaic_gpu.barrier_wait(changed)
            factor, offset = (lax.broadcast_in_dim(change[number], scores.shape, (0,)) for number in range(2))
            mosaic_gpu.commit_smem()  # what was read may now be fetched over
            return jnp.maximum(largest, scores * factor + offset)

        nothing = jnp.full((plan.keys, _QUERIES), -jnp.inf, np.float32)
        out_ref[row, col, strip] = lax.fori_loop(0, frames, one_frame, nothing)

    # Lines of 128 bytes, interleaved by groups of 8: what the matmul instruction reads.
    lines = mosaic_gpu.TilingTransform((8, _CHUNK)), mosaic_gpu.SwizzleTransform(128)
    grid = (*plan.tiles, plan.strips)
    run = mosaic_gpu.kernel(
        body,
        out_type=jax.ShapeDtypeStruct((*grid, plan.keys, _QUERIES), np.float32),
        scratch_types=[
            mosaic_gpu.SMEM((stages, _CHUNK, _QUERIES), queries.dtype, transforms=lines),
            mosaic_gpu.SMEM((stages, plan.keys, _CHUNK), keys.dtype, transforms=lines),
            mosaic_gpu.SMEM((2, plan.keys), np.float32),
            mosaic_gpu.Barrier(num_arrivals=1 + plan.rows, num_barriers=stages),
            mosaic_gpu.Barrier(),
        ],
        grid=grid,
        grid_names=("row", "col", "strip"),
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


def window_maxima(query: jax.Array, keys: tuple, valid: jax.Array | None, steps: np.ndarray) -> jax.Array:
    """Give every query position its best score of every step over all key frames.

    Args:
        query: features [h, w, c].
        keys: pieces of the key frames, as `matching.Frames`.
        valid: bool [t], False for what is no key; None where all are.
        steps: (row, col) steps that the window allows, [s, 2].

    Returns:
        Scores [h, w, s], float32, without the scale of the query; -inf where no key is.
    """
    height, width, channels = query.shape
    plan = _plan(height, width, steps)
    (tile_rows, tile_cols), (row_reach, col_reach) = plan.tiles, plan.reach
    below, right = tile_rows * _TILE - height, tile_cols * _TILE - width
    beyond = (tile_cols - 1) * _TILE + plan.wide - col_reach - width
    around = (0, 0), (row_reach, below + row_reach), (col_reach, beyond)
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
    grid = len(values), height, width
    here = jnp.broadcast_to(True if valid is None else valid[:, None, None], grid)
    offset = jnp.where(jnp.pad(here, around), 0, -jnp.inf).astype(np.float32)
    scales = [jnp.ones(piece.values.shape[:3]) if piece.scales is None else piece.scales for piece in keys]
    adjust = jnp.stack([merge(scales).astype(np.float32), offset])
    rows = np.arange(tile_rows)[:, None, None] * _TILE + plan.tops()[:, None] + np.arange(plan.rows)
    cols = np.arange(tile_cols)[:, None] * _TILE + np.arange(plan.wide)
    adjust = adjust[:, :, rows[:, None, :, :, None], cols[:, None, None]]
    adjust = adjust.reshape(2, len(values), *plan.tiles, plan.strips, plan.keys)
    adjust = jnp.moveaxis(adjust, 0, -2)

    largest = _run(parts, plan, queries, values, adjust).reshape(tile_rows * tile_cols, -1)

    # Where the score of a query of a tile with the key of a step lies in [strips, rows, wide, 64]: [64, s].
    tile_row, tile_col = np.divmod(np.arange(_QUERIES)[:, None], _TILE)
    key_row, key_col = tile_row + steps[:, 0] + row_reach, tile_col + steps[:, 1] + col_reach
    strip = np.minimum(key_row // plan.rows, plan.strips - 1)
    where = (strip * plan.rows + key_row - plan.tops()[strip]) * plan.wide + key_col
    where = where * _QUERIES + np.arange(_QUERIES)[:, None]
    scores = largest[:, where.astype(np.int32)].reshape(tile_rows, tile_cols, _TILE, _TILE, len(steps))
    return scores.swapaxes(1, 2).reshape(tile_rows * _TILE, tile_cols * _TILE, len(steps))[:height, :width]
