"""Label propagation through whole videos: first labels in, labels of every frame out, as VFS evaluates its features."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from beartype import beartype
from jaxtyping import Array, Float, UInt8, jaxtyped

from vfs_jax.correspondence import Memory, propagate_next, start_memory
from vfs_jax.correspondence.coordinates import resize_bilinear, resize_nearest
from vfs_jax.evaluation.features import grid_size, iterate_features
from vfs_jax.models.resnet import Variables

_EPSILON = 1e-12


@dataclasses.dataclass(frozen=True)
class Settings:
    """How labels are propagated; the defaults are the release's for ResNet-18 on DAVIS.

    Attributes:
      short_side: of the network's input in pixels; the aspect is kept, no side is rounded to a multiple.
      square: whether both sides are that long, whatever the aspect (JHMDB, VIP).
      output: of the ResNet, a stage or a block.
      dtype: of the features.
      batch_frames: frames a call of the network.
      radius: of the window, in grid cells; None for none. See `vfs_jax.correspondence.propagate_frame` for this and the
        following.
      window: its shape.
      topk: keys that take part.
      temperature: of the softmax over them.
      num_context: previous frames that serve as keys.
      first_frame_windowed: whether the window holds for frame 0 too.
      keep_first: whether frame 0 is a key throughout.
      fill_first: whether frame 0 stands in for the missing past.
    """

    short_side: int = 480
    square: bool = False
    output: str = "res4"
    dtype: Literal["float32", "bfloat16"] = "float32"
    batch_frames: int = 4
    radius: float | None = 12.0
    window: Literal["circle", "square"] = "circle"
    topk: int | None = 10
    temperature: float = 0.07
    num_context: int = 20
    first_frame_windowed: bool = True
    keep_first: bool = True
    fill_first: bool = False


def network_size(height: int, width: int, settings: Settings) -> tuple[int, int]:
    """Height and width of the network's input for frames of a size.

    >>> network_size(480, 854, Settings()), network_size(1080, 1920, Settings()), network_size(640, 360, Settings())
    ((480, 854), (480, 853), (853, 480))
    """
    if settings.square:
        return settings.short_side, settings.short_side
    scale = settings.short_side / min(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)


def resize_frame(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear without antialiasing, as OpenCV does it: uint8 [h, w, 3] to a (height, width)."""
    return frame if frame.shape[:2] == size else cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR)


@jaxtyped(typechecker=beartype)
def first_labels(mask: UInt8[np.ndarray, "h w"], size: tuple[int, int]) -> Float[np.ndarray, "rows cols l"]:
    """Shrinks an index mask to a grid, by nearest neighbour, and makes it one-hot.

    Quirk of the release: there are as many channels as the highest label left after shrinking, plus one. An object that
    vanishes in shrinking is lost; one with the highest label has not even a channel.

    Args:
      mask: index mask uint8 [h, w].
      size: rows and columns of the grid.

    Returns:
      float32 [rows, cols, l], values 0 and 1.

    >>> first_labels(np.array([[0, 0, 2, 2], [0, 0, 2, 2]], np.uint8), (1, 2)).tolist()
    [[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]
    """
    small = np.asarray(resize_nearest(mask, size))
    return np.eye(int(small.max(initial=0)) + 1, dtype=np.float32)[small]


@functools.partial(jax.jit, static_argnames=("size",))
def masks_of(labels: Array, *, size: tuple[int, int]) -> Array:
    """Turns soft labels into an index mask at the frame's own size.

    Bilinear with half-pixel centres; every channel is then scaled to 0..1 over the frame (a channel whose maximum is 0
    stays); the highest channel wins, of equals the lowest label.

    Args:
      labels: float [h, w, l].
      size: height and width of the frame.

    Returns:
      uint8 [height, width].
    """
    return jnp.argmax(_scaled(labels, size), axis=-1).astype(jnp.uint8)


def _scaled(labels: Array, size: tuple[int, int]) -> Array:
    """Soft labels at a frame's size, every channel scaled to 0..1 over the frame."""
    large = resize_bilinear(labels, size)
    low, high = (reduce(large, axis=(0, 1), keepdims=True) for reduce in (jnp.min, jnp.max))
    return jnp.where(high > 0, (large - low) / (high - low + _EPSILON), large)


