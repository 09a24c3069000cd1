"""Odd boxes: evaluation names what it cannot do without, training leaves such frames out."""

import warnings

import numpy as np
import pytest
from PIL import Image

from vfs_jax.data.box_datasets import open_got10k, open_otb, open_uav123, read_boxes
from vfs_jax.data.pairs import PairBatches, PairSettings, kept_frames
from vfs_jax.errors import InputError
from vfs_jax.evaluation.tasks.boxes import BOX_TASKS

GOOD = "30,30,40,30"
SMALL = PairSettings(exemplar_size=40, search_size=96, crop_margin=4)


@pytest.fixture
def folder(tmp_path):
    """Writes four sequences of four frames in the layouts of OTB, GOT-10k, LaSOT and UAV123, with these rows."""

    def write(*rows, absent="0000", cover="8888"):
        split, frames = tmp_path / "train", tmp_path / "data_seq/UAV123/one"
        for images, name in ((split / "one", "{:08d}"), (tmp_path / "one/img", "{:04d}"), (frames, "{:06d}")):
            images.mkdir(parents=True, exist_ok=True)
            for number in range(1, len(rows) + 1):
                Image.new("RGB", (120, 100), (50, 10 * number, 0)).save(images / f"{name.format(number)}.jpg")
        text = "".join(f"{row}\n" for row in rows)
        count = len(rows)
        for file, content in {
            "one/groundtruth_rect.txt": text,
            "one/groundtruth.txt": text,
            "one/full_occlusion.txt": ",".join(absent[:count]),
            "one/out_of_view.txt": ",".join("0" * count),
            "testing_set.txt": "one\n",
            "train/list.txt": "one\n",
            "train/one/groundtruth.txt": text,
            "train/one/absence.label": "\n".join(absent[:count]),
            "train/one/cover.label": "\n".join(cover[:count]),
            "anno/UAV123/one.txt": text,
            "configSeqs.m": f"struct('name','one','path','..\\one\\','startFrame',1,'endFrame',{count})",
        }.items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(content)
        return tmp_path

    return write


SPLITS = {"otb": "otb100", "got10k": "train", "lasot": "test", "uav123": "UAV123"}


@pytest.mark.parametrize("task", BOX_TASKS)
@pytest.mark.parametrize("first", ["30,30,0,30", "30,30,40,-1", "0,0,0,0", "nan,nan,nan,nan", "1,1,inf,5"])
def test_evaluation_names_a_first_box_that_is_empty(folder, task, first):
    root = folder(first, GOOD, GOOD, GOOD)
    with pytest.raises(
        InputError, match=r"the first frame's box, \[.*\], is empty; a tracker starts from it"
    ) as raised:
        BOX_TASKS[task]().open(str(root), split=SPLITS[task])
    assert str(raised.value).startswith(str(root))


@pytest.mark.parametrize("task", ["otb", "got10k", "lasot"])
def test_evaluation_names_a_later_box_that_is_none(folder, task):
    root = folder(GOOD, GOOD, "30,30,nan,5", GOOD)
    with pytest.raises(InputError, match=r"the box of frame 3, \[30.0, 30.0, nan, 5.0\], is none; correct it"):
        BOX_TASKS[task]().open(str(root), split=SPLITS[task])


@pytest.mark.parametrize("task", ["got10k", "lasot", "uav123"])
def test_evaluation_passes_over_a_box_of_a_frame_without_the_object(folder, task):
    root = folder(GOOD, GOOD, "nan,nan,nan,nan", GOOD, absent="0010")
    (sequence,) = BOX_TASKS[task]().open(str(root), split=SPLITS[task])
    assert sequence.absent.tolist() == [False, False, True, False]


