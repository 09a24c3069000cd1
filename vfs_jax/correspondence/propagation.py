"""Carry labels from frames that have them to one that has none, and from a video's first frame to all others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vfs_jax.correspondence.affinity import Window
from vfs_jax.correspondence.arguments import Number, checked
from vfs_jax.correspondence.backends import Implementation
from vfs_jax.correspondence.blending import Ties, blend_labels, check_blending
from vfs_jax.correspondence.key_groups import SearchSpec, group_frames
from vfs_jax.correspondence.memory import ContextSpec, Labeled, key_groups


@functools.partial(jax.jit, static_argnames=("spec", "topk", "temperature", "ties"))
def _propagate_frame(
    query: jax.Array,
    keys: jax.Array,
    labels: jax.Array,
    key_valid: jax.Array | None,
    key_mask: jax.Array | None,
    *,
    spec: SearchSpec,
    topk: int | None,
    temperature: Number,
    ties: Ties,
) -> jax.Array:
    groups = group_frames(keys, spec, key_valid, key_mask)
    query_maps = spec.feature_maps(query[None])
    return blend_labels(query_maps, groups, labels, spec=spec, topk=topk, temperature=temperature, ties=ties)


@checked
def propagate_frame(
    query: Float[Array | np.ndarray, "h w c"],
    keys: Float[Array | np.ndarray, "t h w c"],
    labels: Float[Array | np.ndarray, "t h w l"],
    *,
    radius: Number | None,
    topk: int | None = 10,
    temperature: Number = 0.07,
    ties: Ties = "first",
    window: Window = "circle",
    first_frame_windowed: bool = True,
    key_valid: Bool[Array | np.ndarray, " t"] | None = None,
    key_mask: Bool[Array | np.ndarray, "h w"] | Bool[Array | np.ndarray, "t h w"] | None = None,
    normalize: bool = True,
    implementation: Implementation | None = None,
) -> Float[Array, "h w l"]:
    """Carry labels from some frames to another one by the similarity of their features.

    For every position q of the query frame::

        score[t, p] = dot(query[q], keys[t, p])          for every key p of every frame t in the window of q
        label[q]    = sum over the topk matches of softmax(score / temperature) * labels[t, p]

    The matches are those of `top_matches`: of equal scores the lowest (frame, row, column) wins; with ties="all" all
    keys that score as the last of them are matches too. Where there are fewer than topk keys the missing ones weigh 0;
    where there is none, the label is 0. This is label propagation of VFS section 4.1, as the release does it (github
    xvjiarui/VFS).

    The work is that of the window, about ``2 * h * w * (2 * radius + 2)**2 * t * c`` operations, and no array over all
    pairs of positions is built; without a window it is ``2 * (h * w)**2 * t * c``, some queries at a time.

    Args:
        query: features [h, w, c] of the frame to label, any float.
        keys: features [t, h, w, c] of the frames with labels, in order of time; keys[0] is the first frame.
        labels: labels [t, h, w, l] of those frames, any float: one-hot masks, soft masks, heat maps.
        radius: of the window in grid cells; None allows every position.
        topk: number of matches that share the weight; None for all keys.
        temperature: positive number that divides the scores before the softmax.
        ties: which of the keys with the topk-th score take part: "first", topk keys in all, of equals the lowest
            (frame, row, column); or "all", as in DINO. More work is done only for a frame where that matters.
        window: "circle" (Euclidean distance < radius; write sqrt(r * r + 0.5) for "<= r") or "square" (both row and
            column distance <= radius).
        first_frame_windowed: False lets keys[0] be searched without a window.
        key_valid: bool [t], False removes a whole frame.
        key_mask: bool [h, w], or [t, h, w] for each frame its own, False removes a position.
        normalize: divide every feature vector by max(its Euclidean norm, 1e-12) first.
        implementation: what finds the matches, a name of `implementations()`; None for the best on the platform.

    Returns:
        Labels [h, w, l] of the query frame, float32.

    Raises:
        ValueError: an option is out of range, an axis has length 0, or the implementation does not run here or takes no
            such features or window.
        TypeError: the shapes do not fit each other, an array has a type other than stated, or an option is traced.

    Example:
        >>> import jax.numpy as jnp
        >>> features = jnp.eye(6).reshape(2, 3, 6)  # every position looks like itself alone
        >>> mask = jnp.eye(2)[jnp.array([[0, 1, 1], [0, 0, 1]])]
        >>> moved = propagate_frame(jnp.roll(features, 1, axis=1), features[None], mask[None], radius=None, topk=1)
        >>> moved.argmax(-1).tolist()
        [[1, 0, 1], [1, 0, 0]]
    """
    check_blending(topk, temperature)
    spec = SearchSpec(radius, window, first_frame_windowed, normalize, implementation)
    arrays = (None if array is None else jnp.asarray(array) for array in (query, keys, labels, key_valid, key_mask))
    return _propagate_frame(*arrays, spec=spec, topk=topk, temperature=temperature, ties=ties)


@functools.partial(jax.jit, static_argnames=("context", "search", "topk", "temperature", "ties"))
def _propagate_video(
    features: jax.Array,
    first_labels: jax.Array,
    key_mask: jax.Array | None,
    *,
    context: ContextSpec,
    search: SearchSpec,
    topk: int | None,
    temperature: Number,
    ties: Ties,
) -> jax.Array:
    maps = search.feature_maps
    first = Labeled((maps(features[:1]),), first_labels[None])
    size = context.num_context

    def step(previous: Labeled, number: jax.Array) -> tuple[Labeled, jax.Array]:
        # Taken here, since scanning over all frames but the first would copy them.
        query = maps(jax.lax.dynamic_slice_in_dim(features, number, 1))
        # The previous frames are a ring: frame n lies at n % size, what does not exist yet is frame 0.
        order = (number + jnp.arange(size, dtype=np.int32)) % max(size, 1)
        oldest = jax.tree.map(lambda ring: ring[order[:1]], previous) if size else first
        groups, labels = key_groups(context, search, key_mask, first, previous, oldest, order, number)
        result = blend_labels(query, groups, labels, spec=search, topk=topk, temperature=temperature, ties=ties)
        if size:
            latest = Labeled((query,), result[None])
            previous = jax.tree.map(lambda ring, new: ring.at[number % size].set(new[0]), previous, latest)
        return previous, result

    ring = jax.tree.map(lambda array: jnp.repeat(array, size, axis=0), first)
    numbers = jnp.arange(1, len(features), dtype=np.int32)
    _, labels = jax.lax.scan(step, ring, numbers)
    return jnp.concatenate([first_labels[None], labels])


@checked
def propagate_video(
    features: Float[Array | np.ndarray, "t h w c"],
    first_labels: Float[Array | np.ndarray, "h w l"],
    *,
    num_context: int = 20,
    keep_first: bool = True,
    fill_first: bool = False,
    first_once: bool = False,
    radius: Number | None,
    topk: int | None = 10,
    temperature: Number = 0.07,
    ties: Ties = "first",
    window: Window = "circle",
    first_frame_windowed: bool = True,
    key_mask: Bool[Array | np.ndarray, "h w"] | None = None,
    normalize: bool = True,
    implementation: Implementation | None = None,
) -> Float[Array, "t h w l"]:
    """Carry the labels of the first frame along a video, each frame's soft labels serving the frames after it.

    Frame n is compared, as in `propagate_frame`, with frame 0 (with keep_first) and frames max(0, n - num_context) to
    n - 1, so that frame 0 is there twice while n <= num_context, as in the release (github xvjiarui/VFS). One
    `jax.lax.scan` with a memory of num_context + 1 frames: the cost of a frame does not depend on the video's length.

    Args:
        features: features [t, h, w, c] of all frames, any float.
        first_labels: labels [h, w, l] of frame 0, any float.
        num_context: how many previous frames are keys.
        keep_first: frame 0 is a key besides.
        fill_first: frame 0 stands in for previous frames that do not exist yet, as in CRW; else there are fewer keys.
        first_once: frame 0 is never one of the previous frames, as in DINO; with keep_first alone.
        radius: of the window in grid cells; None allows every position.
        topk: number of matches that share the weight; None for all keys.
        temperature: positive number that divides the scores before the softmax.
        ties: "first" or "all", as in `propagate_frame`.
        window: "circle" (Euclidean distance < radius) or "square" (both row and column distance <= radius).
        first_frame_windowed: False lets the first key frame (without keep_first: the oldest kept) be searched without a
            window.
        key_mask: bool [h, w], False for positions that are keys in no frame.
        normalize: divide every feature vector by max(its Euclidean norm, 1e-12) first.
        implementation: what finds the matches, a name of `implementations()`; None for the best on the platform.

    Returns:
        Labels [t, h, w, l], float32; those of frame 0 are first_labels.

    Raises:
        ValueError: an option is out of range, an axis has length 0, or the implementation does not run here or takes no
            such features or window.
        TypeError: the shapes do not fit each other, an array has a type other than stated, or an option is traced.

    Example:
        >>> import jax.numpy as jnp
        >>> still = jnp.eye(6).reshape(2, 3, 6)
        >>> video = jnp.stack([jnp.roll(still, n, axis=1) for n in range(4)])
        >>> mask = jnp.eye(2)[jnp.array([[0, 1, 1], [0, 0, 1]])]
        >>> propagate_video(video, mask, radius=None, topk=1).argmax(-1)[2].tolist()
        [[1, 1, 0], [0, 1, 0]]
    """
    check_blending(topk, temperature)
    return _propagate_video(
        jnp.asarray(features),
        jnp.asarray(first_labels).astype(np.float32),
        None if key_mask is None else jnp.asarray(key_mask),
        context=ContextSpec(num_context, keep_first, fill_first, first_once),
        search=SearchSpec(radius, window, first_frame_windowed, normalize, implementation),
        topk=topk,
        temperature=temperature,
        ties=ties,
    )
