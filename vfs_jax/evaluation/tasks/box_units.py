"""Refuse boxes that cannot be left, top, width and height in pixels: shares of the image, corners instead of sizes."""

import numpy as np

from vfs_jax.data.box_datasets import BoxSequence
from vfs_jax.errors import InputError


def check_ground_truth(sequence: BoxSequence) -> BoxSequence:
    """Return a sequence whose boxes lie in its frames, or nearly so; raise InputError where they are of other units."""
    boxes = sequence.boxes[np.isfinite(sequence.boxes).all(axis=1)]
    where = f"{sequence.frames[0].parent}: the boxes of {sequence.name}"
    _refuse_shares(boxes, where)
    size = np.array(sequence.size[::-1])
    low, far = boxes[:, :2], boxes[:, 2:]
    corners = (low >= 0).all() and (far > low).all() and (far <= size + 1).all()
    outside = (low + far > 1.1 * size).any(axis=1)
    if corners and len(boxes) and outside.mean() > 0.5:
        raise InputError(f"{where} end outside of most frames: {_CORNERS}")
    return sequence


def check_results(boxes: np.ndarray, sequence: BoxSequence, file: object) -> None:
    """Raise InputError where results [t, 4] are of other units; their first box is the given one, or nearly so."""
    _refuse_shares(boxes, f"{file}: the boxes")
    left, top, width, height = sequence.boxes[0]
    as_corners = np.array([left, top, left + width, top + height])
    if np.abs(boxes[0] - as_corners).max() < 3 and np.abs(boxes[0] - sequence.boxes[0]).max() > 3:
        raise InputError(f"{file}: the first box is that of {sequence.name} by its corners: {_CORNERS}")


_CORNERS = "these are right and bottom instead of width and height; write left, top, width, height"


def _refuse_shares(boxes: np.ndarray, what: str) -> None:
    if boxes.size and np.abs(boxes).max() <= 1.5 and (boxes % 1).any():
        raise InputError(f"{what} lie between {boxes.min():g} and {boxes.max():g}, as shares do; write pixels")
