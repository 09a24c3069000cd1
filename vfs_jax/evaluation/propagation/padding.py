"""The sizes of a video on its way through propagation, and the padding by which many sizes share few of them.

Programs are compiled for one size of frames. A data set with more sizes than programs are wanted for has its frames
padded: several sizes share the smallest canvas that holds them. What is padded takes no part in anything: the network
sees zeros beyond the frame's edge in every layer, as it does without padding, no padded position is a key, and output
is scaled over the frame alone.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from vfs_jax.evaluation.encoders import grid_size
from vfs_jax.evaluation.propagation.settings import Settings

Size = tuple[int, int]  # height and width, or rows and columns


def network_size(height: int, width: int, settings: Settings) -> Size:
    """Give the height and width of the network's input for frames of a size.

    >>> network_size(480, 854, Settings()), network_size(1080, 1920, Settings()), network_size(640, 360, Settings())
    ((480, 854), (480, 853), (853, 480))
    """
    if settings.square:
        return settings.short_side, settings.short_side
    scale = settings.short_side / min(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The sizes of one video, each (height, width).

    Attributes:
        picture: of its frames and masks as they are.
        network: of the network's input.
        canvas: what that is padded to.
        shown: what pictures are padded to when labels are brought to their size.
        padded: whether the network's input shares its canvas with other sizes. Equal canvases and equal `padded` mean
            equal programs.
    """

    picture: Size
    network: Size
    canvas: Size
    shown: Size
    padded: bool = False

    @classmethod
    def of(cls, picture: Size, settings: Settings) -> "Layout":
        """Lay out a video of this size of picture without any padding."""
        network = network_size(picture[0], picture[1], settings)
        return cls(picture, network, network, picture)

    def grid(self, output: str) -> Size:
        """Give the rows and columns of the features that belong to the frame."""
        return grid_size(self.network[0], self.network[1], output)

    def key_mask(self, output: str) -> np.ndarray | None:
        """Tell which positions of the canvas's grid belong to the frame, bool [rows, cols]; None where all do."""
        if not self.padded:
            return None
        (rows, cols), canvas = self.grid(output), grid_size(self.canvas[0], self.canvas[1], output)
        return (np.arange(canvas[0]) < rows)[:, None] & (np.arange(canvas[1]) < cols)[None]

    def pad_labels(self, labels: np.ndarray, output: str) -> np.ndarray:
        """Pad labels [rows, cols, l] of the grid with zeros up to the canvas's grid."""
        rows, cols = grid_size(self.canvas[0], self.canvas[1], output)
        return np.pad(labels, ((0, rows - labels.shape[0]), (0, cols - labels.shape[1]), (0, 0)))

    def pad_frame(self, frame: np.ndarray) -> np.ndarray:
        """Pad a frame of the network's size with zeros up to the canvas: uint8 [h, w, 3]."""
        rows, cols = (full - part for full, part in zip(self.canvas, self.network, strict=True))
        return np.pad(frame, ((0, rows), (0, cols), (0, 0))) if rows or cols else frame


def plan_layouts(pictures: Mapping[Size, int], settings: Settings, *, max_sizes: int) -> dict[Size, Layout]:
    """Plan the layouts for a data set's sizes of pictures, with few different canvases.

    Args:
        pictures: how many frames there are of each size.
        settings: how large the network's input is.
        max_sizes: canvases at most, of the network's input and of pictures. Sizes are not padded while they are no
            more.

    Returns:
        The layout of each size of pictures.
    """
    networks: dict[Size, int] = {}
    for picture, frames in pictures.items():
        size = network_size(picture[0], picture[1], settings)
        networks[size] = networks.get(size, 0) + frames
    canvases, shown = plan_canvases(networks, max_sizes), plan_canvases(pictures, max_sizes)
    out = {}
    for picture in pictures:
        network = network_size(picture[0], picture[1], settings)
        canvas = canvases[network]
        shared = list(canvases.values()).count(canvas) > 1
        out[picture] = Layout(picture, network, canvas, shown[picture], padded=shared)
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
