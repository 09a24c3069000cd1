"""The sizes of a video on its way through propagation, and the padding by which many sizes share few of them.

Programs are compiled for one size of frames. A data set with more sizes than programs are wanted for has its frames
padded: several sizes share the smallest canvas that holds them. What is padded takes no part in anything: the network
sees zeros beyond the frame's edge in every layer, as it does without padding, no padded position is a key, and output
is scaled over the frame alone.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import Encoder
from vfs_jax.evaluation.propagation.settings import Resize, Settings

Size = tuple[int, int]  # height and width, or rows and columns


def network_size(height: int, width: int, settings: Settings, multiple: int = 1) -> Size:
    """Give the height and width of the network's input for frames of a size.

    Args:
        height: of the frames.
        width: of the frames.
        settings: short_side, long_side, width, square, multiple and rounding.
        multiple: of the encoder.

    Returns:
        Height and width, multiples of the encoder's.

    Raises:
        InputError: they are no multiples of it under these settings.

    >>> network_size(480, 854, Settings()), network_size(1080, 1920, Settings()), network_size(640, 360, Settings())
    ((480, 854), (480, 853), (853, 480))
    >>> network_size(480, 854, Settings(), multiple=14)
    (476, 854)
    """
    step = settings.multiple or multiple
    rows, cols = _sides(height, width, settings, step)
    if rows % multiple or cols % multiple:
        raise InputError(
            f"multiple={step}: frames of {height}x{width} become {rows}x{cols}, which the encoder does not take: its "
            f"sides are multiples of {multiple}; set multiple (and short_side) to multiples of {multiple}"
        )
    return rows, cols


def _sides(height: int, width: int, settings: Settings, step: int) -> Size:
    def nearest(sides: tuple[int, int]) -> Size:
        rows, cols = (max(int(side / step + 0.5), 1) * step for side in sides)
        return rows, cols

    short, rounding = settings.short_side, settings.rounding
    if short is not None and (settings.square or settings.width is not None):
        sides = short, short if settings.width is None else settings.width
        return nearest(sides) if rounding == "nearest" else sides
    shorter = short is not None
    side = short or settings.long_side
    if side is None:
        return nearest((height, width)) if rounding == "nearest" else (height, width)
    if rounding == "nearest":
        scale = side / (min if shorter else max)(height, width)
        return nearest((int(height * scale + 0.5), int(width * scale + 0.5)))
    if rounding == "up":  # the other side follows from the one that is rounded
        side = -(-side // step) * step
    # Landscape and portrait are told apart as the peers' scripts do, which matters for squares.
    set_height = width > height if rounding == "up" else width >= height
    if not shorter:
        set_height = width <= height
    other = side * width / height if set_height else side * height / width
    other = math.ceil(other / step) * step if rounding == "up" else max(int(other // step), 1) * step
    return (side, other) if set_height else (other, side)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The sizes of one video, each (height, width).

    Attributes:
        picture: of its frames and masks as they are.
        network: of the network's input.
        canvas: what that is padded to.
        shown: what pictures are padded to when labels are brought to their size.
        encoder: gives the features.
        resize: how frames are brought to the network's size.
        transposed: whether labels lie on a grid whose sides are exchanged, see `label_grid`.
        padded: whether the network's input shares its canvas with other sizes. Equal canvases and equal `padded` mean
            equal programs.
    """

    picture: Size
    network: Size
    canvas: Size
    shown: Size
    encoder: Encoder
    resize: Resize = "opencv"
    transposed: bool = False
    padded: bool = False

    @classmethod
    def of(cls, picture: Size, settings: Settings, encoder: Encoder) -> "Layout":
        """Lay out a video of this size of picture without any padding."""
        network = network_size(*picture, settings, encoder.multiple)
        return cls(picture, network, network, picture, encoder, settings.resize).under(settings)

    def under(self, settings: Settings) -> "Layout":
        """Return the same for other settings of the labels: those of a sweep, which share the frames."""
        return dataclasses.replace(self, transposed=settings.transpose_square and self.picture[0] == self.picture[1])

    def grid(self, output: str) -> Size:
        """Give the rows and columns of the features that belong to the frame."""
        return self.encoder.grid_size(*self.network, output)

    def label_grid(self, output: str) -> Size:
        """Give the rows and columns of the grid that labels lie on: that of the features, or its sides exchanged.

        Quirk of DINO's script: for a square frame it swaps the sides of the mask's grid, and reads the labels of one
        grid, in reading order, as those of the other.
        """
        rows, cols = self.grid(output)
        return (cols, rows) if self.transposed else (rows, cols)

    def label_size(self) -> Size:
        """Give the network's input size as the labels see it, see `label_grid`."""
        return self.network[::-1] if self.transposed else self.network

    def key_mask(self, output: str) -> np.ndarray | None:
        """Tell which positions of the canvas's grid belong to the frame, bool [rows, cols]; None where all do."""
        if not self.padded:
            return None
        (rows, cols), canvas = self.grid(output), self.encoder.grid_size(*self.canvas, output)
        return (np.arange(canvas[0]) < rows)[:, None] & (np.arange(canvas[1]) < cols)[None]

    def pad_labels(self, labels: np.ndarray, output: str) -> np.ndarray:
        """Pad labels [rows, cols, l] of the grid with zeros up to the canvas's grid."""
        rows, cols = self.encoder.grid_size(*self.canvas, output)
        return np.pad(labels, ((0, rows - labels.shape[0]), (0, cols - labels.shape[1]), (0, 0)))

    def room_for(self, frames: int) -> np.ndarray:
        """Make an array [b, h, w, 3] for frames of the canvas, of the dtype that `resize_frame` gives them."""
        floats = self.resize == "opencv_float" and self.network != self.picture
        return np.empty((frames, *self.canvas, 3), np.float32 if floats else np.uint8)

    def pad_frame(self, frame: np.ndarray) -> np.ndarray:
        """Pad a frame of the network's size with zeros up to the canvas: [h, w, 3]."""
        rows, cols = (full - part for full, part in zip(self.canvas, self.network, strict=True))
        return np.pad(frame, ((0, rows), (0, cols), (0, 0))) if rows or cols else frame


