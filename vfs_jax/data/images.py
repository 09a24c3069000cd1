"""Frames and index masks from and to files and bytes: the one place that decodes pictures.

Pillow reads files of data sets, of every kind, and notices where one is cut short; OpenCV reads the JPEG frames of
records, whose checksums notice that, in less time. Of the same JPEG both make the same pixels.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vfs_jax.data import index_png
from vfs_jax.errors import InputError

Frame = np.ndarray | Image.Image


def list_images(folder: Path, suffixes: tuple[str, ...] = (".jpg", ".jpeg", ".png")) -> tuple[Path, ...]:
    """List the image files of a folder by name.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; the data set's list names this sequence")
    files = tuple(sorted(file for file in folder.iterdir() if file.suffix.lower() in suffixes and file.name[0] != "."))
    if not files:
        raise InputError(f"{folder}: holds no {' or '.join(suffixes)} file; copy the sequence again")
    return files


def check_sizes(files: Sequence[Path]) -> None:
    """Raise InputError unless all files are images of the first one's size; reads headers alone."""
    first = image_size(files[0])
    for file in files[1:]:
        size = image_size(file)
        if size != first:
            sizes = f"{size[1]}x{size[0]}, {files[0].name} {first[1]}x{first[0]}"
            raise InputError(f"{file}: is {sizes}; frames and masks of a sequence must be of one size")


def image_size(file: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """Read the height and width of an image file, or of its bytes, from its header.

    Raises:
        InputError: the file is missing or no image.
    """
    try:
        with _open(file) as image:
            return image.height, image.width
    except OSError:
        raise _unreadable(file) from None


def read_frame(file: str | os.PathLike[str] | bytes) -> np.ndarray:
    """Read an image file, or its bytes.

    Returns:
        RGB uint8 [h, w, 3]; gray and 16-bit images as `as_rgb` takes them.

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    try:
        with _open(file) as image:
            return np.array(as_rgb(image))
    except (OSError, SyntaxError):  # Pillow raises SyntaxError on a broken PNG
        raise _unreadable(file) from None


def read_index_mask(file: str | os.PathLike[str]) -> np.ndarray:
    """Read an index mask: the palette indices, or the values of a gray image.

    Returns:
        read-only uint8 [h, w].

    Raises:
        InputError: the file is missing, truncated, no image, in colors instead of indices, or a JPEG.
    """
    try:
        data = Path(file).read_bytes()
        mask = index_png.decode(data)
        if mask is not None:
            return mask
        with _open(data) as image:
            if image.format == "JPEG":
                raise InputError(f"{file}: is a JPEG, which blurs indices; write masks as PNG")
            if image.mode not in ("P", "L", "1"):
                raise InputError(f"{file}: is a {image.mode} image; masks hold indices (palette or 8-bit gray PNG)")
            return np.asarray(image).astype(np.uint8)
    except (OSError, SyntaxError):
        raise _unreadable(file) from None


def _open(file: str | os.PathLike[str] | bytes) -> Image.Image:
    return Image.open(io.BytesIO(file) if isinstance(file, bytes) else file)


def _unreadable(file: str | os.PathLike[str] | bytes) -> InputError:
    name = "an encoded frame" if isinstance(file, bytes) else os.fspath(file)
    return InputError(f"{name}: cannot be read as an image; copy it again")


def as_rgb(frame: Frame) -> np.ndarray:
    """Convert a frame of any usual kind to RGB uint8 [h, w, 3].

    Args:
        frame: uint8 or uint16 [h, w], [h, w, 1], [h, w, 3] or [h, w, 4] (alpha is dropped; 16 bits lose the lower
            eight, as OpenCV reads them), or a PIL image.

    Raises:
        ValueError: it is something else; the message tells its dtype and shape.

    >>> as_rgb(np.array([[255, 256, 65535]], np.uint16))[0, :, 0].tolist()
    [0, 1, 255]
    """
    if isinstance(frame, Image.Image):
        frame = np.asarray(frame if frame.mode.startswith("I;16") else frame.convert("RGB"))
    image = np.asarray(frame)
    usual = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))
    if not usual or image.size == 0 or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"a frame of dtype {image.dtype} and shape {list(image.shape)}: take uint8 or uint16, [h, w] or [h, w, 3]"
        )
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    image = image.reshape(*image.shape[:2], -1)[..., :3]
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def decode_jpeg(data: bytes) -> np.ndarray:
    """Decode a frame of a record.

    Args:
        data: a JPEG file's bytes.

    Returns:
        RGB uint8 [h, w, 3].

    Raises:
        ValueError: the bytes are no image.

    >>> decode_jpeg(encode_jpeg(np.zeros((4, 6, 3), np.uint8), quality=90)).shape
    (4, 6, 3)
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if image is None:
        raise ValueError("a frame is not a decodable JPEG")
    return np.asarray(image)


def encode_jpeg(bgr: np.ndarray, *, quality: int) -> bytes:
    """Encode a frame as a JPEG file.

    Args:
        bgr: uint8 [h, w, 3]; blue first, as OpenCV decodes videos and takes images, so that neither is reordered.
        quality: 1 to 100.

    Raises:
        ValueError: the frame is larger than a JPEG file may be.
    """
    encoded, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ValueError(f"a frame of {bgr.shape[1]}x{bgr.shape[0]} does not fit a JPEG file")
    return data.tobytes()


def write_index_mask(path: str | os.PathLike[str], mask: np.ndarray) -> None:
    """Write a palette PNG that shows every label in its DAVIS color.

    Args:
        path: the file, .png.
        mask: uint8 [h, w].

    Raises:
        ValueError: the mask is of another dtype or shape.
    """
    # Checked by hand: jaxtyping's decorator imports jax, which the decoding processes of vfs-prepare do without.
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(f"mask of dtype {mask.dtype} and shape {list(mask.shape)}: take uint8 [h, w]")
    image = Image.fromarray(mask)
    image.putpalette(PALETTE.tobytes())
    image.save(path, format="PNG")


def _palette() -> np.ndarray:
    """Return the PASCAL VOC and DAVIS colors: red's high bits are bits 0, 3, 6 of the index, green's 1, 4, 7 ..."""
    index = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for position in range(8):
        for channel in range(3):
            bit = 3 * position + channel
            if bit < 8:
                colors[:, channel] |= ((index >> bit & 1) << (7 - position)).astype(np.uint8)
    return colors


PALETTE = _palette()
