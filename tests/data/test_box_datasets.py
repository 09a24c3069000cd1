"""The tracking readers: each layout opens, the odd sequences of OTB are cut, and what does not fit is named."""

import numpy as np
import pytest
from PIL import Image

from vfs_jax.data.box_datasets import (
    OTB50,
    OTB_RANGES,
    open_got10k,
    open_lasot,
    open_otb,
    open_uav123,
)
from vfs_jax.errors import InputError


def _images(folder, count, pattern="{:04d}.jpg", first=1):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.new("RGB", (16, 12), (number % 256, 0, 0)).save(folder / pattern.format(number))


def _boxes(file, count, separator=","):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(separator.join(map(str, (1 + n, 2, 3, 4))) + "\n" for n in range(count)))


def test_otb(tmp_path):
    for name, separator in (("Basketball", ","), ("Crossing", "\t"), ("Deer", "  ")):
        _images(tmp_path / name / "img", 3)
        _boxes(tmp_path / name / "groundtruth_rect.txt", 3, separator)
    _images(tmp_path / "Jogging" / "img", 3)
    for target in (1, 2):
        _boxes(tmp_path / "Jogging" / f"groundtruth_rect.{target}.txt", 3)
    (tmp_path / "notes").mkdir()
    sequences = open_otb(tmp_path)
    assert [sequence.name for sequence in sequences] == ["Basketball", "Crossing", "Deer", "Jogging.1", "Jogging.2"]
    for sequence in sequences:
        np.testing.assert_array_equal(sequence.boxes, [[1, 2, 3, 4], [2, 2, 3, 4], [3, 2, 3, 4]])
        assert [path.name for path in sequence.frames] == ["0001.jpg", "0002.jpg", "0003.jpg"]
        assert sequence.frame(0).shape == (12, 16, 3)
        assert sequence.size == (12, 16)
    assert [s.name for s in open_otb(tmp_path, ["Deer", "Jogging"])] == ["Deer", "Jogging.1", "Jogging.2"]
    assert [s.name for s in open_otb(tmp_path, ["Jogging.2"])] == ["Jogging.2"]


@pytest.mark.parametrize("name", OTB_RANGES)
def test_odd_sequences_of_otb_are_cut(tmp_path, name):
    first, last = OTB_RANGES[name]
    (tmp_path / name / "img").mkdir(parents=True)
    for number in range(1, last + 6):
        (tmp_path / name / "img" / f"{number:04d}.jpg").touch()
    _boxes(tmp_path / name / "groundtruth_rect.txt", last - first + 1)
    [sequence] = open_otb(tmp_path)
    assert sequence.frames[0].name == f"{first:04d}.jpg"
    assert sequence.frames[-1].name == f"{last:04d}.jpg"
    assert len(sequence.boxes) == len(sequence)
    for path in (tmp_path / name / "img").iterdir():  # a copy that is cut already
        if not first <= int(path.stem) <= last:
            path.unlink()
    assert open_otb(tmp_path)[0].frames == sequence.frames


def _got10k(folder, count=4, rows=None):
    _images(folder, count, "{:08d}.jpg")
    _boxes(folder / "groundtruth.txt", rows or count)
    (folder / "cover.label").write_text("8\n" * (count - 1) + "0\n")
    (folder / "absence.label").write_text("0\n" * (count - 1) + "1\n")


def test_got10k(tmp_path):
    for split, rows in (("train", None), ("test", 1)):
        _got10k(tmp_path / split / "GOT-10k_2", rows=rows)
        _got10k(tmp_path / split / "GOT-10k_1", rows=rows)
        (tmp_path / split / "list.txt").write_text("GOT-10k_2\nGOT-10k_1\n")
    second, first = open_got10k(tmp_path, "train")
    assert (second.name, first.name) == ("GOT-10k_2", "GOT-10k_1")
    np.testing.assert_array_equal(first.cover, [8, 8, 8, 0])
    np.testing.assert_array_equal(first.absent, [False, False, False, True])
    assert [sequence.boxes.shape for sequence in open_got10k(tmp_path, "test")] == [(1, 4), (1, 4)]
    (tmp_path / "train" / "GOT-10k_1" / "cover.label").unlink()
    assert open_got10k(tmp_path, "train")[1].cover is None


