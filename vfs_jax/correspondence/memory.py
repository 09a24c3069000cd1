"""Carry labels along a stream of frames with a memory of fixed size; its keys are the first and the latest frames."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vfs_jax.correspondence.affinity import Window
from vfs_jax.correspondence.arguments import Number, checked, own
from vfs_jax.correspondence.backends import Implementation
from vfs_jax.correspondence.blending import Ties, blend_labels, check_blending
from vfs_jax.correspondence.key_groups import KeyGroup, SearchSpec
from vfs_jax.correspondence.tiles import FeatureMaps


@dataclasses.dataclass(frozen=True)
class ContextSpec:
    """The context of a frame: which frames are its keys.

    Attributes:
        num_context: how many previous frames are keys.
        keep_first: frame 0 is a key of its own besides, so that it is there twice while it is one of the previous ones.
        fill_first: frame 0 stands in for previous frames that do not exist yet; else there are fewer keys.
        first_once: frame 0 is never one of the previous frames, so that it is there once; takes keep_first.
    """

    num_context: int
    keep_first: bool
    fill_first: bool
    first_once: bool

    def __post_init__(self) -> None:
        if self.num_context < (0 if self.keep_first else 1):
            raise ValueError(
                f"num_context must be at least 1, or 0 with keep_first, got {self.num_context} with "
                f"keep_first={self.keep_first}: there would be nothing to compare with"
            )
        if self.first_once and (self.fill_first or not self.keep_first):
            raise ValueError(
                f"first_once needs keep_first and excludes fill_first, got keep_first={self.keep_first}, "
                f"fill_first={self.fill_first}"
            )

    def previous_frames(self, number: int | jax.Array) -> np.ndarray | jax.Array:
        """Number the previous frames of a frame, int32 [num_context], oldest first; below 0 for those that are no keys.

        >>> ContextSpec(num_context=3, keep_first=True, fill_first=False, first_once=False).previous_frames(2).tolist()
        [-1, 0, 1]
        """
        numbers = np.arange(-self.num_context, 0, dtype=np.int32) + number
        if self.first_once:
            return numbers - (numbers == 0).astype(np.int32)
        return numbers.clip(min=0) if self.fill_first else numbers

    def key_frames(self, number: int) -> tuple[int, ...]:
        """Number the keys of a frame in order, as the operators have them; frame 0 may be there twice.

        >>> ContextSpec(num_context=3, keep_first=True, fill_first=True, first_once=False).key_frames(2)
        (0, 0, 0, 1)
        """
        previous = (int(frame) for frame in self.previous_frames(number) if frame >= 0)
        return (*((0,) if self.keep_first else ()), *previous)


class Labeled(NamedTuple):
    """Frames and their labels.

    Attributes:
        frames: feature maps of t frames in one or several pieces.
        labels: float32 [t, h, w, l].
    """

    frames: tuple[FeatureMaps, ...]
    labels: jax.Array


def key_groups(
    context: ContextSpec,
    search: SearchSpec,
    mask: jax.Array | None,
    first: Labeled,
    previous: Labeled,
    oldest: Labeled,
    order: jax.Array,
    number: jax.Array,
) -> tuple[list[KeyGroup], jax.Array]:
    """Sort the kept frames into groups that share a window, for `blend_labels`.

    Args:
        context: which frames are keys.
        search: which of their positions are.
        mask: bool [h, w], False for positions that are keys in no frame; None where all are.
        first: frame 0.
        previous: the num_context previous frames; what does not exist yet holds frame 0.
        oldest: the first of them, once more where they are stored in one piece.
        order: int [num_context], where the previous frames are stored, oldest first.
        number: of the frame whose keys they are, a scalar.

    Returns:
        The groups, first frames first, and the labels of their frames [t, h, w, l].
    """
    first_radius = None if search.first_frame_free else search.radius
    if context.num_context == 0:
        return [KeyGroup(first.frames, first_radius, mask=mask)], first.labels
    exists = jnp.asarray(context.previous_frames(number) >= 0)
    if not context.keep_first and search.first_frame_free:
        # The oldest frame is the first key. The oldest place always holds it: before the context is full, what does not
        # exist yet holds frame 0.
        first, exists = oldest, exists & (np.arange(context.num_context) > jnp.argmax(exists))
    valid = jnp.zeros(context.num_context, bool).at[order].set(exists)
    rest = KeyGroup(previous.frames, search.radius, order, valid, mask)
    if search.first_frame_free:
        groups = [KeyGroup(first.frames, None, mask=mask), rest]
    elif context.keep_first:
        order = jnp.concatenate([jnp.zeros(1, order.dtype), order + 1])
        valid = jnp.concatenate([jnp.ones(1, bool), valid])
        groups = [KeyGroup((*first.frames, *rest.frames), search.radius, order, valid, mask)]
    else:
        return [rest], previous.labels
    return groups, jnp.concatenate([first.labels, previous.labels])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Memory:
    """The frames that `propagate_next` compares the next frame with; made by `start_memory`.

    A pytree of fixed structure, so that every step reuses one compiled program. Frames are arrays of their own: a step
    hands the kept ones on without copying them, and an older memory stays usable.

    Attributes:
        first: frame 0.
        previous: the num_context previous frames, oldest first, a piece each; what does not exist yet holds frame 0.
        mask: bool [h, w], False for positions that are no keys; None where all are.
        seen: number of frames so far, int32 scalar.
        context: which frames are keys.
        search: which of their positions are, and whether scores are cosines.

    Example:
        >>> memory = start_memory(jnp.ones((2, 3, 4)), jnp.ones((2, 3, 1)), num_context=5, radius=2.0)
        >>> int(memory.seen), memory.context.num_context
        (1, 5)
    """

    first: Labeled
    previous: Labeled
    mask: jax.Array | None
    seen: jax.Array
    context: ContextSpec = dataclasses.field(metadata={"static": True})
    search: SearchSpec = dataclasses.field(metadata={"static": True})


def arrays_of(memory: Memory) -> list[jax.Array]:
    """List the arrays of a memory with which another device can go on: all but what kernels read, which follows."""
    return jax.tree.leaves(_each_map(lambda maps: maps._replace(kernel=None), memory))


def with_arrays(memory: Memory, arrays: Sequence[jax.Array | np.ndarray]) -> Memory:
    """Return a memory with other arrays, in the order of `arrays_of`, laid out for this device."""
    structure = jax.tree.structure(_each_map(lambda maps: maps._replace(kernel=None), memory))
    return _each_map(memory.search.lay_out, jax.tree.unflatten(structure, [jnp.asarray(array) for array in arrays]))


def _each_map(change: Callable[[FeatureMaps], FeatureMaps], memory: Memory) -> Memory:
    changed: Memory = jax.tree.map(
        lambda part: change(part) if isinstance(part, FeatureMaps) else part,
        memory,
        is_leaf=lambda part: isinstance(part, FeatureMaps),
    )
    return changed


@checked
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
    first_once: bool = False,
    key_mask: Bool[Array | np.ndarray, "h w"] | None = None,
    normalize: bool = True,
    implementation: Implementation | None = None,
) -> Memory:
    """Start to carry labels along a stream of frames, from its first frame.

    Args:
        features: features [h, w, c] of the first frame, any float.
        first_labels: labels [h, w, l] of the first frame, any float.
        num_context: how many previous frames are kept.
        radius: of the window in grid cells; None allows every position.
        window: "circle" or "square", as in `propagate_frame`.
        first_frame_windowed: False lets the first key frame (without keep_first: the oldest kept) be searched without a
            window.
        keep_first: keep the first frame for good, besides the previous frames; it is there twice while it is one of
            them.
        fill_first: the first frame stands in for previous frames that do not exist yet.
        first_once: the first frame is never one of the previous frames, as in DINO; with keep_first alone.
        key_mask: bool [h, w], False for positions that are keys in no frame.
        normalize: divide every feature vector by max(its Euclidean norm, 1e-12) first.
        implementation: what finds the matches, a name of `implementations()`; None for the best on the platform.

    Returns:
        The memory after frame 0. It holds num_context + 1 frames of features once it is full.

    Raises:
        ValueError: an option is out of range, an axis has length 0, or the implementation does not run here or takes no
            such features or window.
        TypeError: the shapes do not fit each other, an array has a type other than stated, or an option is traced.

    Example:
        >>> import jax.numpy as jnp
        >>> features = jnp.eye(6).reshape(2, 3, 6)
        >>> memory = start_memory(features, jnp.eye(2)[jnp.array([[0, 1, 1], [0, 0, 1]])], radius=3.0)
        >>> labels, memory = propagate_next(memory, jnp.roll(features, 1, axis=1), topk=1)
        >>> labels.argmax(-1).tolist(), int(memory.seen)
        ([[1, 0, 1], [1, 0, 0]], 2)
    """
    context = ContextSpec(num_context, keep_first, fill_first, first_once)
    search = SearchSpec(radius, window, first_frame_windowed, normalize, implementation)
    frame, labels, previous_labels, seen = _start(
        own(features), own(first_labels), num_context=num_context, search=search
    )
    return Memory(
        first=Labeled((frame,), labels),
        previous=Labeled((frame,) * num_context, previous_labels),
        mask=None if key_mask is None else own(key_mask),
        seen=seen,
        context=context,
        search=search,
    )


@functools.partial(jax.jit, static_argnames=("num_context", "search"))
def _start(
    features: jax.Array, labels: jax.Array, *, num_context: int, search: SearchSpec
) -> tuple[FeatureMaps, jax.Array, jax.Array, jax.Array]:
    """Make the first frame, its labels, those of the previous frames, and the number of frames seen, in one program."""
    labels = labels[None].astype(np.float32)
    frame = search.feature_maps(features[None])
    return frame, labels, jnp.repeat(labels, num_context, axis=0), jnp.ones((), np.int32)


@functools.partial(jax.jit, static_argnames=("topk", "temperature", "ties"))
def _step(
    memory: Memory, features: jax.Array, *, topk: int | None, temperature: Number, ties: Ties
) -> tuple[jax.Array, FeatureMaps, jax.Array, jax.Array]:
    """Compute the next frame's labels, and what of the next memory is new: the frame, the previous labels, seen."""
    context, search, first, previous = memory.context, memory.search, memory.first, memory.previous
    query = search.feature_maps(features[None])
    oldest = Labeled(previous.frames[:1], previous.labels[:1])
    order = jnp.arange(context.num_context, dtype=np.int32)
    groups, key_labels = key_groups(context, search, memory.mask, first, previous, oldest, order, memory.seen)
    labels = blend_labels(query, groups, key_labels, spec=search, topk=topk, temperature=temperature, ties=ties)
    kept = min(1, context.num_context)
    return labels, query, jnp.concatenate([previous.labels[kept:], labels[None][:kept]]), memory.seen + 1


