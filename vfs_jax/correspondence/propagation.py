"""Labels carried from frames that have them to a frame that has none, and along a video."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from beartype import beartype
from jaxtyping import Array, Bool, Float
from jaxtyping import jaxtyped as _jaxtyped

from vfs_jax.correspondence.affinity import Number, Window
from vfs_jax.correspondence.matching import Frames, KeyGroup, blend_labels, check_options, lay_out
from vfs_jax.correspondence.memory import Recall, key_groups


@functools.partial(
    jax.jit, static_argnames=("radius", "topk", "temperature", "window", "first_frame_windowed", "normalize")
)
def _propagate_frame(
    query: jax.Array,
    keys: jax.Array,
    labels: jax.Array,
    key_valid: jax.Array | None,
    *,
    radius: Number | None,
    topk: int | None,
    temperature: Number,
    window: Window,
    first_frame_windowed: bool,
    normalize: bool,
) -> jax.Array:
    target, memory = lay_out(query[None], normalize=normalize), lay_out(keys, normalize=normalize)

    def group(frames: slice, reach: float | None) -> KeyGroup:
        kept = jax.tree.map(lambda array: array[frames], memory)
        return KeyGroup((kept,), labels[frames], reach, valid=None if key_valid is None else key_valid[frames])

    if first_frame_windowed or radius is None:
        groups = [group(slice(None), radius)]
    else:
        groups = [group(slice(1), None)]
        if len(keys) > 1:
            groups.append(group(slice(1, None), radius))
    return blend_labels(target, groups, window=window, topk=topk, temperature=temperature)


@_jaxtyped(typechecker=beartype)
def propagate_frame(
    query: Float[Array | np.ndarray, "h w c"],
    keys: Float[Array | np.ndarray, "t h w c"],
    labels: Float[Array | np.ndarray, "t h w l"],
    *,
    radius: Number | None,
    topk: int | None = 10,
    temperature: Number = 0.07,
    window: Window = "circle",
    first_frame_windowed: bool = True,
    key_valid: Bool[Array | np.ndarray, " t"] | None = None,
    normalize: bool = True,
) -> Float[Array, "h w l"]:
    """Carry labels from some frames to another one by the similarity of their features.

    For every position q of the query frame::

        score[t, p] = dot(query[q], keys[t, p])          for every allowed position p of every frame t
        label[q]    = sum over the topk best of softmax(score / temperature) * labels[t, p]

    A key is allowed where its distance to q on the grid lies in the window. Of equal scores the lowest
    (frame, row, column) wins. Where fewer than topk keys are allowed the missing ones weigh 0; where none is allowed,
    the label is 0. This is label propagation of VFS section 4.1, as the release does it (github xvjiarui/VFS).

    The work is that of the window, about ``2 * h * w * (2 * radius + 2)**2 * t * c`` operations, and no array over all
    pairs of positions is built; without a window it is ``2 * (h * w)**2 * t * c``, some queries at a time.

    Args:
        query: features [h, w, c] of the frame to label, any float.
        keys: features [t, h, w, c] of the frames with labels, in order of time; keys[0] is the first frame.
        labels: labels [t, h, w, l] of those frames, any float: one-hot masks, soft masks, heat maps.
        radius: reach of the window in grid cells; None allows every position.
        topk: number of keys that share the weight; None for all allowed ones.
        temperature: positive number that divides the scores before the softmax.
        window: "circle" (Euclidean distance < radius; write sqrt(r * r + 0.5) for "<= r") or "square" (both row and
            column distance <= radius).
        first_frame_windowed: False lets keys[0] be searched without a window.
        key_valid: [t], False removes a whole frame.
        normalize: divide every feature vector by max(its Euclidean norm, 1e-12) first.

    Returns:
        Labels [h, w, l] of the query frame, float32.

    Raises:
        ValueError: an option is out of range, or there is no key frame.
        TypeError: the shapes do not fit each other, or an array has a type other than stated.

    Example:
        >>> import jax.numpy as jnp
        >>> features = jnp.eye(6).reshape(2, 3, 6)  # every position looks like itself alone
        >>> mask = jnp.eye(2)[jnp.array([[0, 1, 1], [0, 0, 1]])]
        >>> moved = propagate_frame(jnp.roll(features, 1, axis=1), features[None], mask[None], radius=None, topk=1)
        >>> moved.argmax(-1).tolist()
        [[1, 0, 1], [1, 0, 0]]
    """
    check_options(radius, window, topk, temperature)
    if len(keys) == 0:
        raise ValueError(f"at least one key frame is needed, got keys of shape {keys.shape}")
    return _propagate_frame(
        jnp.asarray(query),
        jnp.asarray(keys),
        jnp.asarray(labels),
        None if key_valid is None else jnp.asarray(key_valid),
        radius=radius,
        topk=topk,
        temperature=temperature,
        window=window,
        first_frame_windowed=first_frame_windowed,
        normalize=normalize,
    )


@functools.partial(jax.jit, static_argnames=("recall", "topk", "temperature"))
def _propagate_video(
    features: jax.Array, first_labels: jax.Array, *, recall: Recall, topk: int | None, temperature: Number
) -> jax.Array:
    first = lay_out(features[:1], normalize=recall.normalize)
    size = recall.num_context

    def step(carry: tuple[Frames, jax.Array], inputs: tuple[jax.Array, jax.Array]) -> tuple[tuple, jax.Array]:
        context, context_labels = carry
        frame, seen = inputs
        query = lay_out(frame[None], normalize=recall.normalize)
        # The previous frames are a ring: frame number n lies at n % size, what does not exist yet is frame 0.
        order = (seen + jnp.arange(size, dtype=np.int32)) % max(size, 1)
        oldest = (jax.tree.map(lambda ring: ring[order[:1]], context), context_labels[order[:1]])
        groups = key_groups(recall, (first, first_labels[None]), ((context,), context_labels), oldest, order, seen)
        labels = blend_labels(query, groups, window=recall.window, topk=topk, temperature=temperature)
        if size:
            context = jax.tree.map(lambda ring, new: ring.at[seen % size].set(new[0]), context, query)
            context_labels = context_labels.at[seen % size].set(labels)
        return (context, context_labels), labels

    ring = jax.tree.map(lambda array: jnp.repeat(array, size, axis=0), first)
    numbers = jnp.arange(1, len(features), dtype=np.int32)
    carry = (ring, jnp.repeat(first_labels[None], size, axis=0))
    _, labels = jax.lax.scan(step, carry, (features[1:], numbers))
    return jnp.concatenate([first_labels[None], labels])


@_jaxtyped(typechecker=beartype)
def propagate_video(
    features: Float[Array | np.ndarray, "t h w c"],
    first_labels: Float[Array | np.ndarray, "h w l"],
    *,
    num_context: int = 20,
    keep_first: bool = True,
    fill_first: bool = False,
    radius: Number | None,
    topk: int | None = 10,
    temperature: Number = 0.07,
    window: Window = "circle",
    first_frame_windowed: bool = True,
    normalize: bool = True,
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
        radius: reach of the window in grid cells; None allows every position.
        topk: number of keys that share the weight; None for all allowed ones.
        temperature: positive number that divides the scores before the softmax.
        window: "circle" (Euclidean distance < radius) or "square" (both row and column distance <= radius).
        first_frame_windowed: False lets the first key frame (without keep_first: the oldest kept) be searched without a
            window.
        normalize: divide every feature vector by max(its Euclidean norm, 1e-12) first.

    Returns:
        Labels [t, h, w, l], float32; those of frame 0 are first_labels.

    Raises:
        ValueError: an option is out of range, or the video has no frame.
        TypeError: the shapes do not fit each other, or an array is not of a float type.

    Example:
        >>> import jax.numpy as jnp
        >>> still = jnp.eye(6).reshape(2, 3, 6)
        >>> video = jnp.stack([jnp.roll(still, n, axis=1) for n in range(4)])
        >>> mask = jnp.eye(2)[jnp.array([[0, 1, 1], [0, 0, 1]])]
        >>> propagate_video(video, mask, radius=None, topk=1).argmax(-1)[2].tolist()
        [[1, 1, 0], [0, 1, 0]]
    """
    recall = Recall(num_context, keep_first, fill_first, radius, window, first_frame_windowed, normalize)
    check_options(radius, window, topk, temperature)
    if len(features) == 0:
        raise ValueError(f"the video has no frame: features of shape {features.shape}")
    return _propagate_video(
        jnp.asarray(features),
        jnp.asarray(first_labels).astype(np.float32),
        recall=recall,
        topk=topk,
        temperature=temperature,
    )
