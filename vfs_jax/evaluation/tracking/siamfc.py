"""SiamFC on frozen res5 features: one box through a video, exactly as VFS's release tracks it.

Quirks of the release, kept here and named where they are: 1-based boxes; center and size in float32; the mean color
of the current frame pads (see `crop_target`); a response of 18x18 cells read as if it had 17; the penalty of a scale
change multiplies the raw response, so that negative responses rise.
"""

import dataclasses
import functools
import os
import time
from collections.abc import Sequence
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vfs_jax.correspondence import cross_correlate
from vfs_jax.data.images import Frame, as_rgb, read_frame
from vfs_jax.data.target_crops import center_of, crop_target, exemplar_extent
from vfs_jax.errors import InputError
from vfs_jax.models import depth_of
from vfs_jax.models.resnet import Variables
from vfs_jax.models.tracking import out_scale, tracking_features

_SIZES = 1e-3, 1e6  # pixels: a target that shrinks or grows for thousands of frames stays a number


@dataclasses.dataclass(frozen=True)
class TrackerSettings:
    """How a box is tracked; the defaults are the release's.

    Attributes:
        head: whether the trained 1x1 convolutions are applied; None where the variables hold them.
        out_scale: times the correlation; None for 1e-3, or 1e-5 from ResNet-50 on.
        exemplar_size: side of the exemplar's patch, pixels.
        search_size: side of the search region's patch, pixels.
        context: of the exemplar around the box, a share of width + height.
        scale_count: sizes that are searched, odd.
        scale_step: from one size to the next.
        scale_rate: share of the best size in the new size.
        scale_penalty: times the responses of sizes other than the last.
        window_influence: share of the Hann window in the final response.
        response_cells: of the response as it is read. Quirk: with padding it has 18, is stretched to 17 * 16 pixels all
            the same, and a cell counts as the stride of 8 search pixels.
        response_upsampling: pixels a cell.
        stride: search pixels a cell.
    """

    head: bool | None = None
    out_scale: float | None = None
    exemplar_size: int = 120
    search_size: int = 255
    context: float = 0.5
    scale_count: int = 3
    scale_step: float = 1.0375
    scale_rate: float = 0.59
    scale_penalty: float = 0.9745
    window_influence: float = 0.176
    response_cells: int = 17
    response_upsampling: int = 16
    stride: int = 8


@functools.partial(jax.jit, static_argnames=("out_scale",))
def exemplar_kernel(
    variables: Variables, head: Variables | None, patch: Array, *, out_scale: float
) -> tuple[Array, Array]:
    """Compute the kernel that search features are correlated with, once a track.

    The head is linear, so its part for the search region moves over to the exemplar: with z the exemplar's features
    behind the head, sum z . (W x + b) is sum (W^T z) . x plus the constant sum z . b.

    Args:
        variables: of the ResNet.
        head: parameters of a SiamFCHead; None correlates the features themselves.
        patch: uint8 [1, h, w, 3].
        out_scale: times both results.

    Returns:
        The kernel, float32 [1, h', w', c], and the constant, float32 [].
    """
    z = tracking_features(variables, patch)
    if head is None:
        return z * out_scale, jnp.zeros((), z.dtype)
    z = (z @ head["exemplar"]["kernel"][0, 0] + _row(head["exemplar"]["bias"])) * out_scale
    return z @ head["search"]["kernel"][0, 0].T, jnp.sum(z * _row(head["search"]["bias"]))


def _row(vector: Array) -> Array:
    return vector[None, None, None, :]


@jax.jit
def responses(variables: Variables, kernel: Array, constant: Array, patches: Array) -> Array:
    """Correlate the searched sizes with the kernel: uint8 [n, h, w, 3] to float32 [n, rows, cols]; one call a frame."""
    x = tracking_features(variables, patches)
    return cross_correlate(jnp.broadcast_to(kernel, (x.shape[0], *kernel.shape[1:])), x) + constant


