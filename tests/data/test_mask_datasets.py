"""DAVIS opened in each of its layouts, and what is checked then."""

import io
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from vfs_jax.data.images import read_index_mask, write_index_mask
from vfs_jax.data.mask_datasets import check_objects, open_davis
from vfs_jax.errors import InputError


@pytest.fixture
def davis(tmp_path):
    """Two sequences of three frames, 12x16, in the layout of DAVIS 2017."""
    for name in ("ant", "bee"):
        frames = tmp_path / "JPEGImages" / "480p" / name
        masks = tmp_path / "Annotations" / "480p" / name
        frames.mkdir(parents=True)
        masks.mkdir(parents=True)
        for index in range(3):
            Image.fromarray(np.full((12, 16, 3), 40 * index, np.uint8)).save(frames / f"{index:05d}.jpg")
            mask = np.zeros((12, 16), np.uint8)
            mask[2:6, index : index + 4] = 1
            mask[8:10, 8:10] = 2
            mask[0, 0] = 255
            write_index_mask(masks / f"{index:05d}.png", mask)
    (tmp_path / "ImageSets" / "2017").mkdir(parents=True)
    (tmp_path / "ImageSets" / "2017" / "val.txt").write_text("bee\nant\n\n")
    return tmp_path


def test_reads_the_2017_layout(davis):
    bee, ant = open_davis(davis)
    assert (bee.name, ant.name, len(ant)) == ("bee", "ant", 3)
    assert bee.has_ground_truth
    assert np.unique(ant.mask(0)).tolist() == [0, 1, 2]  # void, 255, is background
    assert [sequence.name for sequence in open_davis(davis, sequences=["ant"])] == ["ant"]
    assert len(ant.cut(2)) == 2
    assert len(ant.cut(None)) == 3
    assert ant.cut(2).has_ground_truth


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("2016/val.txt", "ant\n"),
        ("480p/val.txt", "/JPEGImages/480p/ant/00000.jpg /Annotations/480p/ant/00000.png\n" * 3),
    ],
)
def test_reads_the_2016_layouts(davis, path, text):
    (davis / "ImageSets" / path).parent.mkdir()
    (davis / "ImageSets" / path).write_text(text)
    (ant,) = open_davis(davis, year=2016)
    assert ant.name == "ant"
    assert np.unique(ant.mask(0)).tolist() == [0, 1]  # one object of all labels


def test_first_mask_alone_is_enough(davis):
    for index in (1, 2):
        (davis / f"Annotations/480p/ant/{index:05d}.png").unlink()
    (ant,) = open_davis(davis, sequences=["ant"])
    assert not ant.has_ground_truth


def spoil_frame(root):
    path = root / "JPEGImages/480p/ant/00001.jpg"
    path.write_bytes(b"not an image")


def spoil_mask_size(root):
    write_index_mask(root / "Annotations/480p/ant/00002.png", np.ones((8, 16), np.uint8))


def drop_mask(root):
    (root / "Annotations/480p/ant/00001.png").unlink()


def empty_first_mask(root):
    write_index_mask(root / "Annotations/480p/ant/00000.png", np.zeros((12, 16), np.uint8))


def gray_first_mask(root):
    Image.fromarray(np.full((12, 16), 255, np.uint8)).save(root / "Annotations/480p/ant/00000.png")


def drop_sequence(root):
    shutil.rmtree(root / "JPEGImages/480p/ant")


def empty_sequence(root):
    for file in (root / "JPEGImages/480p/ant").iterdir():
        file.unlink()


def color_mask(root):
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(root / "Annotations/480p/ant/00000.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_frame, r"ant/00001\.jpg: cannot be read as an image"),
        (spoil_mask_size, r"ant/00002\.png: is 16x8, 00000\.jpg 16x12"),
        (drop_mask, r"Annotations/480p/ant: masks and frames do not pair up \(see 00001\)"),
        (empty_first_mask, r"ant/00000\.png: holds no object"),
        (gray_first_mask, r"ant/00000\.png: holds no object.*year 2016"),
        (drop_sequence, r"JPEGImages/480p/ant: no such folder"),
        (empty_sequence, r"JPEGImages/480p/ant: holds no \.jpg"),
        (color_mask, r"ant/00000\.png: is a RGB image; masks hold indices"),
        (lambda root: (root / "ImageSets/2017/val.txt").unlink(), r"ImageSets/2017/val\.txt: no such file"),
        (lambda root: (root / "ImageSets/2017/val.txt").write_text("\n"), r"ImageSets/2017/val\.txt: is empty"),
    ],
)
def test_bad_data_is_one_clear_line(davis, spoil, message):
    spoil(davis)
    with pytest.raises(InputError, match=message) as error:
        open_davis(davis)
    assert "\n" not in str(error.value)


def test_unknown_folder_and_sequence(davis):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        open_davis(davis / "nowhere")
    with pytest.raises(InputError, match="has no sequence cat in this split; there are bee, ant"):
        open_davis(davis, sequences=["cat"])


def smoothed(mask, how):
    image = Image.fromarray(mask)
    if how == "jpeg":
        file = io.BytesIO()
        image.save(file, format="JPEG", quality=90)
        return np.array(Image.open(file))
    if how == "drawn":
        return cv2.circle(np.zeros_like(mask), (60, 40), 25, 255, -1, cv2.LINE_AA)
    return np.array(image.resize((160, 120), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("how", ["jpeg", "drawn", "resized"])
def test_smoothed_masks_are_refused(how):
    mask = cv2.circle(np.zeros((90, 120), np.uint8), (60, 40), 25, 255, -1)
    check_objects(mask, "mask.png")
    with pytest.raises(
        InputError, match=r"mask\.png: holds \d+ labels, .* nowhere three pixels wide.*without smoothing"
    ):
        check_objects(smoothed(mask, how), "mask.png")


def test_many_objects_are_no_smoothing(real_data):
    """Up to 20 proposals a frame, most of them crumbs."""
    for path in sorted((real_data / "davis_eval/rvos/kite-surf").glob("*.png"))[::5]:
        check_objects(read_index_mask(path), path)


def test_a_smoothed_first_mask_is_refused(davis):
    for index in range(3):
        grays = np.arange(192, dtype=np.uint8).reshape(12, 16)
        write_index_mask(davis / f"Annotations/480p/ant/{index:05d}.png", grays)
    with pytest.raises(InputError, match=r"ant/00000\.png: holds 191 labels"):
        open_davis(davis, sequences=["ant"])
