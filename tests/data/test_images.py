"""Frames and masks read and written: one rule for every kind of file, and what cannot be read is named."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from vfs_jax.data import images
from vfs_jax.data.images import decode_jpeg, encode_jpeg, image_size, read_frame, read_index_mask, write_index_mask
from vfs_jax.errors import InputError


def picture(height=12, width=16):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([10 * rows, 10 * columns, 5 * (rows + columns)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("kind", ["color", "gray", "alpha", "palette", "16 bits", "16 bits, color"])
def test_every_kind_of_png_is_the_frame_that_opencv_reads(tmp_path, kind):
    path, image = tmp_path / "frame.png", picture()
    wide = image.astype(np.uint16) * 257 + 100
    if kind == "16 bits, color":
        cv2.imwrite(str(path), wide)
    elif kind == "palette":
        Image.fromarray(image).quantize(16).save(path)
    else:
        arrays = {
            "color": image,
            "gray": image[..., 0],
            "alpha": np.dstack([image, image[..., 0]]),
            "16 bits": wide[..., 0],
        }
        Image.fromarray(arrays[kind]).save(path)
    frame = read_frame(path)
    assert frame.dtype == np.uint8
    assert frame.flags.writeable
    np.testing.assert_array_equal(frame, cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))
    np.testing.assert_array_equal(read_frame(path.read_bytes()), frame)
    assert image_size(path) == image_size(path.read_bytes()) == (12, 16)


def test_both_decoders_of_jpeg_agree(real_data):
    path = real_data / "davis_like/JPEGImages/480p/dog/00000.jpg"
    frame = read_frame(path)
    np.testing.assert_array_equal(decode_jpeg(path.read_bytes()), frame)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), frame)


def test_jpeg_takes_blue_first_and_gives_red_first():
    blue = np.zeros((16, 16, 3), np.uint8)
    blue[..., 0] = 255
    small, large = (encode_jpeg(blue, quality=quality) for quality in (5, 100))
    assert len(small) < len(large)
    for decoded in (decode_jpeg(large), read_frame(large)):
        assert decoded[8, 8, 2] > 250
        assert decoded[8, 8, :2].max() < 5


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_what_is_cut_short_is_named(tmp_path, suffix):
    path = tmp_path / f"frame.{suffix}"
    Image.fromarray(picture(64, 64)).save(path)
    whole = path.read_bytes()
    for content in (whole[:-30], whole[:10], b"not an image", b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"frame\.{suffix}: cannot be read as an image; copy it again"):
            read_frame(path)
        with pytest.raises(InputError, match="an encoded frame: cannot be read"):
            read_frame(content)
    with pytest.raises(InputError, match="cannot be read as an image"):
        image_size(path)
    with pytest.raises(ValueError, match="not a decodable JPEG"):
        decode_jpeg(b"")


def test_masks_are_indices(tmp_path):
    with pytest.raises(ValueError, match=r"mask of dtype int64 and shape \[2, 2\]: take uint8 \[h, w\]"):
        write_index_mask(tmp_path / "mask.png", np.zeros((2, 2), np.int64))
    content = io.BytesIO()
    Image.fromarray(picture()).save(content, "PNG")
    (tmp_path / "mask.png").write_bytes(content.getvalue()[:-20])
    with pytest.raises(InputError, match=r"mask\.png: is a RGB image; masks hold indices"):
        read_index_mask(tmp_path / "mask.png")
    write_index_mask(tmp_path / "mask.png", picture()[..., 0])
    (tmp_path / "mask.png").write_bytes((tmp_path / "mask.png").read_bytes()[:-30])
    with pytest.raises(InputError, match=r"mask\.png: cannot be read"):
        read_index_mask(tmp_path / "mask.png")


def test_masks_come_back_with_the_palette(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_index_mask(tmp_path / "mask.png", mask)
    np.testing.assert_array_equal(read_index_mask(tmp_path / "mask.png"), mask)
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "P"
        palette = image.getpalette()
    # The first colors of PASCAL VOC: black, dark red, green, olive, navy.
    assert palette[:15] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]
    assert len({tuple(palette[3 * i : 3 * i + 3]) for i in range(256)}) == 256


def test_palette_is_that_of_davis(real_data):
    with Image.open(real_data / "davis_eval/osvos/kite-surf/00000.png") as image:
        np.testing.assert_array_equal(np.reshape(image.getpalette(), (256, 3)), images.PALETTE)
