"""Frames and masks read and written: one rule for every kind of file, and what cannot be read is named."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from vfs_jax.data import images
from vfs_jax.data.images import (
    decode_jpeg,
    encode_jpeg,
    image_size,
    list_images,
    read_frame,
    read_index_mask,
    write_index_mask,
)
from vfs_jax.errors import InputError


def picture(height=12, width=16):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([10 * rows, 10 * columns, 5 * (rows + columns)], axis=-1).astype(np.uint8)


def write_picture(path, kind):
    """Write the picture as a file of a kind."""
    image = picture()
    gray, wide = image[..., 0], image.astype(np.uint16) * 257 + 100
    if kind.endswith("by OpenCV"):
        pictures = {"color": wide, "alpha": np.dstack([wide, wide[..., 0]]), "gray": wide[..., 0]}
        cv2.imwrite(str(path), pictures[kind.split()[2]])
    elif "palette" in kind:
        few = Image.fromarray(image).quantize(4 if "2 bits" in kind else 16)
        if "transparent" in kind:
            few.info["transparency"] = bytes(range(0, 160, 10))
        few.save(path)
    else:
        pictures = {
            "color": image,
            "gray": gray,
            "color and alpha": np.dstack([image, gray]),
            "gray and alpha": np.dstack([gray, gray]),
            "16 bits": wide[..., 0],
            "1 bit": gray > 50,
        }
        Image.fromarray(pictures[kind]).save(path)


KINDS = (
    *("color", "gray", "color and alpha", "gray and alpha", "16 bits", "1 bit"),
    *("palette", "palette of 2 bits", "transparent palette"),
    *("16 bits, color, by OpenCV", "16 bits, alpha, by OpenCV", "16 bits, gray, by OpenCV"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_png_is_the_frame_that_opencv_reads(tmp_path, kind):
    path = tmp_path / "frame.png"
    write_picture(path, kind.replace(",", ""))
    frame = read_frame(path)
    assert frame.dtype == np.uint8
    assert frame.flags.writeable
    np.testing.assert_array_equal(frame, cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))
    np.testing.assert_array_equal(read_frame(path.read_bytes()), frame)
    assert image_size(path) == image_size(path.read_bytes()) == (12, 16)


def test_sixteen_bits_lose_the_lower_eight(tmp_path):
    """Pillow alone clips 16-bit gray to white."""
    Image.fromarray(np.full((4, 6), 86 * 257, np.uint16)).save(tmp_path / "frame.png")
    assert set(read_frame(tmp_path / "frame.png").flat) == {86}
    big_endian = Image.frombytes("I;16B", (6, 4), np.full((4, 6), 86 * 256 + 7, ">u2").tobytes())
    assert set(images.as_rgb(big_endian).flat) == {86}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_turns_frames_and_sizes_as_opencv_does(tmp_path, orientation, suffix):
    path, exif = tmp_path / f"frame.{suffix}", Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(picture()).save(path, exif=exif)
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(read_frame(path), expected)
    assert image_size(path) == image_size(path.read_bytes()) == expected.shape[:2]
    assert expected.shape[:2] == ((12, 16) if orientation < 5 else (16, 12))


def test_a_mask_is_turned_as_its_frame_is(tmp_path):
    """Whichever of the two decoders of masks reads it."""
    exif, mask = Image.Exif(), picture()[..., 0]
    exif[ExifTags.Base.Orientation] = 6
    content = _png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    for bits in (8, 4):
        data = _png_of_gray(mask % 16, bits)
        header = data.index(b"IDAT") - 4
        (tmp_path / "mask.png").write_bytes(data)
        np.testing.assert_array_equal(read_index_mask(tmp_path / "mask.png"), mask % 16)
        (tmp_path / "mask.png").write_bytes(data[:header] + content + data[header:])
        np.testing.assert_array_equal(read_index_mask(tmp_path / "mask.png"), np.rot90(mask % 16, -1))


def test_broken_exif_turns_nothing(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "frame.jpg", exif=b"Exif\0\0nonsense")
    assert read_frame(tmp_path / "frame.jpg").shape == (12, 16, 3)


def test_cmyk_is_converted(tmp_path):
    Image.fromarray(picture()).convert("CMYK").save(tmp_path / "frame.jpg", quality=100)
    assert np.abs(read_frame(tmp_path / "frame.jpg").astype(int) - picture()).max() <= 8


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("int32", "mode I, whose range is not told; take one of 8 or 16 bits"),
        ("float32", "mode F, whose range is not told"),
        ("apng", "holds 2 pictures; a frame is a file of its own"),
        ("gif", "holds 2 pictures"),
        ("pages", "holds 2 pictures"),
    ],
)
def test_what_is_no_frame_is_refused(tmp_path, kind, said):
    """Whatever the suffix says; a reader looks at the content."""
    path = tmp_path / "frame.png"
    if kind in ("int32", "float32"):
        Image.fromarray(picture()[..., 0].astype(kind)).save(path, "TIFF")
    else:
        first, second = Image.fromarray(picture()), Image.fromarray(255 - picture())
        formats = {"apng": "PNG", "gif": "GIF", "pages": "TIFF"}
        first.save(path, formats[kind], save_all=True, append_images=[second])
    with pytest.raises(InputError, match=rf"frame\.png: .*{said}"):
        read_frame(path)


def test_a_camera_s_picture_of_several_is_its_first(tmp_path):
    first, second = Image.fromarray(picture()), Image.fromarray(255 - picture())
    first.save(tmp_path / "frame.jpg", "MPO", save_all=True, append_images=[second])
    np.testing.assert_array_equal(
        read_frame(tmp_path / "frame.jpg"), cv2.imread(str(tmp_path / "frame.jpg"), cv2.IMREAD_COLOR_RGB)
    )


def test_signs_that_are_digits_elsewhere_are_letters(tmp_path):
    """Python calls a superscript a digit, and cannot read it as a number."""
    names = ["7.png", "9\xb21.png", "10\xb21.png", "\xb2.png", "\u0663.png"]
    for name in names:
        (tmp_path / name).touch()
    assert [file.name for file in list_images(tmp_path)] == names


def test_frames_come_in_the_order_in_which_people_count(tmp_path):
    names = [f"{number}.png" for number in (1, 2, 9, 10, 11, 100)] + ["frame_2.jpg", "frame_10.JPG"]
    for name in [*reversed(names), "._1.png", ".2.png", "Thumbs.db", ".DS_Store"]:
        (tmp_path / name).touch()
    assert [file.name for file in list_images(tmp_path)] == names


@pytest.mark.parametrize("other", ["00000.JPG", "00000.png", "0.jpg"])
def test_two_files_of_one_frame_are_refused(tmp_path, other):
    for name in ("00000.jpg", "00001.jpg", other):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"0\.(JPG|jpg|png): is the same frame as 0+\.(JPG|jpg|png); keep one"):
        list_images(tmp_path)


@pytest.mark.parametrize("bits", [2, 4])
def test_gray_masks_of_few_bits_keep_their_values(tmp_path, bits):
    """Pillow spreads them to 255."""
    mask = np.arange(4, dtype=np.uint8).repeat(16).reshape(8, 8)
    (tmp_path / "mask.png").write_bytes(_png_of_gray(mask, bits))
    np.testing.assert_array_equal(read_index_mask(tmp_path / "mask.png"), mask)


def _png_of_gray(values, bits):
    """A PNG of so many bits a pixel, without filters: bytes."""
    rows = np.unpackbits(values[..., None], axis=2)[..., -bits:].reshape(len(values), -1)
    lines = b"".join(b"\0" + row.tobytes() for row in np.packbits(rows, axis=1))
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(*part) for part in parts)


def _png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_masks_of_16_bits_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 6), np.uint16)).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"mask\.png: is a 16-bit image; masks hold indices"):
        read_index_mask(tmp_path / "mask.png")


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