@pytest.mark.parametrize("opens", [lambda root: open_got10k(root, "train"), open_otb, open_uav123])
@pytest.mark.parametrize(
    ("odd", "kept"),
    [
        pytest.param(("30,30,0,30", GOOD, GOOD, GOOD), [1, 2, 3], id="empty first"),
        pytest.param((GOOD, "0,0,0,0", GOOD, GOOD), [0, 2, 3], id="empty later"),
        pytest.param(("nan,nan,nan,nan", GOOD, GOOD, "1,1,nan,5"), [1, 2], id="NaN"),
        pytest.param((GOOD, "1,1,inf,0", "inf,1,40,30", GOOD), [0, 3], id="infinite"),
        pytest.param((GOOD, "30,30,-40,-30", GOOD, GOOD), [0, 2, 3], id="negative"),
    ],
)
def test_training_leaves_such_frames_out(folder, opens, odd, kept):
    (sequence,) = opens(folder(*odd))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kept_frames(sequence).tolist() == kept
    batch = PairBatches([sequence], 2, 0, 0, 0, 1, SMALL)[0]
    assert batch["id"] == ["one", "one"]
    assert batch["unreadable"] == []


@pytest.mark.parametrize(
    ("rows", "cover"),
    [
        pytest.param((GOOD,), "8", id="one frame"),
        pytest.param((GOOD, "0,0,0,0", "0,0,0,0"), "888", id="one fit frame"),
        pytest.param((GOOD, GOOD, GOOD), "000", id="never to be seen"),
        pytest.param(("nan,nan,nan,nan",) * 3, "888", id="no box at all"),
    ],
)
def test_training_takes_another_sequence_for_one_without_two_fit_frames(folder, rows, cover):
    (fit,) = open_got10k(folder(GOOD, GOOD, GOOD, GOOD), "train")
    for file in (fit.frames[0].parent).glob("*.jpg"):
        file.rename(file.with_name(f"kept{file.name}"))
    frames = tuple(file.with_name(f"kept{file.name}") for file in fit.frames)
    fit = type(fit)("fit", frames, fit.boxes)
    root = folder(*rows, cover=cover)
    for file in frames:
        file.rename(root / file.name)
    fit = type(fit)("fit", tuple(root / file.name for file in frames), fit.boxes)
    (odd,) = open_got10k(root, "train")
    assert PairBatches([odd, fit], 2, 0, 0, 0, 1, SMALL)[0]["id"] == ["fit", "fit"]
    with pytest.raises(InputError, match="no sequence has two frames that are fit to train on"):
        PairBatches([odd], 2, 0, 0, 0, 1, SMALL)[0]


@pytest.mark.parametrize("name", ["cover.label", "absence.label"])
def test_labels_that_a_data_set_may_lack(folder, name):
    root = folder(GOOD, GOOD, GOOD)
    (root / "train/one" / name).unlink()
    (sequence,) = open_got10k(root, "train")
    assert len(kept_frames(sequence)) == 3
    assert (sequence.cover if name == "cover.label" else sequence.absent) is None
    assert BOX_TASKS["got10k"]().open(str(root), split="train")
    (root / "train/one" / name).write_text("")
    with pytest.raises(InputError, match=rf"{name}: holds something else than whole numbers"):
        open_got10k(root, "train")


@pytest.mark.parametrize("separator", [",", "\t", " ", ", ", ";", ",\t"])
def test_separators(tmp_path, separator):
    (tmp_path / "a.txt").write_text(separator.join(["1", "2.5", "3", "4e1"]) + f"{separator}\n\n  \n")
    np.testing.assert_array_equal(read_boxes(tmp_path / "a.txt"), [[1, 2.5, 3, 40]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "a.txt: is empty", id="empty"),
        pytest.param("\n \n", "a.txt: is empty", id="blank"),
        pytest.param("1,2,3\n", "a.txt:1: holds 3 numbers, 4 expected", id="three numbers"),
        pytest.param("1,2,3,4\n1,2,3,4,5\n", "a.txt:2: holds 5 numbers, 4 expected", id="five numbers"),
        pytest.param("x,y,w,h\n1,2,3,4\n", "a.txt:1: 'x,y,w,h' is no row of numbers", id="a header"),
        pytest.param("1,2,3,4\n1,2,nan,4\n", "a.txt:2: '1,2,nan,4' is no box", id="NaN in results"),
    ],
)
def test_results_that_are_no_boxes(tmp_path, text, message):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(InputError) as raised:
        read_boxes(tmp_path / "a.txt")
    assert str(raised.value) == f"{tmp_path}/{message}"