def test_lasot(tmp_path):
    for name in ("cat-1", "cat-2", "dog-1"):
        folder = tmp_path / name.split("-")[0] / name
        _images(folder / "img", 3, "{:08d}.jpg")
        _boxes(folder / "groundtruth.txt", 3)
        (folder / "full_occlusion.txt").write_text("0,1,0")
        (folder / "out_of_view.txt").write_text("0,0,1\n")
    (tmp_path / "testing_set.txt").write_text("dog-1\ncat-2\n")
    assert [sequence.name for sequence in open_lasot(tmp_path)] == ["cat-2", "dog-1"]
    assert [sequence.name for sequence in open_lasot(tmp_path, "train")] == ["cat-1"]
    assert len(open_lasot(tmp_path, "all")) == 3
    np.testing.assert_array_equal(open_lasot(tmp_path)[0].absent, [False, True, True])


def test_an_empty_second_target_of_otb_does_not_count(tmp_path):
    _images(tmp_path / "Human4" / "img", 3)
    (tmp_path / "Human4" / "groundtruth_rect.1.txt").touch()
    _boxes(tmp_path / "Human4" / "groundtruth_rect.2.txt", 3)
    assert [sequence.name for sequence in open_otb(tmp_path)] == ["Human4"]
    assert len(set(OTB50)) == 49  # with both targets of Skating2: 50


def test_uav123(tmp_path):
    _images(tmp_path / "data_seq/UAV123/bird1", 6, "{:06d}.jpg")
    lines = [
        r"struct('name','bird1_1','path','D:\\data_seq\\UAV123\\bird1\\','startFrame',1,'endFrame',2,'ext','jpg'),...",
        r"struct('name','bird1_2','path','D:\\data_seq\\UAV123\\bird1\\','startFrame', 4,'endFrame',6,'ext','jpg'),...",
        r"struct('name','bird1','path','D:\\data_seq\\UAV123\\bird1\\','startFrame',1,'endFrame',6,'ext','jpg')};",
    ]
    (tmp_path / "configSeqs.m").write_text("\n".join(lines))
    _boxes(tmp_path / "anno/UAV123/bird1_1.txt", 2)
    _boxes(tmp_path / "anno/UAV123/bird1_2.txt", 3)
    _boxes(tmp_path / "anno/UAV20L/bird1.txt", 6)
    text = (tmp_path / "anno/UAV123/bird1_2.txt").read_text().splitlines()
    (tmp_path / "anno/UAV123/bird1_2.txt").write_text("\n".join([text[0], "NaN,NaN,NaN,NaN", text[2]]))
    first, second = open_uav123(tmp_path)
    assert [path.name for path in first.frames] == ["000001.jpg", "000002.jpg"]
    assert [path.name for path in second.frames] == ["000004.jpg", "000005.jpg", "000006.jpg"]
    np.testing.assert_array_equal(second.absent, [False, True, False])
    assert [len(sequence) for sequence in open_uav123(tmp_path, "UAV20L")] == [6]
    _boxes(tmp_path / "anno/UAV123/bird1_1.txt", 5)
    with pytest.raises(InputError, match=r"bird1_1\.txt: holds 5 rows, .*configSeqs\.m lists"):
        open_uav123(tmp_path)
    (tmp_path / "configSeqs.m").unlink()
    with pytest.raises(InputError, match=r"configSeqs\.m: no such file"):
        open_uav123(tmp_path)