def plan_layouts(
    pictures: Mapping[Size, int], settings: Settings, encoder: Encoder, *, max_sizes: int
) -> dict[Size, Layout]:
    """Plan the layouts for a data set's sizes of pictures, with few different canvases.

    Args:
        pictures: how many frames there are of each size.
        settings: how large the network's input is, and where labels are read off.
        encoder: gives the features; frames are padded only where it and the settings allow that.
        max_sizes: canvases at most, of the network's input and of pictures. Sizes are not padded while they are no
            more.

    Returns:
        The layout of each size of pictures.
    """
    layouts = {picture: Layout.of(picture, settings, encoder) for picture in pictures}
    networks: dict[Size, int] = {}
    for picture, frames in pictures.items():
        size = layouts[picture].network
        networks[size] = networks.get(size, 0) + frames
    canvases = plan_canvases(networks, max_sizes if encoder.paddable and settings.paddable else len(networks))
    shown = plan_canvases(pictures, max_sizes if settings.paddable else len(pictures))
    out = {}
    for picture, layout in layouts.items():
        canvas = canvases[layout.network]
        shared = list(canvases.values()).count(canvas) > 1
        out[picture] = dataclasses.replace(layout, canvas=canvas, shown=shown[picture], padded=shared)
    return out


def plan_canvases(sizes: Mapping[Size, int], limit: int) -> dict[Size, Size]:
    """Plan for each size a canvas that holds it: at most `limit` of them, made by joining what adds the least padding.

    >>> plan_canvases({(480, 854): 1000, (480, 910): 100, (854, 480): 100}, limit=2)
    {(480, 854): (480, 910), (480, 910): (480, 910), (854, 480): (854, 480)}
    """
    groups = [([size], size, frames) for size, frames in sizes.items()]
    while len(groups) > max(limit, 1):
        joined = []
        for i, (_, a, a_frames) in enumerate(groups):
            for j, (_, b, b_frames) in enumerate(groups[:i]):
                both = max(a[0], b[0]), max(a[1], b[1])
                area = both[0] * both[1]
                padding = (area - a[0] * a[1]) * a_frames + (area - b[0] * b[1]) * b_frames
                joined.append((padding, j, i, both))
        _, j, i, both = min(joined)
        first, second = groups[j], groups.pop(i)
        groups[j] = (first[0] + second[0], both, first[2] + second[2])
    found = {size: canvas for members, canvas, _ in groups for size in members}
    return {size: found[size] for size in sizes}
