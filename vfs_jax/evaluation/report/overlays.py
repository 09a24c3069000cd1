"""Labels drawn to lie over a frame: masks with outlines, points as dots, boxes; the truth in white."""

import cv2
import numpy as np

from vfs_jax.evaluation.metrics import davis

THUMB_WIDTH = 300  # pixels, about twice what a report shows: sharp on dense screens
# Brighter than the DAVIS palette, whose dark red and green drown in a photograph.
LABEL_COLORS = np.array(
    [[230, 57, 70], [42, 157, 143], [244, 185, 66], [69, 123, 230], [186, 85, 211], [255, 127, 80], [0, 190, 220]],
    np.uint8,
)


def thumb_size(h: int, w: int) -> tuple[int, int]:
    """Return the width and height of a thumbnail, in OpenCV's order."""
    return THUMB_WIDTH, max(round(h * THUMB_WIDTH / w), 1)


def overlay(result: np.ndarray, truth: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """Return a thumbnail to lie over a frame.

    Args:
        result: an index mask [h, w], points (x, y) [n, 2] in pixels of the frame, NaN or negative ones left out, or a
            box (left, top, width, height) [4], NaN for none.
        truth: the same kind, drawn in white; or None.
        size: height and width of the frame.

    Returns:
        RGBA uint8 [h, w, 4], transparent where there is nothing to show.
    """
    width, height = thumb_size(*size)
    out = np.zeros((height, width, 4), np.uint8)
    if result.ndim == 1:
        _draw_boxes(out, result, truth, width / size[1])
    elif result.dtype == np.uint8:
        _draw_masks(out, result, truth)
    else:
        _draw_points(out, result, truth, width / size[1])
    return out


def blend(frame: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Return a translucent layer over a frame: RGB uint8 [h, w, 3] and RGBA uint8 [h, w, 4] to RGB uint8."""
    alpha = layer[..., 3:].astype(np.float32) / 255
    return np.round(frame * (1 - alpha) + layer[..., :3] * alpha).astype(np.uint8)


def draw_box(out: np.ndarray, box: np.ndarray, color: tuple[int, ...], *, thickness: int) -> None:
    """Draw the outline of a box (left, top, width, height), from 0 and NaN for none, into an image uint8 [h, w, c]."""
    if np.isfinite(box).all():
        left, top, right, bottom = (int(v) for v in np.round(np.clip([*box[:2], *(box[:2] + box[2:])], -1e6, 1e6)))
        cv2.rectangle(out, (left, top), (right, bottom), color, thickness, cv2.LINE_AA)


def draw_over(frame: np.ndarray, result: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """Return a frame in its own size with labels over it.

    Args:
        frame: RGB uint8 [h, w, 3].
        result: an index mask uint8 [h, w], or points or a box as `overlay` takes them.
        truth: the same kind, drawn in white; or None.

    Returns:
        RGB uint8 [h, w, 3].
    """
    layer = np.zeros((*frame.shape[:2], 4), np.uint8)
    size = max(1, round(frame.shape[1] / THUMB_WIDTH))
    if result.ndim == 1:
        _draw_boxes(layer, result, truth, 1.0, size=size)
    elif result.dtype == np.uint8:
        _draw_masks(layer, result, truth)
    else:
        _draw_points(layer, result, truth, 1.0, size=size)
    return blend(frame, layer)


def _draw_boxes(out: np.ndarray, result: np.ndarray, truth: np.ndarray | None, scale: float, size: int = 1) -> None:
    for box, color in ((truth, (255, 255, 255)), (result, LABEL_COLORS[0])):
        if box is not None:
            draw_box(out, box * scale, (*np.asarray(color).tolist(), 255), thickness=2 * size)


def _draw_masks(out: np.ndarray, mask: np.ndarray, truth: np.ndarray | None) -> None:
    size = out.shape[1], out.shape[0]
    _color_labels(out, cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST))
    if truth is not None:
        truth = cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST)
        for label in np.unique(truth[truth > 0]):
            out[davis.contour(truth == label)] = 255


def _color_labels(out: np.ndarray, mask: np.ndarray) -> None:
    """Fill the labels with translucent colors and outlines them."""
    for label in np.unique(mask[mask > 0]):
        color = LABEL_COLORS[(label - 1) % len(LABEL_COLORS)]
        inside = mask == label
        out[inside] = (*color, 125)
        out[inside & ~cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)] = (*color, 255)


def _draw_points(out: np.ndarray, points: np.ndarray, truth: np.ndarray | None, scale: float, size: int = 1) -> None:
    for index, point in enumerate(points):
        if not (point >= 0).all():  # lost, or NaN
            continue
        place = tuple(int(value) for value in np.round(point * scale))
        if truth is not None and (truth[index] >= 0).all():
            target = tuple(int(value) for value in np.round(truth[index] * scale))
            cv2.line(out, place, target, (255, 255, 255, 255), size)
            cv2.circle(out, target, 2 * size, (255, 255, 255, 255), -1)
        color = (*LABEL_COLORS[index % len(LABEL_COLORS)].tolist(), 255)
        cv2.circle(out, place, 4 * size, color, -1)