def network_features(variables: Variables, frames: Iterable[np.ndarray], settings: Settings) -> Iterator[Array]:
    """Features of frames as they are: resized to the network's input and put through it.

    Args:
      variables: of a ResNet.
      frames: RGB uint8 [h, w, 3] each, in time order, all of one size.
      settings: input size, output, dtype, frames a call.

    Yields:
      [rows, cols, c] a frame, on the device.
    """
    resized = (resize_frame(frame, network_size(frame.shape[0], frame.shape[1], settings)) for frame in frames)
    yield from iterate_features(
        variables, resized, output=settings.output, batch_frames=settings.batch_frames, dtype=settings.dtype
    )


def start(features: Array, labels: Array | np.ndarray, settings: Settings) -> Memory:
    """The memory of a propagation that starts at a frame with these features and labels [rows, cols, l]."""
    return start_memory(
        features,
        labels,
        num_context=settings.num_context,
        radius=settings.radius,
        window=settings.window,
        first_frame_windowed=settings.first_frame_windowed,
        keep_first=settings.keep_first,
        fill_first=settings.fill_first,
    )


def propagate_labels(features: Iterable[Array], labels: Array | np.ndarray, settings: Settings) -> Iterator[Array]:
    """Propagates the labels of the first frame, one frame at a time, with a memory of fixed size.

    Args:
      features: [rows, cols, c] a frame, in time order.
      labels: of the first frame, float [rows, cols, l].
      settings: how.

    Yields:
      The soft labels of every frame but the first, float32 [rows, cols, l], on the device.
    """
    iterator = iter(features)
    padded = pad_channels(np.asarray(labels))
    memory = start(next(iterator), padded, settings)
    for frame in iterator:
        found, memory = propagate_next(memory, frame, topk=settings.topk, temperature=settings.temperature)
        yield found[..., : labels.shape[-1]]


def pad_channels(labels: np.ndarray, multiple: int = 4) -> np.ndarray:
    """Adds channels of zeros, so that videos with other numbers of objects share compiled programs.

    No channel changes another one: propagation, min-max and argmax (zeros never win) are as without them.
    """
    missing = -labels.shape[-1] % multiple
    return np.pad(labels, ((0, 0), (0, 0), (0, missing))).astype(np.float32)


@jaxtyped(typechecker=beartype)
def propagate_masks(
    variables: Variables,
    frames: Iterable[np.ndarray],
    first_mask: UInt8[np.ndarray, "h w"],
    settings: Settings = Settings(),
    *,
    new_masks: Mapping[int, np.ndarray] | None = None,
) -> Iterator[Array | np.ndarray]:
    """Propagates the first frame's mask through a video, as the release does on DAVIS.

    Objects may enter later. Those of one frame are propagated together, from their own frame on, which is kept for them
    as frame 0 is for the first ones. A pixel then goes to the object with the highest map, or to the background where
    the least of the groups' background maps is higher still.

    Args:
      variables: of a ResNet.
      frames: RGB uint8 [h, w, 3] each, in time order, of the mask's size.
      first_mask: index mask of the first frame, uint8 [h, w], 0 for background.
      settings: how.
      new_masks: index masks of later frames, by frame number; labels that were there before are not read again.

    Yields:
      An index mask a frame, the first included, uint8 [h, w]; on the device, so that computing goes on while an earlier
      one is written. The first is the given mask, brought to the network's size and back where that differs.
    """
    size = first_mask.shape[0], first_mask.shape[1]
    inner = network_size(size[0], size[1], settings)
    new_masks = {0: first_mask, **(new_masks or {})}
    known: set[int] = set()
    groups: list[tuple[Memory, tuple[int, ...]]] = []
    for number, features in enumerate(network_features(variables, frames, settings)):
        maps = []
        for index, (memory, labels) in enumerate(groups):
            found, memory = propagate_next(memory, features, topk=settings.topk, temperature=settings.temperature)
            groups[index] = memory, labels
            maps.append(found)
        mask: Array | np.ndarray = np.zeros(size, np.uint8)
        if len(groups) == 1:
            mask = masks_of(maps[0], size=size)
        elif groups:
            mask = merge_groups(maps, labels=tuple(labels for _, labels in groups), size=size)
        if number in new_masks:
            entering = np.where(np.isin(new_masks[number], list(known)), np.uint8(0), new_masks[number])
            known |= set(np.unique(entering).tolist())
            small = np.asarray(resize_nearest(entering, inner))
            shown = np.asarray(resize_nearest(small, size, origin="corner"))
            mask = shown if number == 0 else np.where(shown > 0, shown, np.asarray(mask))
            grid = first_labels(small, grid_size(inner[0], inner[1]))
            labels = tuple(range(grid.shape[-1]))
            if number > 0:  # only the channels of what enters; the others would be empty
                labels = (0, *(label for label in labels[1:] if grid[..., label].any()))
            if number == 0 or len(labels) > 1:
                groups.append((start(features, pad_channels(grid[..., labels]), settings), labels))
        yield mask


