"""vfs-score otb and got10k on files that anyone made: units, extra rows, and what belongs to no sequence."""

import functools

import numpy as np
import pytest
from PIL import Image

from vfs_jax.apps import score

BOXES = np.array([[60.0, 40, 30, 20]]) + np.arange(4)[:, None] * (2, 1, 0, 0)


def write_rows(file, boxes):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(",".join(map(str, box)) + "\n" for box in boxes))


def corners(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def write_otb(root, truth=BOXES, results=BOXES):
    (root / "data/Deer/img").mkdir(parents=True)
    for t in range(len(BOXES)):
        Image.new("RGB", (120, 80)).save(root / f"data/Deer/img/{t + 1:04d}.jpg")
    write_rows(root / "data/Deer/groundtruth_rect.txt", truth)
    write_rows(root / "results/Deer.txt", results)
    return [f"--data={root / 'data'}", f"--results={root / 'results'}", f"--out={root / 'out'}"]


def write_got10k(root, truth=BOXES, results=BOXES):
    folder = root / "data/val/one"
    folder.mkdir(parents=True)
    for t in range(len(BOXES)):
        Image.new("RGB", (120, 80)).save(folder / f"{t + 1:08d}.jpg")
    (root / "data/val/list.txt").write_text("one\n")
    write_rows(folder / "groundtruth.txt", truth)
    write_rows(root / "results/one/one_001.txt", results)
    (root / "results/one/one_time.txt").write_text("0.1\n" * len(BOXES))
    return [f"--data={root / 'data'}", f"--results={root / 'results'}", f"--out={root / 'out'}"]


WRITE = {"otb": write_otb, "got10k": write_got10k}


@pytest.fixture
def vfs_score(command):
    return functools.partial(command, score)


@pytest.mark.parametrize("task", WRITE)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"results": corners(BOXES)}, "by its corners: these are right and bottom instead of width and height"),
        ({"results": BOXES / 120}, "the boxes lie between 0.166667 and 0.55, as shares do; write pixels"),
        ({"results": np.concatenate([BOXES, BOXES[-1:]])}, "holds 5 boxes for 4 frames"),
        ({"results": np.where(BOXES == 64, np.nan, BOXES)}, "is no box"),
        ({"truth": corners(BOXES)}, "end outside of most frames: these are right and bottom"),
        ({"truth": BOXES / 120}, "lie between 0.166667 and 0.55, as shares do; write pixels"),
    ],
)
def test_boxes_of_other_units(tmp_path, vfs_score, task, changes, message):
    status, _, stderr = vfs_score(task, *WRITE[task](tmp_path, **changes))
    assert status == 1
    assert message in stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("task", WRITE)
def test_results_of_no_sequence_are_named(tmp_path, vfs_score, task):
    flags = WRITE[task](tmp_path)
    status, printed, _ = vfs_score(task, *flags)
    assert (status, "WARNING" in printed) == (0, False)
    extra = tmp_path / "results" / ("Dear.txt" if task == "otb" else "two")
    write_rows(extra if task == "otb" else extra / "two_001.txt", BOXES)
    status, printed, _ = vfs_score(task, *flags)
    assert status == 0
    assert f"WARNING: {extra}: belongs to no sequence and is not scored" in printed


def test_times_that_are_none(tmp_path, vfs_score):
    flags = write_otb(tmp_path)
    (tmp_path / "results/times").mkdir()
    (tmp_path / "results/times/Deer_time.txt").write_text("fast\n")
    status, _, stderr = vfs_score("otb", *flags)
    assert (status, "Deer_time.txt: holds something else than seconds" in stderr) == (1, True)
