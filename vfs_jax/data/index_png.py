"""Encode index masks as PNGs, and decode the PNGs that most are: a byte a pixel and no filter.

Pillow works row by row and copies twice. Here a file is one call of libdeflate, beside which other threads run: it
decodes many times as fast, and encodes into fewer bytes in two thirds of the time.
"""

import struct
import zlib

import deflate
import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What may stand beside the pixels without changing them; EXIF may turn them, and an animation has more of them.
_HARMLESS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"sRGB", b"cHRM", b"pHYs", b"bKGD", b"sBIT", b"tIME"}
_EIGHT_BITS = {(8, color, 0, 0, 0) for color in (0, 3)}  # depth, gray or palette, compression, filters, interlacing


def encode(mask: np.ndarray, palette: np.ndarray) -> bytes:
    """Encode an index mask.

    Args:
        mask: uint8 [h, w].
        palette: RGB of every index, uint8 [256, 3].

    Returns:
        A PNG file's bytes.

    >>> decode(encode(np.array([[0, 1, 255]], np.uint8), np.zeros((256, 3), np.uint8))).tolist()
    [[0, 1, 255]]
    """
    height, width = mask.shape
    rows = np.empty((height, width + 1), np.uint8)
    rows[:, 0], rows[:, 1:] = 0, mask  # each row begins with its filter, none
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0),
        b"PLTE": palette.tobytes(),
        b"IDAT": bytes(deflate.zlib_compress(rows, 6)),
        b"IEND": b"",
    }
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in parts.items()
    )


def decode(data: bytes) -> np.ndarray | None:
    """Decode a PNG of one byte a pixel whose rows are not filtered.

    Args:
        data: a file's bytes.

    Returns:
        the bytes of the pixels, palette indices or gray, read-only uint8 [h, w]; None where the file is of another kind
        or damaged, which Pillow then tells apart.
    """
    if data[:8] != _SIGNATURE or len(data) < 33:
        return None
    width, height, *form = struct.unpack_from(">II5B", data, 16)
    if tuple(form) not in _EIGHT_BITS or not width or not height:
        return None
    parts, place, name = [], 8, b""
    while name != b"IEND":
        if place + 12 > len(data):
            return None
        length, name = struct.unpack_from(">I4s", data, place)
        if name in (b"eXIf", b"acTL"):  # to be turned, or one of several
            return None
        if name not in _HARMLESS:
            return None
        if name == b"IDAT":
            parts.append(data[place + 8 : place + 8 + length])
        place += 12 + length
    size = height * (width + 1)
    try:
        raw = deflate.zlib_decompress(b"".join(parts), size)
    except deflate.DeflateError:
        return None
    if len(raw) != size:
        return None
    rows = np.frombuffer(raw, np.uint8).reshape(height, width + 1)
    return None if rows[:, 0].any() else rows[:, 1:]
