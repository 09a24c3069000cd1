"""Square crops around a target for Siamese trackers: cut inside the image, resized, padded to size."""

import cv2
import numpy as np

_FAR = 2.0**40  # pixels; a crop's corner beyond it is no different from one on it, and still a whole number


def center_of(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Center (row, column), from 0, and size (height, width) of a 1-based box (left, top, width, height), float32 [2].

    >>> [part.tolist() for part in center_of(np.array([1, 1, 11, 5]))]
    [[2.0, 5.0], [5.0, 11.0]]
    """
    left, top, width, height = box
    center = np.array([top - 1 + (height - 1) / 2, left - 1 + (width - 1) / 2], np.float32)
    return center, np.array([height, width], np.float32)


def exemplar_extent(size: np.ndarray, context: float) -> np.floating:
    """Return the side of the exemplar's square: sqrt((h + c)(w + c)), c = context (h + w), pixels, float32 [].

    >>> float(exemplar_extent(np.array([30, 10], np.float32), 0.5))
    38.7...
    """
    return np.float32(np.sqrt(np.prod(size + context * np.sum(size))))


def crop_target(
    image: np.ndarray,
    center: np.ndarray,
    extent: float | np.floating,
    side: int,
    *,
    color: np.ndarray,
    interpolation: int = cv2.INTER_LINEAR,
) -> np.ndarray:
    """Cut a square around a point and bring it to a size.

    The corners are rounded to whole pixels; the part inside the image is cut and resized to its share of the square;
    the rest is padded: the pads left and above are cut to whole pixels, those right and below take what is missing.
    Quirk of the release: a square wholly outside the image gives a black patch, not the color.

    Args:
        image: RGB uint8 [h, w, 3].
        center: (row, column) in pixels, the center of the top left pixel is (0, 0).
        extent: side of the square in image pixels; at least 2 is taken.
        side: of the patch, pixels.
        color: of the padding, RGB float [3]; rounded. The release takes the image's mean.
        interpolation: one of OpenCV's.

    Returns:
        uint8 [side, side, 3].

    >>> crop_target(np.full((4, 4, 3), 9, np.uint8), np.array([0.0, 0.0]), 4, 4, color=np.full(3, 5.4))[..., 0].tolist()
    [[5, 5, 5, 5], [5, 5, 5, 5], [5, 5, 9, 9], [5, 5, 9, 9]]
    """
    # In (x, y) from here on, as OpenCV counts. The release goes from the center to corners in float32, then back and
    # again to corners in float64: its order of operations is kept, so that halves round alike.
    point, half = np.asarray(center[::-1], np.float32), np.float32(max(2, extent)) / np.float32(2)
    low, high = (point - half).astype(np.float64), (point + half).astype(np.float64)
    middle, sides = (low + high) / 2, high - low
    corners = np.concatenate([middle - sides / 2, middle + sides / 2])
    left, top, right, bottom = np.round(np.clip(corners, -_FAR, _FAR)).astype(np.int64)
    height, width = image.shape[:2]
    inside = image[max(top, 0) : max(min(bottom, height), 0), max(left, 0) : max(min(right, width), 0)]
    if inside.size == 0:
        return np.zeros((side, side, 3), np.uint8)
    columns = max(1, int(np.round(side * inside.shape[1] / (right - left))))
    rows = max(1, int(np.round(side * inside.shape[0] / (bottom - top))))
    patch = cv2.resize(inside, (columns, rows), interpolation=interpolation)
    before_x, before_y = (int(max(0, -first * side / (last - first))) for first, last in ((left, right), (top, bottom)))
    after_x, after_y = side - before_x - columns, side - before_y - rows
    if not (before_x or before_y or after_x or after_y):
        return patch
    return cv2.copyMakeBorder(patch, before_y, after_y, before_x, after_x, cv2.BORDER_CONSTANT, value=color.tolist())
