"""Index PNGs decoded in one go: what Pillow reads of them, and what is left to Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from vfs_jax.data import index_png
from vfs_jax.data.images import PALETTE, read_index_mask
from vfs_jax.errors import InputError

MASK = np.random.default_rng(0).integers(0, 256, (37, 53), np.uint8)


def encoded(mask, mode="P", **options):
    image = Image.fromarray(mask)
    if mode == "P":
        image.putpalette(PALETTE.tobytes())
    elif mode != "L":
        image = image.convert(mode)
    file = io.BytesIO()
    image.save(file, format="PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize("compress_level", [0, 1, 9])
def test_a_byte_a_pixel(compress_level):
    found = index_png.decode(encoded(MASK, compress_level=compress_level))
    np.testing.assert_array_equal(found, MASK)
    large = np.kron(MASK, np.ones((30, 30), np.uint8))  # in several chunks
    data = encoded(large, compress_level=compress_level)
    np.testing.assert_array_equal(index_png.decode(data), large)


@pytest.mark.parametrize(
    "data",
    [
        encoded(np.minimum(MASK, 1), mode="1"),
        encoded(np.minimum(MASK, 3), bits=2),
        encoded(MASK, mode="RGB"),
        encoded(MASK)[:-20],
        encoded(MASK)[:60],
        encoded(MASK)[:20],
        b"GIF89a",
        b"",
    ],
)
def test_other_files_are_left_to_pillow(data, tmp_path):
    assert index_png.decode(data) is None
    (tmp_path / "mask.png").write_bytes(data)
    try:
        expected = np.array(Image.open(tmp_path / "mask.png"))
        whole = expected.ndim == 2
    except OSError:
        whole = False
    if whole:
        np.testing.assert_array_equal(read_index_mask(tmp_path / "mask.png"), expected)
    else:
        with pytest.raises(InputError, match=r"mask\.png"):
            read_index_mask(tmp_path / "mask.png")


def test_filtered_rows_are_left_to_pillow(tmp_path):
    smooth = np.add.outer(np.arange(37), np.arange(53)).astype(np.uint8)  # gray: the encoder filters its rows
    data = encoded(smooth, mode="L")
    assert index_png.decode(data) is None
    (tmp_path / "mask.png").write_bytes(data)
    np.testing.assert_array_equal(read_index_mask(tmp_path / "mask.png"), smooth)


def test_turned_and_animated_masks_are_left_to_pillow():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert index_png.decode(encoded(MASK, exif=exif)) is None
    again = Image.fromarray(MASK[::-1])
    assert index_png.decode(encoded(MASK, mode="L", save_all=True, append_images=[again])) is None


@pytest.mark.parametrize("place", [45, 60, 200])
def test_damage_is_found(place):
    data = bytearray(encoded(MASK))
    data[place + 900] ^= 255  # in the compressed pixels, whose checksum no longer fits
    assert index_png.decode(bytes(data)) is None


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (3, 1000)])
def test_encoded_masks_are_those_of_pillow(size):
    mask = np.resize(MASK, size)
    data = index_png.encode(mask[::-1], PALETTE)  # a view of other strides
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert (image.mode, image.info) == ("P", {})
        np.testing.assert_array_equal(np.array(image), mask[::-1])
        np.testing.assert_array_equal(np.reshape(image.getpalette(), (256, 3)), PALETTE)
    np.testing.assert_array_equal(index_png.decode(data), mask[::-1])
