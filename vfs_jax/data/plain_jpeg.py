"""Tell the JPEGs that most frames are, whole and with nothing special, by their markers.

OpenCV decodes these in one call, beside which other threads run. Pillow makes the same pixels, and copies them four
times, in pieces for which all other threads wait.
"""

import struct

import numpy as np

_START, _END, _PIXELS = 0xD8, 0xD9, 0xDA
_PICTURES = {0xC0, 0xC1}  # in one scan; progressive ones come in many
# Tables, comments and JFIF; what else there is may turn the picture (EXIF), mean other colors or hold more pictures.
_HARMLESS = {0xC4, 0xDB, 0xDD, 0xFE, 0xE0, _PIXELS}
_MOST_PIXELS = 1 << 25  # Pillow says what it thinks of larger ones


def is_plain_jpeg(data: bytes) -> bool:
    """Tell whether a file is a JPEG of three colors of 8 bits, of nothing but these, that is whole.

    Args:
        data: the file's bytes.

    >>> is_plain_jpeg(b"GIF89a")
    False
    """
    if data[:2] != bytes((0xFF, _START)):
        return False
    place, marker, usual = 2, _START, False
    while marker != _PIXELS:
        if place + 12 > len(data):
            return False
        mark, marker, length, depth, height, width, colors = struct.unpack_from(">BBHBHHB", data, place)
        if mark != 0xFF or marker not in _HARMLESS | _PICTURES:
            return False
        if marker in _PICTURES:
            usual = (depth, colors) == (8, 3) and height * width <= _MOST_PIXELS
        place += 2 + length
    return usual and _is_whole(data, place)


def _is_whole(data: bytes, place: int) -> bool:
    """Tell whether codes from a place on go on to the file's end, with no other marker in them than restarts."""
    codes = np.frombuffer(data, np.uint8, offset=min(place, len(data)))
    marks = np.flatnonzero(codes[:-1] == 0xFF)
    follows = codes[marks + 1]
    within = follows[:-1]
    ends = len(marks) > 0 and marks[-1] == len(codes) - 2 and follows[-1] == _END
    return bool(ends and np.all((within == 0) | ((within >= 0xD0) & (within <= 0xD7))))
