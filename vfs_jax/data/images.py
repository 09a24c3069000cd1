"""Frames and index masks from and to files: the one place that decodes pictures."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from beartype import beartype
from jaxtyping import UInt8, jaxtyped
from PIL import Image, UnidentifiedImageError

from vfs_jax.errors import InputError


def list_images(folder: Path, suffixes: tuple[str, ...] = (".jpg", ".jpeg", ".png")) -> tuple[Path, ...]:
    """Return the image files of a folder by name; raises InputError where there is none."""
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


def image_size(path: Path) -> tuple[int, int]:
    """Return the height and width of an image file, from its header."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, UnidentifiedImageError):
        raise InputError(f"{path}: cannot be read as an image; copy it again") from None


def read_frame(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image file.

    Returns:
        RGB uint8 [h, w, 3].

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    return _decode(path, "RGB")


def read_index_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an index mask: the palette indices, or the values of a gray image.

    Returns:
        uint8 [h, w].

    Raises:
        InputError: the file is missing, truncated, no image, or in colors instead of indices.
    """
    return _decode(path, None)


def _decode(path: str | os.PathLike[str], mode: str | None) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if mode is None and image.mode not in ("P", "L", "1"):
                raise InputError(f"{path}: is a {image.mode} image; masks hold indices (palette or 8-bit gray PNG)")
            return np.array(image if mode is None else image.convert(mode)).astype(np.uint8)
    except (OSError, SyntaxError):  # Pillow raises SyntaxError on a broken PNG
        raise InputError(f"{path}: cannot be read as an image; copy it again") from None


@jaxtyped(typechecker=beartype)
def write_index_mask(path: str | os.PathLike[str], mask: UInt8[np.ndarray, "h w"]) -> None:
    """Write a palette PNG that shows every label in its DAVIS color.

    Args:
        path: the file, .png.
        mask: uint8 [h, w].
    """
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
