"""What a video's next frame is compared with: the first frame and the latest ones, kept ready for the search."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from beartype import beartype
from jaxtyping import Array, Float
from jaxtyping import jaxtyped as _jaxtyped

from vfs_jax.correspondence.affinity import Number, Window
from vfs_jax.correspondence.matching import Frames, KeyGroup, blend_labels, check_options, lay_out


@dataclasses.dataclass(frozen=True)
class Recall:
    """Which frames the next one is compared with, and within which window.

    Attributes:
        num_context: how many previous frames are kept.
        keep_first: keep frame 0 besides, as a key of its own.
        fill_first: frame 0 stands in for previous frames that do not exist yet.
        radius: reach of the window in grid cells; None for none.
        window: "circle" or "square".
        first_frame_windowed: False frees the first key frame from the window.
        normalize: whether features are divided by their norms.
    """

    num_context: int
    keep_first: bool
    fill_first: bool
    radius: Number | None
    window: Window
    first_frame_windowed: bool
    normalize: bool

    def __post_init__(self) -> None:
        check_options(self.radius, self.window)
        if self.num_context < (0 if self.keep_first else 1):
            raise ValueError(
                f"num_context must be at least 1, or 0 with keep_first, got {self.num_context} with "
                f"keep_first={self.keep_first}: there would be nothing to compare with"
            )


def key_groups(
    recall: Recall,
    first: tuple[Frames, jax.Array],
    context: tuple[tuple[Frames, ...], jax.Array],
    oldest: tuple[Frames, jax.Array],
    order: jax.Array,
    seen: jax.Array,
) -> list[KeyGroup]:
    """Sort the kept frames into groups that share a window, for `blend_labels`.

    Args:
        recall: the options.
        first: features and labels [1, h, w, l] of frame 0.
        context: features, in pieces, and labels [num_context, h, w, l] of the previous frames; what does not exist yet
            holds frame 0.
        oldest: features and labels [1, h, w, l] of the oldest of them.
        order: int [num_context], where the previous frames are stored, oldest first.
        seen: number of frames so far, a scalar.

    Returns:
        The groups, first frames first.
    """
    free = not recall.first_frame_windowed and recall.radius is not None
    if recall.num_context == 0:
        return [KeyGroup((first[0],), first[1], radius=None if free else recall.radius)]
    number = jnp.arange(recall.num_context, dtype=np.int32)
    start = jnp.zeros_like(seen) if recall.fill_first else jnp.maximum(recall.num_context - seen, 0)
    exists = jnp.zeros(recall.num_context, bool).at[order].set(number >= start)
    if recall.keep_first and free:
        return [
            KeyGroup((first[0],), first[1], radius=None),
            KeyGroup(*context, order=order, valid=exists, radius=recall.radius),
        ]
    if recall.keep_first:
        return [
            KeyGroup(
                (first[0], *context[0]),
                jnp.concatenate([first[1], context[1]]),
                order=jnp.concatenate([jnp.zeros(1, order.dtype), order + 1]),
                valid=jnp.concatenate([jnp.ones(1, bool), exists]),
                radius=recall.radius,
            )
        ]
    if not free:
        return [KeyGroup(*context, order=order, valid=exists, radius=recall.radius)]
    # Without frame 0 the oldest frame is the first key. The oldest place always holds it: before the context is full,
    # what does not exist yet holds frame 0.
    others = jnp.zeros(recall.num_context, bool).at[order].set(number > start)
    return [
        KeyGroup((oldest[0],), oldest[1], radius=None),
        KeyGroup(*context, order=order, valid=others, radius=recall.radius),
    ]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Memory:
    """The frames that `propagate_next` compares the next frame with; made by `start_memory`.

    A pytree of fixed structure, so that every step reuses one compiled program. Frames are arrays of their own: a step
    hands the kept ones on without copying them, and an older memory stays usable.

    Attributes:
        first: features of frame 0.
        first_labels: labels [1, h, w, l] of frame 0, float32.
        context: features of the previous frames, oldest first; what does not exist yet holds frame 0.
        context_labels: labels [num_context, h, w, l] of the previous frames, float32.
        seen: number of frames so far.
        recall: the options.
    """

    first: Frames
    first_labels: jax.Array
    context: tuple[Frames, ...]
    context_labels: jax.Array
    seen: jax.Array
    recall: Recall = dataclasses.field(metadata={"static": True})


@_jaxtyped(typechecker=beartype)
def start_memory(
    features: Float[Array | np.ndarray, "h w c"],
    first_labels: Float[Array | np.ndarray, "h w l"],
    *,
    num_context: int = 20,
    radius: Number | None,
    window: Window = "circle",
    first_frame_windowed: bool = True,
    keep_first: bool = True,
    fill_first: bool = False,
    normalize: bool = True,
) -> Memory:
    """Start to carry labels along a stream of frames, from its first frame.

    Args:
        features: features [h, w, c] of the first frame, any float.
        first_labels: labels [h, w, l] of the first frame, any float.
        num_context: how many previous frames are kept.
        radius: reach of the window in grid cells; None allows every position.
        window: "circle" or "square", as in `propagate_frame`.
        first_frame_windowed: False lets the first key frame (without keep_first: the oldest kept) be searched without a
            window.
        keep_first: keep the first frame for good, besides the previous frames; it is there twice while it is one of
            them.
        fill_first: the first frame stands in for previous frames that do not exist yet.
        normalize: divide every feature vector by max(its Euclidean norm, 1e-12) first.

    Returns:
        The memory after frame 0. It holds num_context + 1 frames of features once it is full.

    Raises:
        ValueError: an option is out of range.
        TypeError: the shapes do not fit each other, or an array is not of a float type.

    Example:
        >>> import jax.numpy as jnp
        >>> features = jnp.eye(6).reshape(2, 3, 6)
        >>> memory = start_memory(features, jnp.eye(2)[jnp.array([[0, 1, 1], [0, 0, 1]])], radius=3.0)
        >>> labels, memory = propagate_next(memory, jnp.roll(features, 1, axis=1), topk=1)
        >>> labels.argmax(-1).tolist(), int(memory.seen)
        ([[1, 0, 1], [1, 0, 0]], 2)
    """
    recall = Recall(num_context, keep_first, fill_first, radius, window, first_frame_windowed, normalize)
    first = _lay_out(jnp.asarray(features)[None], normalize=normalize)
    labels = jnp.asarray(first_labels)[None].astype(np.float32)
    return Memory(
        first=first,
        first_labels=labels,
        context=(first,) * num_context,
        context_labels=jnp.repeat(labels, num_context, axis=0),
        seen=jnp.ones((), np.int32),
        recall=recall,
    )


_lay_out = jax.jit(lay_out, static_argnames="normalize")


@functools.partial(jax.jit, static_argnames=("topk", "temperature"))
def _step(
    memory: Memory, features: jax.Array, *, topk: int | None, temperature: Number
) -> tuple[jax.Array, Frames, jax.Array, jax.Array]:
    """Compute the labels of the next frame, and what of the next memory is new: frame, context's labels, seen."""
    recall = memory.recall
    query = lay_out(features[None], normalize=recall.normalize)
    groups = key_groups(
        recall,
        (memory.first, memory.first_labels),
        (memory.context, memory.context_labels),
        (memory.context[0] if memory.context else memory.first, memory.context_labels[:1]),
        jnp.arange(recall.num_context, dtype=np.int32),
        memory.seen,
    )
    labels = blend_labels(query, groups, window=recall.window, topk=topk, temperature=temperature)
    kept = min(1, recall.num_context)
    context_labels = jnp.concatenate([memory.context_labels[kept:], labels[None][:kept]])
    return labels, query, context_labels, memory.seen + 1


