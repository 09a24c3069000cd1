"""Masks as bits, 64 pixels a word: their contours, dilation by a disk, and counts, all exact.

Rows lie one after the other on one axis, so that an operation is one long loop over words and runs beside those of
other threads. Bit x % 64 of word x // 64 of a row is pixel x.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

_WORD = 64


@dataclasses.dataclass(frozen=True)
class Bits:
    """Binary images of one size.

    Attributes:
        words: uint64 [n, h * pitch]; bits past the width are 0.
        height: of the images.
        width: of the images.
    """

    words: np.ndarray
    height: int
    width: int

    @property
    def pitch(self) -> int:
        """Words a row."""
        return self.words.shape[1] // self.height

    def count(self) -> np.ndarray:
        """Count the pixels that are set, int64 [n]."""
        return np.bitwise_count(self.words).sum(axis=1, dtype=np.int64)

    def unpack(self) -> np.ndarray:
        """Return the images, bool [n, h, w]."""
        rows = self.words.view(np.uint8).reshape(len(self.words), self.height, -1)
        return np.unpackbits(rows, axis=-1, count=self.width, bitorder="little").astype(bool)

    def __and__(self, other: "Bits") -> "Bits":  # pixels that are set in both
        return dataclasses.replace(self, words=self.words & other.words)

    def __or__(self, other: "Bits") -> "Bits":  # pixels that are set in either
        return dataclasses.replace(self, words=self.words | other.words)


def pack(masks: np.ndarray | Sequence[np.ndarray], label: int) -> Bits:
    """Pack where masks are of a label.

    Args:
        masks: [h, w] each, all of one size; at least one, and not empty.
        label: of an object; 1 for masks of bool.
    """
    height, width = masks[0].shape
    pitch = -(-width // _WORD)
    rows = np.zeros((len(masks), height, pitch * _WORD // 8), np.uint8)
    there = np.empty((height, width), bool)
    for mask, out in zip(masks, rows, strict=True):
        np.equal(mask, label, out=there)
        out[:, : -(-width // 8)] = np.packbits(there, axis=1, bitorder="little")
    return Bits(rows.view(np.uint64).reshape(len(rows), height * pitch), height, width)


def contour(masks: Bits) -> Bits:
    """Find the contours of masks: pixels unlike their east, south or south-east neighbor.

    This is the official tool's boundary map. In the last row only the east neighbor counts, in the last column only the
    south one; the corner is never contour. The border of the image is none: a mask that fills the image has an empty
    contour.
    """
    words, pitch = masks.words, masks.pitch
    # Bits of the columns that have an east neighbor: 0 .. width - 2.
    columns = np.frombuffer((2 ** (masks.width - 1) - 1).to_bytes(8 * pitch, "little"), np.uint64)
    inner = np.tile(columns, masks.height)
    east = _shifted(words, -1)
    out = (words ^ east) & inner
    above = slice(None, words.shape[1] - pitch)  # all rows but the last
    out[:, above] |= words[:, above] ^ words[:, pitch:]
    out[:, above] |= (words[:, above] ^ east[:, pitch:]) & inner[above]
    return dataclasses.replace(masks, words=out)


def crop_together(first: Bits, second: Bits, margin: int) -> tuple[Bits, Bits]:
    """Cut two sets of images to the rows and words that any of them uses.

    Args:
        first: images.
        second: as many, of the same size.
        margin: columns of zeros to leave at the right of every row.

    Returns:
        both, of one size; empty where all images are.
    """
    shape = (-1, first.height, first.pitch)
    used = np.bitwise_or.reduce(first.words | second.words, axis=0).reshape(shape[1:])
    rows, cols = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    if not len(rows):
        rows = cols = np.zeros(1, np.int64)
    height, pitch = rows[-1] + 1 - rows[0], cols[-1] + 1 - cols[0]

    def cut(images: Bits) -> Bits:
        out = np.zeros((len(images.words), height, pitch + -(-margin // _WORD)), np.uint64)
        out[..., :pitch] = images.words.reshape(shape)[:, rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        return Bits(out.reshape(len(out), -1), int(height), out.shape[2] * _WORD)

    return cut(first), cut(second)


def dilate(points: Bits, radius: int) -> Bits:
    """Dilate images by the disk x*x + y*y <= radius*radius.

    Args:
        points: images whose last 2 * radius columns are 0 (see `crop_together`): what goes over the left or the right
            edge ends there.
        radius: of the disk, in pixels.

    Returns:
        images that are right but for their last 2 * radius columns, which mean nothing.
    """
    words, pitch = points.words, points.pitch
    out, wide, half = np.zeros_like(words), words, 0
    for rows in range(radius, -1, -1):  # from the disk's top row, which is its narrowest, to its middle
        target = math.isqrt(radius**2 - rows**2)
        while half < target:  # widen every run of 2 * half + 1 pixels, without a gap
            step = min(target - half, 2 * half + 1)
            wide = wide | _shifted(wide, step) | _shifted(wide, -step)
            half += step
        if rows == 0:
            out |= wide
        elif rows < points.height:
            offset = rows * pitch
            out[:, offset:] |= wide[:, :-offset]
            out[:, :-offset] |= wide[:, offset:]
    return dataclasses.replace(points, words=out)


def _shifted(words: np.ndarray, offset: int) -> np.ndarray:
    """Move every bit by so many places along the rows, which hang together: to the east where offset is above 0."""
    out = np.zeros_like(words)
    whole, part = divmod(abs(offset), _WORD)
    kept = words.shape[1] - whole
    if offset > 0:
        out[:, whole:] = words[:, :kept] << np.uint64(part)
        if part:
            out[:, whole + 1 :] |= words[:, : kept - 1] >> np.uint64(_WORD - part)
    else:
        out[:, :kept] = words[:, whole:] >> np.uint64(part)
        if part:
            out[:, : kept - 1] |= words[:, whole + 1 :] << np.uint64(_WORD - part)
    return out
