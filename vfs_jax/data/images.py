"""Frames and index masks from and to files and bytes: the one place that decodes pictures.

Pillow reads files of data sets, of every kind, and notices where one is cut short; OpenCV reads, in less time, plain
JPEG files that have their end, and the JPEG frames of records, whose checksums notice what is missing. Of the same JPEG
both make the same pixels.

| picture | as a frame | as an index mask |
| --- | --- | --- |
| 8 bits a color, palette | its colors | palette: the indices; colors: refused |
| gray, 1 to 8 bits | gray, 0 to 255 | the values as they are stored |
| 16 bits, gray or color | the upper eight bits | refused |
| 32 bits, float, Lab | refused: their range is not told | refused |
| with alpha, or a transparent color | without it | palette: the indices; else refused |
| CMYK, YCbCr, HSV | converted to RGB by Pillow | refused |
| EXIF orientation | turned as it says, as OpenCV turns it; so is its size | the same |
| several pictures (animated, pages) | refused; of MPO, which cameras write, the first | refused |
"""

import io
import os
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageFile

from vfs_jax.data import index_png
from vfs_jax.data.plain_jpeg import is_plain_jpeg
from vfs_jax.errors import InputError

Frame = np.ndarray | Image.Image

# What Pillow raises where a file is missing, broken or too large.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
# How EXIF's orientations become upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# By what Pillow multiplies the values of gray pictures of few bits, by its name of their layout.
_FEW_BITS = {"L;2": 85, "L;4": 17}


def natural_order(name: str | os.PathLike[str]) -> tuple[list[str | int], str]:
    """Return what sorts names as people count: runs of digits by their number.

    >>> sorted(["10.png", "2.png", "1.png"], key=natural_order)
    ['1.png', '2.png', '10.png']
    """
    text = os.fspath(name)
    parts = re.split("([0-9]+)", text)  # every second one is a number
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], text


def list_images(folder: Path, suffixes: tuple[str, ...] = (".jpg", ".jpeg", ".png")) -> tuple[Path, ...]:
    """List the image files of a folder, in natural order of their names; hidden ones (._00000.jpg) do not count.

    Raises:
        InputError: there is no such folder, no image in it, or two files of one frame (1.jpg and 1.png, or 01.jpg).
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; the data set's list names this sequence")
    files = [file for file in folder.iterdir() if file.suffix.lower() in suffixes and file.name[0] != "."]
    files.sort(key=lambda file: natural_order(file.name))
    if not files:
        raise InputError(f"{folder}: holds no {' or '.join(suffixes)} file; copy the sequence again")
    of_frame: dict[tuple[str | int, ...], Path] = {}
    for file in files:
        other = of_frame.setdefault(tuple(natural_order(file.stem)[0]), file)
        if other is not file:
            raise InputError(f"{file}: is the same frame as {other.name}; keep one of the two")
    return tuple(files)


def check_sizes(files: Sequence[Path]) -> None:
    """Raise InputError unless all files are images of the first one's size; reads headers alone."""
    first = image_size(files[0])
    for file in files[1:]:
        size = image_size(file)
        if size != first:
            sizes = f"{size[1]}x{size[0]}, {files[0].name} {first[1]}x{first[0]}"
            raise InputError(f"{file}: is {sizes}; frames and masks of a sequence must be of one size")


