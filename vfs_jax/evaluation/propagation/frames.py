"""Resize frames and label maps as the libraries of the protocols do, to the last bit."""

import cv2
import numpy as np
from PIL import Image

from vfs_jax.evaluation.propagation.settings import Resize

Size = tuple[int, int]  # height and width


def resize_frame(frame: np.ndarray, size: Size, resize: Resize = "opencv") -> np.ndarray:
    """Resize a frame.

    Args:
        frame: RGB uint8 [h, w, 3].
        size: height and width of the result.
        resize: "opencv" bilinear without antialiasing on bytes; "opencv_float" the same on floats, which are not
            rounded; "pillow" bicubic with antialiasing on bytes.

    Returns:
        RGB uint8 [*size, 3], or float32 0..255 of "opencv_float"; the frame itself where it is of that size.

    >>> frame = np.zeros((2, 4, 3), np.uint8)
    >>> resize_frame(frame, (3, 6)).dtype, resize_frame(frame, (3, 6), "opencv_float").dtype
    (dtype('uint8'), dtype('float32'))
    """
    if frame.shape[:2] == size:
        return frame
    if resize == "pillow":
        return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC))
    source = frame.astype(np.float32) if resize == "opencv_float" else frame
    return cv2.resize(source, size[::-1], interpolation=cv2.INTER_LINEAR)


def resize_maps(maps: np.ndarray, size: Size, *, together: bool = False) -> np.ndarray:
    """Resize label maps, float [h, w, l], to float32 of a (height, width): bilinear without antialiasing, by OpenCV.

    OpenCV's rounding depends on the number of channels: each map has a call of its own, or all have one `together`, as
    in CRW's code.
    """
    maps = maps.astype(np.float32)
    if maps.shape[:2] == size:
        return maps
    if together:
        return cv2.resize(maps, size[::-1], interpolation=cv2.INTER_LINEAR).reshape(*size, -1)
    each = [cv2.resize(maps[..., k], size[::-1], interpolation=cv2.INTER_LINEAR) for k in range(maps.shape[-1])]
    return np.stack(each, axis=-1)
