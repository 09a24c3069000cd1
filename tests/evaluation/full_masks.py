"""Masks from soft labels the obvious way, in float64, and which of their pixels float32's rounding cannot tip."""

from collections.abc import Iterable

import cv2
import numpy as np


def full_mask(soft: np.ndarray, slack: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Soft labels [h, w, l] to an index mask: bilinear, min-max and argmax, one channel after the other.

    Args:
      soft: the labels.
      slack: what other keys among near ties may change of them, [h, w].
      size: of the mask.

    Returns:
      The mask, and where the winner stands out by more than the labels may be off, bool: by the slack, and by 1e-4,
      which is what float32's features make of them.
    """
    rows, cols = (
        np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        for new, old in zip(size, soft.shape, strict=False)
    )
    channels, off = [], 0.0
    for channel in np.moveaxis(soft.astype(np.float64), -1, 0):
        along = np.stack([np.interp(cols, np.arange(len(row)), row) for row in channel])
        large = np.stack([np.interp(rows, np.arange(len(along)), col) for col in along.T], axis=1)
        if large.max() > 0:
            # The value, the least and the largest are all off.
            off = max(off, 4 * (1e-4 + slack.max()) / np.ptp(large))
            large = (large - large.min()) / (np.ptp(large) + 1e-12)
        channels.append(large)
    second, first = np.sort(channels, axis=0)[-2:]
    return np.argmax(channels, axis=0), first - second > 2 * off


def assert_same_but_for_outlines(found: Iterable[np.ndarray], expected: Iterable[np.ndarray]) -> None:
    """That masks differ at most where `expected` changes within two pixels.

    Another tenth key, the least of ten, moves a label by at most 0.1, and an outline, across which two labels trade
    places within a cell of 8 pixels, by as much of the cell.
    """
    square = np.ones((5, 5), np.uint8)
    for ours, theirs in zip(found, expected, strict=True):
        outlines = cv2.dilate(theirs, square) != cv2.erode(theirs, square)
        np.testing.assert_array_equal(ours[~outlines], theirs[~outlines])