def image_size(file: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """Read the height and width of an image file, or of its bytes, from its header: those of the frame or the mask.

    Raises:
        InputError: the file is missing or no image.
    """
    with _open(file) as image:
        upright = image.height, image.width
        return upright[::-1] if _orientation(image) >= 5 else upright


def read_frame(file: str | os.PathLike[str] | bytes) -> np.ndarray:
    """Read an image file, or its bytes.

    Returns:
        RGB uint8 [h, w, 3]; the table above says what becomes of which kind.

    Raises:
        InputError: the file is missing, truncated, no image, or of a kind that is no frame.
    """
    data = file if isinstance(file, bytes) else _content(file)
    frame = _by_opencv(data) if is_plain_jpeg(data) else None
    if frame is not None:
        return frame
    with _open(file) as image:
        upright = _upright(image, file)
        try:
            return np.array(as_rgb(upright))
        except ValueError as error:
            raise InputError(f"{_named(file)}: is {error}") from None


def read_index_mask(file: str | os.PathLike[str]) -> np.ndarray:
    """Read an index mask: the palette indices, or the values of a gray image.

    Returns:
        read-only uint8 [h, w].

    Raises:
        InputError: the file is missing, truncated, no image, in colors instead of indices, or a JPEG.
    """
    mask = index_png.decode(_content(file))
    if mask is not None:
        return mask
    with _open(file) as image:
        if image.format == "JPEG":
            raise InputError(f"{file}: is a JPEG, which blurs indices; write masks as PNG")
        if image.mode not in ("P", "L", "1"):
            kind = "a 16-bit" if image.mode.startswith("I;16") else f"a {image.mode}"
            raise InputError(f"{file}: is {kind} image; masks hold indices (palette or 8-bit gray PNG)")
        layout = image.tile[0].args if image.tile else ""
        mask = np.asarray(_upright(image, file)).astype(np.uint8)
        return mask // _FEW_BITS.get(layout, 1) if isinstance(layout, str) else mask


def _content(file: str | os.PathLike[str]) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError:
        raise _unreadable(file) from None


@contextmanager
def _open(file: str | os.PathLike[str] | bytes) -> Iterator[ImageFile.ImageFile]:
    try:
        image = Image.open(io.BytesIO(file) if isinstance(file, bytes) else file)
    except _UNREADABLE:
        raise _unreadable(file) from None
    with image:
        yield image


def _upright(image: Image.Image, file: str | os.PathLike[str] | bytes) -> Image.Image:
    """Decode the picture and turn it as EXIF says."""
    try:
        pictures = getattr(image, "n_frames", 1)
        image.load()
    except _UNREADABLE:
        raise _unreadable(file) from None
    if pictures > 1 and image.format != "MPO":
        raise InputError(f"{_named(file)}: holds {pictures} pictures; a frame is a file of its own")
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """Read EXIF's orientation, 1 to 8; 1 is upright."""
    if image.format == "PNG" and "exif" not in image.info:  # Pillow would decode the whole picture to look behind it
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (*_UNREADABLE, TypeError):
        return 1


def _named(file: str | os.PathLike[str] | bytes) -> str:
    return "an encoded frame" if isinstance(file, bytes) else os.fspath(file)


def _unreadable(file: str | os.PathLike[str] | bytes) -> InputError:
    return InputError(f"{_named(file)}: cannot be read as an image; copy it again")


def as_rgb(frame: Frame) -> np.ndarray:
    """Convert a frame of any usual kind to RGB uint8 [h, w, 3].

    Args:
        frame: uint8 or uint16 [h, w], [h, w, 1], [h, w, 3] or [h, w, 4] (alpha is dropped; 16 bits lose the lower
            eight, as OpenCV reads them), or a PIL image, which is not turned.

    Raises:
        ValueError: it is something else; the message tells its dtype and shape.

    >>> as_rgb(np.array([[255, 256, 65535]], np.uint16))[0, :, 0].tolist()
    [0, 1, 255]
    """
    if isinstance(frame, Image.Image):
        if frame.mode in ("I", "F", "LAB"):
            raise ValueError(f"an image of mode {frame.mode}, whose range is not told; take one of 8 or 16 bits")
        if not frame.mode.startswith("I;16"):
            frame = frame.convert("RGBA" if "transparency" in frame.info else "RGB")
        frame = np.asarray(frame)
    image = np.asarray(frame)
    usual = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))
    if not usual or image.size == 0 or image.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise ValueError(
            f"a frame of dtype {image.dtype} and shape {list(image.shape)}: take uint8 or uint16, [h, w] or [h, w, 3]"
        )
    if image.dtype != np.uint8:
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
    image = _by_opencv(data) if data else None
    if image is None:
        raise ValueError("a frame is not a decodable JPEG")
    return image


def _by_opencv(jpeg: bytes) -> np.ndarray | None:
    image: np.ndarray | None = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    return image


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
        ValueError: the mask is of another dtype or shape, or has no pixel.
        OSError: it cannot be written; names the file.
    """
    # Checked by hand: jaxtyping's decorator imports jax, which the decoding processes of vfs-prepare do without.
    if mask.dtype != np.uint8 or mask.ndim != 2 or not mask.size:
        raise ValueError(f"mask of dtype {mask.dtype} and shape {list(mask.shape)}: take uint8 [h, w]")
    try:
        Path(path).write_bytes(index_png.encode(mask, PALETTE))
    except OSError as error:  # that of a full disk has no name
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


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
