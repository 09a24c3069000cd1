"""Bring the first mask of some objects to the feature grid, as labels."""

import numpy as np
from beartype import beartype
from jaxtyping import Float, UInt8, jaxtyped

from vfs_jax.correspondence.coordinates import resize_nearest
from vfs_jax.data.images import PALETTE
from vfs_jax.evaluation.propagation.frames import resize_maps
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import Settings


def number_labels(mask: np.ndarray, *, by_color: bool = False) -> tuple[np.ndarray, tuple[int, ...]]:
    """Number the labels that occur in an index mask, so that labels cost no more than there are objects.

    Args:
        mask: index mask uint8 [h, w], 0 for background.
        by_color: whether the labels are sorted by their DAVIS colors (blue, green, red), as CRW's code has them; else
            their own order is kept.

    Returns:
        the mask with numbers for labels, uint8 [h, w], and the label of each number; 0 is the background in both.

    >>> numbered, labels = number_labels(np.array([[0, 255, 7]], np.uint8))
    >>> numbered.tolist(), labels
    ([[0, 2, 1]], (0, 7, 255))
    >>> number_labels(np.array([[0, 1, 8]], np.uint8), by_color=True)[1]  # (0, 0, 64) comes before (0, 0, 128)
    (0, 8, 1)
    """
    there = np.bincount(mask.ravel(), minlength=256) > 0
    there[0] = True
    labels = np.flatnonzero(there)
    if by_color:
        labels = labels[np.lexsort(PALETTE[labels].T)]
    numbers = np.zeros(256, np.uint8)
    numbers[labels] = np.arange(len(labels))
    return numbers[mask], tuple(labels.tolist())


@jaxtyped(typechecker=beartype)
def first_labels(
    mask: UInt8[np.ndarray, "h w"], settings: Settings, layout: Layout
) -> Float[np.ndarray, "rows cols l"]:
    """Shrink an index mask to the grid of the features, as labels.

    Quirk of the releases that take the nearest label: there are as many channels as the highest label left after
    shrinking, plus one. An object that vanishes in shrinking is lost; one with the highest label has not even a
    channel, which changes nothing, since an empty channel never wins.

    Args:
        mask: index mask uint8 [h, w], of the frame's size.
        settings: soft_first, first_nearest and over_network.
        layout: of the video.

    Returns:
        float32 [rows, cols, l], values 0 and 1, or shares with soft_first.
    """
    grid, labels = layout.label_grid(settings.output), int(mask.max()) + 1
    if settings.over_network:
        mask = np.asarray(resize_nearest(mask, layout.label_size(), rule=settings.first_nearest))
    if settings.soft_first:
        maps = resize_maps(np.eye(labels, dtype=np.float32)[mask], grid, together=True)
    else:
        small = np.asarray(resize_nearest(mask, grid, rule=settings.first_nearest))
        maps = np.eye(int(small.max()) + 1, dtype=np.float32)[small]
    return maps.reshape(*layout.grid(settings.output), -1)


def network_mask(mask: np.ndarray, settings: Settings, layout: Layout) -> np.ndarray:
    """Bring a mask to the network's size and back, uint8 [h, w] both: what the release gives out for frame 0."""
    small = np.asarray(resize_nearest(mask, layout.network, rule=settings.first_nearest))
    return np.asarray(resize_nearest(small, layout.picture, rule=settings.back_nearest))
