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
    """Width and height of a thumbnail, in OpenCV's order."""
    return THUMB_WIDTH, max(round(h * THUMB_WIDTH / w), 1)


def overlay(result: np.ndarray, truth: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """A thumbnail to lie over a frame.

    Args:
      result: an index mask [h, w], points (x, y) [n, 2] in pixels of the frame, NaN or negative ones left out, or a box
        (left, top, width, height) [4], NaN for none.
      truth: the same kind, drawn in white; or None.
      size: height and width of the frame.

    Returns:
      RGBA uint8 [h, w, 4], transparent where there is nothing to show.
    """
    width, height = thumb_size(*size)
    out = np.zeros((height, width, 4), np.uint8)
    if result.ndim == 1:
        for box, color in ((truth, (255, 255, 255)), (result, LABEL_COLORS[0])):
            if box is not None:
                draw_box(out, box * (width / size[1]), (*np.asarray(color).tolist(), 255), thickness=2)
    elif result.dtype == np.uint8:
        _draw_masks(out, result, truth)
    else:
        _draw_points(out, result, truth, width / size[1])
    return out


def blend(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A frame with its mask's labels over it: RGB uint8 [h, w, 3] and index mask uint8 [h, w] to RGB uint8."""
    layer = np.zeros((*mask.shape, 4), np.uint8)
    _color_labels(layer, mask)
    alpha = layer[..., 3:].astype(np.float32) / 255
    return np.round(frame * (1 - alpha) + layer[..., :3] * alpha).astype(np.uint8)


def draw_box(out: np.ndarray, box: np.ndarray, color: tuple[int, ...], *, thickness: int) -> None:
    """Draws the outline of a box (left, top, width, height), from 0 and NaN for none, into an image uint8 [h, w, c]."""
    if np.isfinite(box).all():
        left, top, right, bottom = (int(v) for v in np.round(np.clip([*box[:2], *(box[:2] + box[2:])], -1e6, 1e6)))
        cv2.rectangle(out, (left, top), (right, bottom), color, thickness, cv2.LINE_AA)


def _draw_masks(out: np.ndarray, mask: np.ndarray, truth: np.ndarray | None) -> None:
    size = out.shape[1], out.shape[0]
    _color_labels(out, cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST))
    if truth is not None:
        truth = cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST)
        for label in np.unique(truth[truth > 0]):
            out[davis.contour(truth == label)] = 255


def _color_labels(out: np.ndarray, mask: np.ndarray) -> None:
    """Fills the labels with translucent colours and outlines them."""
    for label in np.unique(mask[mask > 0]):
        color = LABEL_COLORS[(label - 1) % len(LABEL_COLORS)]
        inside = mask == label
        out[inside] = (*color, 125)
        out[inside & ~cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)] = (*color, 255)


def _draw_points(out: np.ndarray, points: np.ndarray, truth: np.ndarray | None, scale: float) -> None:
    for index, point in enumerate(points):
        if not (point >= 0).all():  # lost, or NaN
            continue
        place = tuple(int(value) for value in np.round(point * scale))
        if truth is not None and (truth[index] >= 0).all():
            target = tuple(int(value) for value in np.round(truth[index] * scale))
            cv2.line(out, place, target, (255, 255, 255, 255), 1)
            cv2.circle(out, target, 2, (255, 255, 255, 255), -1)
        color = (*LABEL_COLORS[index % len(LABEL_COLORS)].tolist(), 255)
        cv2.circle(out, place, 4, color, -1)