@functools.partial(jax.jit, static_argnames=("labels", "size"))
def merge_groups(maps: list[Array], *, labels: tuple[tuple[int, ...], ...], size: tuple[int, int]) -> Array:
    """One index mask from the soft labels of several groups of objects.

    Args:
      maps: [h, w, l] a group; channel i is that of the group's label i, channel 0 all that is none of its objects.
      labels: of the channels of each group.
      size: height and width of the mask.

    Returns:
      uint8 [height, width].
    """
    channels = jnp.full((*size, max(map(max, labels)) + 1), -jnp.inf, jnp.float32)
    background = jnp.full(size, jnp.inf, jnp.float32)
    for group, names in zip(maps, labels, strict=True):
        scaled = _scaled(group, size)
        background = jnp.minimum(background, scaled[..., 0])
        for channel, label in enumerate(names[1:], start=1):
            channels = channels.at[..., label].set(scaled[..., channel])
    return jnp.argmax(channels.at[..., 0].set(background), axis=-1).astype(jnp.uint8)


@jaxtyped(typechecker=beartype)
def propagate_maps(
    variables: Variables,
    frames: Iterable[np.ndarray],
    first_maps: Float[np.ndarray, "h w l"],
    settings: Settings = Settings(),
) -> Iterator[Array]:
    """Propagates soft maps, of joints for instance: no min-max, no argmax.

    Args:
      variables: of a ResNet.
      frames: RGB uint8 [h, w, 3] each, in time order, of the maps' size.
      first_maps: of the first frame, float [h, w, l].
      settings: how.

    Yields:
      The soft labels of every frame but the first, on the grid: float32 [rows, cols, l], on the device.
      `resize_bilinear` brings them to the frame's size.
    """
    inner = network_size(first_maps.shape[0], first_maps.shape[1], settings)
    grid = np.asarray(resize_bilinear(resize_maps(first_maps, inner), grid_size(inner[0], inner[1])))
    yield from propagate_labels(network_features(variables, frames, settings), grid, settings)


def resize_maps(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear without antialiasing, as OpenCV does it: float [h, w, l] to float32 of a (height, width)."""
    maps = maps.astype(np.float32)
    if maps.shape[:2] == size:
        return maps
    each = [cv2.resize(maps[..., k], size[::-1], interpolation=cv2.INTER_LINEAR) for k in range(maps.shape[-1])]
    return np.stack(each, axis=-1)


def stream(
    frames: Iterable[np.ndarray],
    first_labels: np.ndarray,
    variables: Variables,
    *,
    new_labels: Mapping[int, np.ndarray] | None = None,
    **settings: Any,
) -> Iterator[np.ndarray]:
    """Propagates labels through a video of any length as its frames come, with constant memory.

    Args:
      frames: RGB uint8 [h, w, 3] each, in time order; a list, a generator, a camera.
      first_labels: of the first frame: an index mask uint8 [h, w], or maps, float [h, w, l].
      variables: of a ResNet, as `vfs_jax.models.load_torch` gives them.
      new_labels: index masks uint8 [h, w] of later frames, by frame number, for objects that enter there. With index
        masks only.
      **settings: fields of `Settings`: radius, topk, short_side, ...

    Yields:
      Labels of every frame, of the kind of first_labels: uint8 [h, w], or float32 [h, w, l]. Those of the first are
      the given ones, brought to the network's size and back where that differs.

    Raises:
      ValueError: new_labels come with maps.
      TypeError: an unknown setting.

    Example::

      variables = load_torch("vfs_r18.pth")
      for labels in stream(frames, first_mask, variables):
          show(labels)  # uint8 [h, w], as soon as the frame is there
    """
    options = Settings(**settings)
    if first_labels.dtype == np.uint8:
        for mask in propagate_masks(variables, frames, first_labels, options, new_masks=new_labels):
            yield np.asarray(mask)
        return
    if new_labels:
        raise ValueError("new_labels come with index masks only, first_labels holds maps")
    inner = network_size(first_labels.shape[0], first_labels.shape[1], options)
    yield np.asarray(resize_bilinear(resize_maps(first_labels, inner), first_labels.shape[:2]))
    for labels in propagate_maps(variables, frames, first_labels, options):
        yield np.asarray(resize_bilinear(labels, first_labels.shape[:2]))