@_jaxtyped(typechecker=beartype)
def propagate_next(
    memory: Memory, features: Float[Array | np.ndarray, "h w c"], *, topk: int | None = 10, temperature: Number = 0.07
) -> tuple[Float[Array, "h w l"], Memory]:
    """Carry labels to the next frame of a stream, and remember it.

    The same numbers as `propagate_video`, one frame at a time, at the same cost however long the stream is. Call it
    outside of jit: it is compiled by itself, and hands the kept frames on without copying them, which jit would not.

    Args:
        memory: what `start_memory` or the last call gave; it stays valid.
        features: features [h, w, c] of the next frame, of the memory's shape and dtype.
        topk: number of keys that share the weight; None for all allowed ones.
        temperature: positive number that divides the scores before the softmax.

    Returns:
        Labels [h, w, l] of this frame, float32, and the memory that holds it.

    Raises:
        ValueError: an option is out of range, or the features' shape or dtype is not the memory's.
        TypeError: the features are not a float array with three axes.

    Example:
        >>> import jax.numpy as jnp
        >>> memory = start_memory(jnp.ones((2, 3, 4)), jnp.ones((2, 3, 1)), num_context=5, radius=2.0)
        >>> for _ in range(3):
        ...     labels, memory = propagate_next(memory, jnp.ones((2, 3, 4)))
        >>> labels.shape, int(memory.seen)
        ((2, 3, 1), 4)
    """
    check_options(memory.recall.radius, memory.recall.window, topk, temperature)
    features = jnp.asarray(features)
    kept = memory.first.values
    if features.shape != kept.shape[1:] or features.dtype != kept.dtype:
        raise ValueError(
            f"the memory holds frames {kept.shape[1:]} of {kept.dtype}, got features {features.shape} of "
            f"{features.dtype}"
        )
    labels, frame, context_labels, seen = _step(memory, features, topk=topk, temperature=temperature)
    # Outside of the compiled part, which would copy the kept frames.
    context = (*memory.context[1:], frame) if memory.context else ()
    return labels, dataclasses.replace(memory, context=context, context_labels=context_labels, seen=seen)
