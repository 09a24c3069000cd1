"""The sizes of a video on its way through propagation, and the padding by which many sizes share few of them.

Programs are compiled for one size of frames. A data set with more sizes than programs are wanted for has its frames
padded: several sizes share the smallest canvas that holds them. What is padded takes no part in anything: the network
sees zeros beyond the frame's edge in every layer, as it does without padding, no padded position is a key, and output
is scaled over the frame alone.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from vfs_jax.evaluation.encoders import Encoder
from vfs_jax.evaluation.propagation.settings import Settings

Size = tuple[int, int]  # height and width, or rows and columns


def network_size(height: int, width: int, settings: Settings, multiple: int = 1) -> Size:
    """Give the height and width of the network's input for frames of a size, rounded to multiples of a number.

    >>> network_size(480, 854, Settings()), network_size(1080, 1920, Settings()), network_size(640, 360, Settings())
    ((480, 854), (480, 853), (853, 480))
    >>> network_size(480, 854, Settings(), multiple=14)
    (476, 854)
    """
    if settings.square:
        sides = (settings.short_side, settings.short_side)
    else:
        scale = settings.short_side / min(height, width)
        sides = (int(height * scale + 0.5), int(width * scale + 0.5))
    rows, cols = (max(int(side / multiple + 0.5), 1) * multiple for side in sides)
    return rows, cols


@dataclasses.dataclass(frozen=True)
class Layout:
    """The sizes of one video, each (height, width).

    Attributes:
        picture: of its frames and masks as they are.
        network: of the network's input.
        canvas: what that is padded to.
        shown: what pictures are padded to when labels are brought to their size.
        encoder: gives the features.
        padded: whether the network's input shares its canvas with other sizes. Equal canvases and equal `padded` mean
            equal programs.
    """

    picture: Size
    network: Size
    canvas: Size
    shown: Size
    encoder: Encoder
    padded: bool = False

    @classmethod
    def of(cls, picture: Size, settings: Settings, encoder: Encoder) -> "Layout":
        """Lay out a video of this size of picture without any padding."""
        network = network_size(*picture, settings, encoder.multiple)
        return cls(picture, network, network, picture, encoder)

    def grid(self, output: str) -> Size:
        """Give the rows and columns of the features that belong to the frame."""
        return self.encoder.grid_size(*self.network, output)

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

    def pad_frame(self, frame: np.ndarray) -> np.ndarray:
        """Pad a frame of the network's size with zeros up to the canvas: uint8 [h, w, 3]."""
        rows, cols = (full - part for full, part in zip(self.canvas, self.network, strict=True))
        return np.pad(frame, ((0, rows), (0, cols), (0, 0))) if rows or cols else frame


def plan_layouts(
    pictures: Mapping[Size, int], settings: Settings, encoder: Encoder, *, max_sizes: int
) -> dict[Size, Layout]:
    """Plan the layouts for a data set's sizes of pictures, with few different canvases.

    Args:
        pictures: how many frames there are of each size.
        settings: how large the network's input is.
        encoder: gives the features; frames are padded only where it allows that.
        max_sizes: canvases at most, of the network's input and of pictures. Sizes are not padded while they are no
            more.

    Returns:
        The layout of each size of pictures.
    """
    networks: dict[Size, int] = {}
    for picture, frames in pictures.items():
        size = network_size(*picture, settings, encoder.multiple)
        networks[size] = networks.get(size, 0) + frames
    canvases = plan_canvases(networks, max_sizes if encoder.paddable else len(networks))
    shown = plan_canvases(pictures, max_sizes)
    out = {}
    for picture in pictures:
        network = network_size(*picture, settings, encoder.multiple)
        canvas = canvases[network]
        shared = list(canvases.values()).count(canvas) > 1
        out[picture] = Layout(picture, network, canvas, shown[picture], encoder, padded=shared)
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
