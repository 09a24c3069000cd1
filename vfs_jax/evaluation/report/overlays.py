"""Labels drawn to lie over a frame: index masks with outlines, points as dots, boxes; the ground truth in white."""

import cv2
import numpy as np

from vfs_jax.evaluation.metrics import davis

THUMB_WIDTH = 300  # pixels, about twice what a report shows: sharp on dense screens
# Brighter than the DAVIS palette, whose dark red and green drown in a photograph.
LABEL_COLORS = np.array(
    [[230, 57, 70], [42, 157, 143], [244, 185, 66], [69, 123, 230], [186, 85, 211], [255, 127, 80], [0, 190, 220]],
    np.uint8,
)
_WHITE = (255, 255, 255, 255)


def thumbnail(
    image: np.ndarray,
    size: tuple[int, int] | None = None,
    *,
    width: int = THUMB_WIDTH,
    interpolation: int = cv2.INTER_AREA,
) -> np.ndarray:
    """Scale an image to a width, with the aspect of `size` (height, width), or with its own: uint8 [h, w, 3]."""
    rows, cols = size or image.shape[:2]
    return cv2.resize(image, (width, max(round(rows * width / cols), 1)), interpolation=interpolation)


def overlay(
    prediction: np.ndarray, ground_truth: np.ndarray | None, size: tuple[int, int], *, width: int = THUMB_WIDTH
) -> np.ndarray:
    """Draw labels on a transparent layer of a frame's shape.

    Args:
        prediction: an index mask uint8 [h, w]; or points (x, y) [n, 2] in pixels of the frame, the first one's center
            at 0, NaN or negative where there is none; or one box or several (left, top, width, height), [4] or [n, 4],
            from 0, NaN where there is none.
        ground_truth: the same kind, one box alone, drawn in white; or None.
        size: height and width of the frame.
        width: of the layer, in pixels.

    Returns:
        RGBA uint8 [h, width, 4], transparent where there is nothing to show.
    """
    scale = width / size[1]
    layer = np.zeros((max(round(size[0] * width / size[1]), 1), width, 4), np.uint8)
    line = max(1, round(width / THUMB_WIDTH))
    if prediction.dtype == np.uint8:
        _draw_mask(layer, prediction, ground_truth)
    elif prediction.shape[-1] == 4:
        if ground_truth is not None:
            _draw_box(layer, ground_truth * scale, _WHITE, max(2, line))
        for index, box in enumerate(np.atleast_2d(prediction)):
            _draw_box(layer, box * scale, color_of(index), max(2, line))
    else:
        _draw_points(layer, prediction, ground_truth, scale, line)
    return layer


def blend(frame: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Lay a translucent layer over a frame: RGB uint8 [h, w, 3] and RGBA uint8 [h, w, 4] to RGB uint8."""
    out, drawn = frame.copy(), layer[..., 3] > 0
    alpha = layer[drawn, 3:].astype(np.float32) / 255
    out[drawn] = np.round(frame[drawn] * (1 - alpha) + layer[drawn, :3] * alpha)
    return out


def draw_over(frame: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Draw labels, as `overlay` takes them, over a frame RGB uint8 [h, w, 3] in its own size."""
    return blend(frame, overlay(prediction, None, (frame.shape[0], frame.shape[1]), width=frame.shape[1]))


def color_of(index: int) -> tuple[int, int, int, int]:
    """Return the color of an object, point or box, RGBA; the colors repeat."""
    red, green, blue = LABEL_COLORS[index % len(LABEL_COLORS)].tolist()
    return red, green, blue, 255


def _draw_mask(layer: np.ndarray, mask: np.ndarray, ground_truth: np.ndarray | None) -> None:
    """Fill the labels with translucent colors and outline them."""
    size = layer.shape[1], layer.shape[0]
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    for label in np.unique(mask[mask > 0]):
        inside, color = mask == label, color_of(int(label) - 1)
        layer[inside] = (*color[:3], 125)
        layer[inside & ~cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)] = color
    if ground_truth is not None:
        ground_truth = cv2.resize(ground_truth, size, interpolation=cv2.INTER_NEAREST)
        for label in np.unique(ground_truth[ground_truth > 0]):
            layer[davis.contour(ground_truth == label)] = 255


def _draw_box(layer: np.ndarray, box: np.ndarray, color: tuple[int, ...], line: int) -> None:
    if np.isfinite(box).all():
        left, top, right, bottom = (int(v) for v in np.round(np.clip([*box[:2], *(box[:2] + box[2:])], -1e6, 1e6)))
        cv2.rectangle(layer, (left, top), (right, bottom), color, line, cv2.LINE_AA)


def _draw_points(
    layer: np.ndarray, points: np.ndarray, ground_truth: np.ndarray | None, scale: float, line: int
) -> None:
    """Draw the points, each joined by a line with its ground truth."""
    for index, point in enumerate(points):
        if not (point >= 0).all():  # hidden, or NaN
            continue
        place = tuple(int(value) for value in np.round(point * scale))
        if ground_truth is not None and (ground_truth[index] >= 0).all():
            target = tuple(int(value) for value in np.round(ground_truth[index] * scale))
            cv2.line(layer, place, target, _WHITE, line)
            cv2.circle(layer, target, 2 * line, _WHITE, -1)
        cv2.circle(layer, place, 4 * line, color_of(index), -1)