@checked
def propagate_next(
    memory: Memory,
    features: Float[Array | np.ndarray, "h w c"],
    *,
    topk: int | None = 10,
    temperature: Number = 0.07,
    ties: Ties = "first",
) -> tuple[Float[Array, "h w l"], Memory]:
    """Carry labels to the next frame of a stream, and remember it.

    The same numbers as `propagate_video`, one frame at a time, at the same cost however long the stream is. Call it
    outside of jit: it is compiled by itself, and hands the kept frames on without copying them, which jit would not.

    Args:
        memory: what `start_memory` or the last call gave; it stays valid.
        features: features [h, w, c] of the next frame, of the memory's shape and dtype.
        topk: number of matches that share the weight; None for all keys.
        temperature: positive number that divides the scores before the softmax.
        ties: "first" or "all", as in `propagate_frame`.

    Returns:
        Labels [h, w, l] of this frame, float32, and the memory that holds it.

    Raises:
        ValueError: an option is out of range, or the features' shape or dtype is not the memory's.
        TypeError: the features are not a float array with three axes, or an option is traced.

    Example:
        >>> import jax.numpy as jnp
        >>> memory = start_memory(jnp.ones((2, 3, 4)), jnp.ones((2, 3, 1)), num_context=5, radius=2.0)
        >>> for _ in range(3):
        ...     labels, memory = propagate_next(memory, jnp.ones((2, 3, 4)))
        >>> labels.shape, int(memory.seen)
        ((2, 3, 1), 4)
    """
    check_blending(topk, temperature)
    features = own(features)
    kept = memory.first.frames[0].values
    if features.shape != kept.shape[1:] or features.dtype != kept.dtype:
        raise ValueError(
            f"the memory holds frames {kept.shape[1:]} of {kept.dtype}, got features {features.shape} of "
            f"{features.dtype}"
        )
    labels, frame, previous_labels, seen = _step(memory, features, topk=topk, temperature=temperature, ties=ties)
    # Outside of the compiled part, which would copy the kept frames.
    frames = (*memory.previous.frames[1:], frame) if memory.previous.frames else ()
    return labels, dataclasses.replace(memory, previous=Labeled(frames, previous_labels), seen=seen)