class SiamFCTracker:
    """Follows one target from a box in the first frame.

    Works as a tracker of the got10k toolkit's experiments too (`name`, `is_deterministic`, `track`).

    Attributes:
        settings: how it tracks.

    Example:
        >>> from vfs_jax.models import backbone_of, init_variables
        >>> variables = backbone_of(init_variables(seed=0, depth=18))  # or load_torch("r18.pth", part="siamfc")
        >>> frames = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), np.uint8)
        >>> tracker = SiamFCTracker(variables, exemplar_size=56, search_size=119)
        >>> tracker.init(frames[0], [30, 20, 24, 16])
        >>> [tracker.update(frame).shape for frame in frames[1:]]
        [(4,), (4,)]
    """

    name = "SiamFC"
    is_deterministic = True

    def __init__(self, variables: Variables, **settings: Any):
        """Take the weights and settings.

        Args:
            variables: of a ResNet (its res5 features are correlated), or {"backbone": ..., "head": ...} in each
                collection, as `load_torch(path, part="siamfc")` gives them.
            **settings: fields of `TrackerSettings`.

        Raises:
            TypeError: an unknown setting.
            InputError: head=True, but the variables hold none; an even scale_count.
        """
        self.settings = TrackerSettings(**settings)
        if self.settings.scale_count < 1 or self.settings.scale_count % 2 == 0:
            raise InputError(f"scale_count={self.settings.scale_count}: take an odd number, so that one is no change")
        collections = {name: variables[name] for name in ("params", "batch_stats")}
        head = collections["params"].get("head")
        if "backbone" in collections["params"]:
            collections = {name: tree["backbone"] for name, tree in collections.items()}
        if self.settings.head and head is None:
            raise InputError("head=True: the variables hold no SiamFC head; load them with part='siamfc'")
        self._head = None if self.settings.head is False else jax.tree.map(jnp.asarray, head)
        self._variables = jax.tree.map(jnp.asarray, collections)
        self._out_scale = self.settings.out_scale
        if self._out_scale is None:
            self._out_scale = out_scale(depth_of(self._variables))
        self._scales = _scales(self.settings)
        self._window = _hann_window(self.settings)
        self._kernel: tuple[Array, Array] | None = None

    def init(self, frame: Frame, box: Sequence[float] | np.ndarray) -> None:
        """Start at a box.

        Args:
            frame: RGB uint8 [h, w, 3] or a PIL image; gray and 16-bit ones as `as_rgb` takes them.
            box: 1-based left, top, width and height in pixels. It may reach out of the frame; where it lies outside
                altogether the exemplar is black.

        Raises:
            ValueError: the box is not four finite numbers with a positive width and height, or the frame is no image.
        """
        image, given = as_rgb(frame), np.asarray(box, np.float64)
        if given.shape != (4,) or not np.isfinite(given).all() or min(given[2:]) <= 0:
            raise ValueError(f"box {np.asarray(box).tolist()}: take four numbers, the width and the height above 0")
        s = self.settings
        self._center, self._size = center_of(given)
        extent = exemplar_extent(self._size, s.context)
        patch = crop_target(image, self._center, extent, s.exemplar_size, color=_mean_color(image))
        self._kernel = exemplar_kernel(self._variables, self._head, patch[None], out_scale=self._out_scale)
        # Float32 up to here, as in the release; a number of Python's, and so float64, from the first update on.
        self._extent = float(extent * s.search_size / s.exemplar_size)

    def update(self, frame: Frame) -> np.ndarray:
        """Follow the target into the next frame, which may be of another size than the last.

        Args:
            frame: as for `init`.

        Returns:
            The box, 1-based left, top, width and height, float32 [4].

        Raises:
            RuntimeError: `init` was not called.
            ValueError: the frame is no image, or the network's response is not finite.
        """
        if self._kernel is None:
            raise RuntimeError("update before init: start the tracker with init(frame, box)")
        s, image = self.settings, as_rgb(frame)
        color = _mean_color(image)
        patches = [
            crop_target(image, self._center, self._extent * scale, s.search_size, color=color) for scale in self._scales
        ]
        raw = np.asarray(responses(self._variables, *self._kernel, np.stack(patches)))
        if not np.isfinite(raw).all():
            raise InputError("the network's response holds NaN or infinity; check its weights")
        displacement, scale = locate(raw, self._window, s)
        # Each product in float64, then rounded to the float32 of center and size.
        self._center += displacement * self._extent * scale / s.search_size
        change = np.float64((1 - s.scale_rate) + s.scale_rate * scale)
        self._size = np.clip(self._size * change, *_SIZES).astype(np.float32)
        self._extent = float(np.clip(self._extent * change, *_SIZES))
        (row, column), (height, width) = self._center, self._size
        return np.array([column + 1 - (width - 1) / 2, row + 1 - (height - 1) / 2, width, height])

    def track(
        self, img_files: Sequence[str | os.PathLike[str]], box: Sequence[float] | np.ndarray, visualize: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Track through image files, as the got10k toolkit's experiments call it.

        Args:
            img_files: in time order.
            box: of the first.
            visualize: taken for the toolkit's sake; nothing is shown.

        Returns:
            Boxes, float64 [t, 4], the given one first, and the seconds that each frame took without its reading, [t].
        """
        boxes, seconds = np.zeros((len(img_files), 4)), np.zeros(len(img_files))
        for index, file in enumerate(img_files):
            frame = read_frame(file)
            begin = time.perf_counter()
            if index == 0:
                self.init(frame, box)
                boxes[0] = box
            else:
                try:
                    boxes[index] = self.update(frame)
                except InputError as error:
                    raise InputError(f"{os.fspath(file)}: {error}") from None
            seconds[index] = time.perf_counter() - begin
        return boxes, seconds


def locate(raw: np.ndarray, window: np.ndarray, settings: TrackerSettings) -> tuple[np.ndarray, float]:
    """Find the target: the best size, and the displacement in it.

    Args:
        raw: responses of the sizes, float32 [n, rows, cols].
        window: of the upsampled response, summing to 1, float64 [side, side].
        settings: scales, penalty, window and geometry.

    Returns:
        The displacement (rows, columns) in pixels of the search patch, float64 [2], and the size's scale.
    """
    side = len(window)
    scales, middle = _scales(settings), settings.scale_count // 2
    large = np.stack([cv2.resize(each, (side, side), interpolation=cv2.INTER_CUBIC) for each in raw])
    large[:middle] *= settings.scale_penalty  # quirk: this raises negative responses
    large[middle + 1 :] *= settings.scale_penalty
    best = int(np.argmax(large.max(axis=(1, 2))))
    response = large[best] - large[best].min()
    response /= response.sum() + 1e-16
    blended = (1 - settings.window_influence) * response + settings.window_influence * window
    peak = np.array(np.unravel_index(blended.argmax(), blended.shape))
    return (peak - (side - 1) / 2) * settings.stride / settings.response_upsampling, float(scales[best])


def _scales(settings: TrackerSettings) -> np.ndarray:
    steps = settings.scale_count // 2
    return settings.scale_step ** np.linspace(-steps, steps, settings.scale_count)


def _hann_window(settings: TrackerSettings) -> np.ndarray:
    hann = np.hanning(settings.response_cells * settings.response_upsampling)
    window = np.outer(hann, hann)
    return window / window.sum()


def _mean_color(image: np.ndarray) -> np.ndarray:
    return np.asarray(np.mean(image, axis=(0, 1), dtype=float))