def _spoil(tmp_path, what):
    """Builds good data sets, spoils one file, and returns what the error must name."""
    _images(tmp_path / "otb" / "Deer" / "img", 3)
    truth = tmp_path / "otb" / "Deer" / "groundtruth_rect.txt"
    _boxes(truth, 3)
    if what == "rows":
        _boxes(truth, 2)
        return "holds 2 rows for 3 frames"
    if what == "words":
        truth.write_text("1,2,3,4\none\n1,2,3,4\n")
        return "groundtruth_rect.txt:2: 'one' is no row of numbers"
    if what == "columns":
        truth.write_text("1,2,3,4\n1,2,3\n1,2,3,4\n")
        return "groundtruth_rect.txt:2: holds 3 numbers, 4 expected"
    if what == "no truth":
        truth.unlink()
        return "groundtruth_rect.txt: no such file"
    if what == "gap":
        (tmp_path / "otb" / "Deer" / "img" / "0002.jpg").unlink()
        return "has no frame 2 after 1"
    if what == "no image":
        for path in (tmp_path / "otb" / "Deer" / "img").iterdir():
            path.unlink()
        return "img: holds no .jpg"
    raise AssertionError(what)


@pytest.mark.parametrize("what", ["rows", "words", "columns", "no truth", "gap", "no image"])
def test_names_the_first_inconsistency(tmp_path, what):
    message = _spoil(tmp_path, what)
    with pytest.raises(InputError) as raised:
        open_otb(tmp_path / "otb")
    assert message in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_names_missing_folders_lists_and_sequences(tmp_path):
    for opens in (open_otb, open_got10k, open_lasot):
        with pytest.raises(InputError, match="nowhere: no such folder"):
            opens(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no SEQUENCE/img in it"):
        open_otb(tmp_path)
    _images(tmp_path / "Deer" / "img", 1)
    _boxes(tmp_path / "Deer" / "groundtruth_rect.txt", 1)
    with pytest.raises(InputError, match="Dear: no such sequence"):
        open_otb(tmp_path, ["Dear"])
    (tmp_path / "val").mkdir()
    with pytest.raises(InputError, match=r"list\.txt: no such file"):
        open_got10k(tmp_path)
    (tmp_path / "val" / "list.txt").write_text("GOT-10k_1\n")
    with pytest.raises(InputError, match="GOT-10k_1: no such folder, but"):
        open_got10k(tmp_path)
    _got10k(tmp_path / "val" / "GOT-10k_1")
    (tmp_path / "val" / "GOT-10k_1" / "cover.label").write_text("9\n" * 4)
    with pytest.raises(InputError, match=r"cover\.label: holds 9 to 9, 0 to 8 expected"):
        open_got10k(tmp_path)
    with pytest.raises(InputError, match=r"testing_set\.txt: no such file"):
        open_lasot(tmp_path)


def test_real_sequences(real_data):
    crossing, soccer = open_otb(real_data / "otb_like")
    assert (crossing.name, len(crossing), soccer.name, len(soccer)) == ("Crossing", 120, "Soccer", 392)
    np.testing.assert_array_equal(crossing.boxes[0], [205, 151, 17, 50])
    [train], [val] = open_got10k(real_data / "got10k_like", "train"), open_got10k(real_data / "got10k_like", "val")
    assert (len(train), len(val)) == (35, 43)
    assert set(train.cover) == {8}


def _lasot(folder, count=3):
    _images(folder / "img", count, "{:08d}.jpg")
    _boxes(folder / "groundtruth.txt", count)
    for name in ("full_occlusion.txt", "out_of_view.txt"):
        (folder / name).write_text(",".join("0" * count))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("groundtruth.txt", "1,2,3,4\n", "holds 1 rows for 3 frames"),
        ("full_occlusion.txt", "0,0", "holds 2 rows for 3 frames"),
        ("out_of_view.txt", "0,2,0", "holds 0 to 2, 0 to 1 expected"),
        ("out_of_view.txt", None, "no such file"),
        ("img/00000002.jpg", None, "has no frame 2 after 1"),
    ],
)
def test_names_the_first_inconsistency_of_lasot(tmp_path, file, content, message):
    for name in ("cat-1", "cat-2"):
        _lasot(tmp_path / "cat" / name)
    (tmp_path / "testing_set.txt").write_text("cat-1\ncat-2\n")
    assert len(open_lasot(tmp_path)) == 2
    path = tmp_path / "cat" / "cat-2" / file
    path.write_text(content) if content is not None else path.unlink()
    with pytest.raises(InputError) as raised:
        open_lasot(tmp_path)
    where = path if file.endswith(".txt") else path.parent
    assert str(raised.value).startswith(f"{where}: {message}")
