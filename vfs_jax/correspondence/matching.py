"""Find the best matches of every query position among the keys in its window.

    score[q, t, p] = dot(query[q], key[t, p])     for every key frame t and every position p in the window of q
    matches[q]     = the topk largest of score[q]; of equals the lowest (t, row, column)

Exact, without sorting all scores, by one of the ways that backends.py names.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from vfs_jax.correspondence import batched
from vfs_jax.correspondence.affinity import Window, product_dtype
from vfs_jax.correspondence.arguments import Number, checked
from vfs_jax.correspondence.backends import Implementation, implementations
from vfs_jax.correspondence.key_groups import KeyGroup, SearchSpec, group_frames, windows
from vfs_jax.correspondence.largest_scores import LargestScores, match_by_largest
from vfs_jax.correspondence.tile_matches import map_tiles, match_tile
from vfs_jax.correspondence.tiles import FeatureMaps


def _match_frame(
    query: FeatureMaps, keys: KeyGroup, offsets: np.ndarray, topk: int, implementation: Implementation | None
) -> tuple[jax.Array, jax.Array]:
    """Find the topk matches of a frame: scores and index [h, w, k], as `matches_among` has them."""

    def by_tiles() -> tuple[jax.Array, jax.Array]:
        return map_tiles(lambda tile: match_tile(tile, keys, topk), query, keys, offsets)

    def by_largest(largest_over_frames: Callable[..., LargestScores]) -> tuple[jax.Array, jax.Array]:
        known = jax.lax.stop_gradient(query), keys._replace(frames=jax.lax.stop_gradient(keys.frames))
        return match_by_largest(largest_over_frames(*known, offsets), query, keys, topk, if_tied=by_tiles)

    chosen = implementation or implementations()[0]
    if chosen == "tiles" or len(offsets) <= topk:  # all of so few positions hold matches
        return by_tiles()
    ways: dict[str, Callable[[], tuple[jax.Array, jax.Array]]]
    if keys.radius is None:
        everywhere = functools.partial(batched.match_everywhere, query, keys, topk)
        ways = {"cuda": everywhere, "default": everywhere}
    else:
        # GPUs alone multiply float16 as fast as bfloat16.
        split, whole = (functools.partial(batched.largest_over_frames, split=split) for split in (True, False))
        ways = {
            "cuda": functools.partial(by_largest, split),
            "rocm": functools.partial(by_largest, split),
            "default": functools.partial(by_largest, whole),
        }
    if chosen == "hopper" and keys.radius is not None:
        # Imported where it is used, since it takes a third of a second that only GPUs repay.
        from vfs_jax.correspondence import hopper

        dtype = product_dtype(query.values, keys.frames[0].values)
        if hopper.fits(dtype, offsets):
            ways["cuda"] = functools.partial(by_largest, hopper.largest_over_frames)
        elif implementation == "hopper":
            raise ValueError(
                f'implementation="hopper" multiplies float32, bfloat16 and float16 in windows of up to '
                f"{hopper.MOST_COLS} columns, got {dtype} and radius={keys.radius}"
            )
    if implementation is None:
        ways["cpu"] = by_tiles
    return jax.lax.platform_dependent(**ways)


def search(query: FeatureMaps, groups: list[KeyGroup], *, spec: SearchSpec, topk: int) -> tuple[jax.Array, jax.Array]:
    """Find the topk matches of every query position.

    Args:
        query: one frame, values [1, h, w, c].
        groups: the key frames, first frames first.
        spec: the window, and what finds the matches.
        topk: how many matches.

    Returns:
        Scores [h, w, k], falling, -inf for missing ones, and index [h, w, k] int32: number of the frame among those of
        all groups, as stored, * h * w + row * w + column. k is topk, or less where there are fewer keys.
    """
    height, width = query.values.shape[1:3]
    results = []
    for keys, offsets, before in windows(query, groups, spec.window):
        scores, index = _match_frame(query, keys, offsets, topk, spec.implementation)
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
    query_maps = spec.feature_maps(query[None])
    scores, index = search(query_maps, groups, spec=spec, topk=topk)
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
    implementation: Implementation | None = None,
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
        implementation: what finds the matches, a name of `implementations()`; None for the best on the platform.

    Returns:
        Scores [h, w, k], float32, falling, -inf where there are fewer keys; and where the matches are, [h, w, k, 3],
        int32 (frame, row, column), -1 where there are fewer. Of equal scores the lowest (frame, row, column) is first.

    Raises:
        ValueError: an option is out of range, topk is None, an axis has length 0, or the implementation does not run
            here or takes no such features or window.
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
    spec = SearchSpec(radius, window, first_frame_windowed, normalize, implementation)
    arrays = (None if array is None else jnp.asarray(array) for array in (query, keys, key_valid, key_mask))
    return _top_matches(*arrays, spec=spec, topk=topk)
