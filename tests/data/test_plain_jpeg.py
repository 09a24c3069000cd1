"""Plain JPEGs: OpenCV's pixels of them are Pillow's, and what is not plain or not whole is left to Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from vfs_jax.data.images import read_frame
from vfs_jax.data.plain_jpeg import is_plain_jpeg
from vfs_jax.errors import InputError

PICTURE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
TURNED = Image.Exif()
TURNED[0x0112] = 6


def encoded(picture=PICTURE, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(data):
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (37, 53), (8, 51)])
def test_pixels_are_those_of_pillow(size, subsampling):
    smooth = np.array(Image.fromarray(PICTURE[:5, :7]).resize(size[::-1]))
    for picture in (PICTURE[: size[0], : size[1]], smooth):
        for options in ({"quality": 5}, {"quality": 95, "optimize": True, "comment": b"hello"}):
            data = encoded(picture, subsampling=subsampling, **options)
            assert is_plain_jpeg(data)
            np.testing.assert_array_equal(read_frame(data), by_pillow(data))


def test_restarts_are_plain():
    data = encoded(restart_marker_rows=1)
    assert b"\xff\xdd" in data
    assert is_plain_jpeg(data)
    np.testing.assert_array_equal(read_frame(data), by_pillow(data))


@pytest.mark.parametrize(
    "data",
    [
        encoded(mode="L"),
        encoded(mode="CMYK"),
        encoded(progressive=True),
        encoded(exif=TURNED),
        encoded(icc_profile=b"colors"),
        encoded() + b"\0",
        encoded()[:-2],
        encoded()[:-30],
        encoded()[:30],
        encoded()[:2],
        encoded()[:-30] + b"\xff\xd9" + bytes(28),
        b"\x89PNG\r\n\x1a\n",
        b"",
    ],
)
def test_other_files_are_left_to_pillow(data, tmp_path):
    assert not is_plain_jpeg(data)
    (tmp_path / "frame.jpg").write_bytes(data)
    try:
        expected = by_pillow(data)
    except OSError:
        with pytest.raises(InputError, match=r"frame\.jpg: cannot be read as an image"):
            read_frame(tmp_path / "frame.jpg")
        return
    found = read_frame(tmp_path / "frame.jpg")
    np.testing.assert_array_equal(found, np.rot90(expected, -1) if data == encoded(exif=TURNED) else expected)


def test_what_pillow_refuses_is_no_frame():
    """One byte after the other is damaged: the frame is that of Pillow, or an error where it finds one."""
    whole, rng, refused = encoded(), np.random.default_rng(1), 0
    for place in rng.integers(2, len(whole) - 2, 400):
        data = bytearray(whole)
        data[place] ^= rng.integers(1, 256)
        try:
            expected = by_pillow(bytes(data))
        except (OSError, SyntaxError, ValueError):
            refused += 1
            with pytest.raises(InputError, match="cannot be read as an image"):
                read_frame(bytes(data))
            continue
        np.testing.assert_array_equal(read_frame(bytes(data)), expected)
    assert refused > 10
