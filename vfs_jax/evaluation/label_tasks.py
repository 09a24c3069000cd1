"""Label propagation through whole videos: first mask in, a mask a frame out, as VFS evaluates on DAVIS."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Literal

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from beartype import beartype
from jaxtyping import Array, Float, UInt8, jaxtyped

from vfs_jax.correspondence import propagate_next, start_memory
from vfs_jax.correspondence.coordinates import resize_bilinear, resize_nearest
from vfs_jax.evaluation.features import grid_size, iterate_features
from vfs_jax.models.resnet import Variables

_EPSILON = 1e-12


@dataclasses.dataclass(frozen=True)
class Settings:
    """How labels are propagated; the defaults are the release's for ResNet-18 on DAVIS.

    Attributes:
      short_side: of the network's input in pixels; the aspect is kept, no side is rounded to a multiple.
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


def network_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width of the network's input: the shorter side as given, the aspect kept.

    >>> network_size(480, 854, 480), network_size(1080, 1920, 480), network_size(640, 360, 480)
    ((480, 854), (480, 853), (853, 480))
    """
    scale = short_side / min(height, width)
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
    large = resize_bilinear(labels, size)
    low, high = (reduce(large, axis=(0, 1), keepdims=True) for reduce in (jnp.min, jnp.max))
    scaled = (large - low) / (high - low + _EPSILON)
    return jnp.argmax(jnp.where(high > 0, scaled, large), axis=-1).astype(jnp.uint8)


def propagate_labels(
    variables: Variables, frames: Iterable[np.ndarray], labels: Array | np.ndarray, settings: Settings
) -> Iterator[Array]:
    """Propagates the labels of the first frame, one frame at a time, with a memory of fixed size.

    Args:
      variables: of a ResNet.
      frames: RGB uint8 [h, w, 3] each, all of one size: the network's input, the first one included.
      labels: of the first frame on the grid of the features, float [rows, cols, l].
      settings: how.

    Yields:
      The soft labels of every frame but the first, float32 [rows, cols, l], on the device.
    """
    s = settings
    memory = None
    features_of = functools.partial(iterate_features, output=s.output, batch_frames=s.batch_frames, dtype=s.dtype)
    for features in features_of(variables, frames):
        if memory is None:
            memory = start_memory(
                features,
                labels,
                num_context=s.num_context,
                radius=s.radius,
                window=s.window,
                first_frame_windowed=s.first_frame_windowed,
                keep_first=s.keep_first,
                fill_first=s.fill_first,
            )
        else:
            found, memory = propagate_next(memory, features, topk=s.topk, temperature=s.temperature)
            yield found


@jaxtyped(typechecker=beartype)
def propagate_masks(
    variables: Variables,
    frames: Iterable[np.ndarray],
    first_mask: UInt8[np.ndarray, "h w"],
    settings: Settings = Settings(),
) -> Iterator[Array | np.ndarray]:
    """Propagates the first frame's mask through a video, as the release does on DAVIS.

    Args:
      variables: of a ResNet.
      frames: RGB uint8 [h, w, 3] each, in time order, of the mask's size.
      first_mask: index mask of the first frame, uint8 [h, w], 0 for background.
      settings: how.

    Yields:
      An index mask a frame, the first included, uint8 [h, w]; on the device, so that computing goes on while an earlier
      one is written. The first is the given mask, brought to the network's size and back where that differs.
    """
    height, width = size = first_mask.shape
    inner = network_size(height, width, settings.short_side)
    small = np.asarray(resize_nearest(first_mask, inner))
    yield np.asarray(resize_nearest(small, size, origin="corner"))
    resized = (resize_frame(frame, inner) for frame in frames)
    for labels in propagate_labels(variables, resized, first_labels(small, grid_size(*inner)), settings):
        yield masks_of(labels, size=size)
