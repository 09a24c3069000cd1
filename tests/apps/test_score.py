"""vfs-score, as one calls it."""

import csv
import functools
import json
import shutil

import numpy as np
import pytest
from small import write_davis

from vfs_jax.apps import score
from vfs_jax.data.images import read_index_mask, write_index_mask


@pytest.fixture
def vfs_score(command):
    return functools.partial(command, score)


@pytest.fixture
def osvos_as_truth(real_data, tmp_path):
    """OSVOS masks (several objects) as the truth of a data set, six frames a sequence; all of one size."""
    root = tmp_path / "data"
    for name in ("horsejump-high", "kite-surf"):
        (root / "Annotations/480p" / name).mkdir(parents=True)
        (root / "JPEGImages/480p" / name).mkdir(parents=True)
        for index in range(6):
            source = real_data / "davis_eval/osvos" / name / f"{index:05d}.png"
            shutil.copy(source, root / "Annotations/480p" / name)
            shutil.copy(
                real_data / "davis_like/JPEGImages/480p" / name / f"{index:05d}.jpg", root / "JPEGImages/480p" / name
            )
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("horsejump-high\nkite-surf\n")
    return root


def results_of(root, out, change=lambda mask: mask):
    for path in (root / "Annotations/480p").glob("*/*.png"):
        (out / path.parent.name).mkdir(parents=True, exist_ok=True)
        write_index_mask(out / path.parent.name / path.name, change(read_index_mask(path)))
    return out


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_truth_against_itself(osvos_as_truth, tmp_path, vfs_score):
    masks = osvos_as_truth / "Annotations/480p"
    status, out, _ = vfs_score("davis", f"--results={masks}", f"--data={osvos_as_truth}", f"--out={tmp_path / 'out'}")
    assert status == 0
    assert "kite-surf_3" in out
    (row,) = rows(tmp_path / "out/global.csv")
    assert {name: float(value) for name, value in row.items()} == {
        "J&F-Mean": 1, "J-Mean": 1, "J-Recall": 1, "J-Decay": 0, "F-Mean": 1, "F-Recall": 1, "F-Decay": 0,
    }  # fmt: skip
    names = [row["Sequence"] for row in rows(tmp_path / "out/per_object.csv")]
    assert names == ["horsejump-high_1", "horsejump-high_2", "kite-surf_1", "kite-surf_2", "kite-surf_3"]


def test_a_dropped_object(osvos_as_truth, tmp_path, vfs_score):
    """An object that the results lack scores what an empty mask scores; masks may lie under RESULTS/masks."""
    results = tmp_path / "results"
    results_of(osvos_as_truth, results / "masks", lambda mask: np.where(mask == 2, np.uint8(0), mask))
    assert vfs_score("davis", f"--results={results}", f"--data={osvos_as_truth}", f"--out={results}")[0] == 0
    scores = {row["Sequence"]: float(row["J-Mean"]) for row in rows(results / "per_object.csv")}
    truth = [read_index_mask(osvos_as_truth / f"Annotations/480p/kite-surf/{index:05d}.png") for index in range(1, 5)]
    absent = np.mean([not (mask == 2).any() for mask in truth])  # where the truth lacks it too: 1
    assert scores["kite-surf_2"] == absent
    assert scores["kite-surf_1"] == scores["horsejump-high_1"] == 1


def test_bad_results_are_one_clear_line(osvos_as_truth, tmp_path, vfs_score, real_data):
    def error(results, **changes):
        flags = {"results": results, "data": osvos_as_truth, "out": tmp_path / "none"} | changes
        status, _, stderr = vfs_score("davis", *(f"--{name}={value}" for name, value in flags.items()))
        assert status == 1
        assert not (tmp_path / "none").exists()
        return stderr.strip().splitlines()[-1]

    results = results_of(osvos_as_truth, tmp_path / "results")
    write_index_mask(results / "kite-surf/00002.png", np.ones((100, 200), np.uint8))
    assert "kite-surf/00002.png: mask and ground truth are of sizes 200x100 and 854x480" in error(results)
    (results / "kite-surf/00002.png").unlink()
    assert "kite-surf/00002.png: no such file" in error(results)
    shutil.rmtree(results / "kite-surf")
    assert "kite-surf: is missing; every sequence of the split needs results" in error(results)
    assert "nowhere: no such folder" in error(tmp_path / "nowhere")
    assert "ImageSets/2017/test.txt: no such file" in error(results, split="test")
    # RVOS proposes up to 20 objects where OSVOS has 2 or 3, in 50 frames.
    assert "kite-surf/00006.png: belongs to no frame (nor do 43 others)" in error(
        shutil.copytree(real_data / "davis_eval/rvos", tmp_path / "rvos")
    ).replace("horsejump-high", "kite-surf")
    for path in (tmp_path / "rvos").glob("*/*.png"):
        if int(path.stem) > 5:
            path.unlink()
    assert "the first frame has" in error(tmp_path / "rvos")


@pytest.fixture
def made_up(tmp_path):
    """A data set of one sequence of four frames; its objects are 3 and 7, and 7 is lost in the results from frame 2."""
    data, results = write_davis(tmp_path / "data"), tmp_path / "results"
    (data / "ImageSets/2017/val.txt").write_text("ant\n")
    truth = np.zeros((4, 64, 96), np.uint8)
    for t in range(4):
        truth[t, 10 + t : 34 + t, 20:52] = 3
        truth[t, 10 + t : 34 + t, 60:80] = 7
        write_index_mask(data / f"Annotations/480p/ant/{t:05d}.png", truth[t])
    (results / "ant").mkdir(parents=True)
    for t in range(4):
        mask = truth[t] if t < 2 else np.where(truth[t] == 7, np.uint8(0), truth[t])
        write_index_mask(results / f"ant/{t:05d}.png", mask)
    return data, results


def test_gaps_between_labels_are_no_objects(made_up, tmp_path, vfs_score):
    """Labels {3, 7}: two rows; the tool would count 1, 2, 4, 5 and 6 as objects that are always right."""
    data, results = made_up
    flags = f"--results={results}", f"--data={data}", f"--out={tmp_path / 'out'}"
    assert vfs_score("davis", *flags)[0] == 0
    found = {row["Sequence"]: float(row["J-Mean"]) for row in rows(tmp_path / "out/per_object.csv")}
    assert found == {"ant_3": 1.0, "ant_7": 0.5}  # frame 1 of 1 and 2
    assert float(rows(tmp_path / "out/global.csv")[0]["J-Mean"]) == 0.75
    write_index_mask(results / "ant/00002.png", np.full((64, 96), 5, np.uint8))
    status, _, stderr = vfs_score("davis", *flags)
    assert (status, "00002.png: holds label 5, the objects are 3, 7; write" in stderr) == (1, True)


def test_names_that_are_off_are_refused(made_up, tmp_path, vfs_score):
    data, results = made_up
    flags = f"--results={results}", f"--data={data}", f"--out={tmp_path / 'out'}"
    for path in sorted((results / "ant").iterdir(), reverse=True):
        path.rename(path.with_name(f"{int(path.stem) + 1:05d}.png"))
    status, _, stderr = vfs_score("davis", *flags)
    assert status == 1
    assert "ant: its names are 1 too high, 00001 to 00004, the frames are 00000 to 00003" in stderr
    # Without the first and the last frame, which are not read, nothing is off.
    for path in sorted((results / "ant").iterdir()):
        path.rename(path.with_name(f"{int(path.stem) - 1:05d}.png"))
    (results / "ant/00000.png").unlink()
    (results / "ant/00003.png").unlink()
    assert vfs_score("davis", *flags)[0] == 0


@pytest.mark.parametrize("chosen", ["bee", ["bee"], "", []])
def test_results_say_which_sequences_they_are_of(tmp_path, vfs_score, chosen):
    """Those of vfs-eval in a text, those of `evaluate` in a list."""
    data = write_davis(tmp_path / "data")
    results = results_of(data, tmp_path / "results")
    (results / "config.json").write_text(json.dumps({"task": "davis", "split": "val", "sequences": chosen}))
    status, _, stderr = vfs_score("davis", f"--results={results}", f"--data={data}", f"--out={tmp_path / 'out'}")
    assert status == 0, stderr
    assert [row["Sequence"] for row in rows(tmp_path / "out/per_object.csv")] == (
        ["bee_1"] if chosen else ["ant_1", "bee_1"]
    )


def test_davis_2016_reads_results_as_truth(made_up, tmp_path, vfs_score):
    """Gray 0/255 masks, an object of several labels: one object where it is not 0, in truth and in results."""
    data, results = made_up
    (data / "ImageSets/2016").mkdir()
    shutil.copy(data / "ImageSets/2017/val.txt", data / "ImageSets/2016/val.txt")
    for path in (data / "Annotations/480p/ant").iterdir():
        mask = read_index_mask(path)
        write_index_mask(results / "ant" / path.name, np.where(mask > 0, np.uint8(255), np.uint8(0)))
    flags = f"--results={results}", f"--data={data}", f"--out={tmp_path / 'out'}"
    assert vfs_score("davis", *flags, "--year=2016")[0] == 0
    assert rows(tmp_path / "out/per_object.csv")[0]["J-Mean"] == "1.0"
    status, _, stderr = vfs_score("davis", *flags)  # 2017: 255 is no object
    assert (status, "holds label 255" in stderr) == (1, True)


def test_an_extra_object_in_the_last_frame_goes_unread(osvos_as_truth, tmp_path, vfs_score):
    results = results_of(osvos_as_truth, tmp_path / "results")
    for name in ("00000.png", "00005.png"):
        write_index_mask(results / "kite-surf" / name, np.full((480, 854), 9, np.uint8))
    assert vfs_score("davis", f"--results={results}", f"--data={osvos_as_truth}", f"--out={results}")[0] == 0


def test_unknown_task(vfs_score, tmp_path):
    status, _, stderr = vfs_score("chess", f"--results={tmp_path}", f"--data={tmp_path}", f"--out={tmp_path}")
    assert status == 1
    assert "chess: give one task, davis" in stderr


def test_missing_flag(vfs_score):
    status, _, stderr = vfs_score("davis")
    assert status == 2
    assert "--results" in stderr


def test_void_is_no_object_in_results_where_it_is_none_in_the_ground_truth(made_up, tmp_path, vfs_score):
    data, results = made_up
    for path in (data / "Annotations/480p/ant").iterdir():
        mask = np.array(read_index_mask(path))
        mask[:3] = 255
        write_index_mask(path, mask)
        write_index_mask(results / "ant" / path.name, mask)
    flags = f"--results={results}", f"--data={data}", f"--out={tmp_path / 'out'}"
    assert vfs_score("davis", *flags)[0] == 0
    assert float(rows(tmp_path / "out/global.csv")[0]["J&F-Mean"]) == 1


def test_vip_refuses_names_and_classes_that_there_are_not(tmp_path, vfs_score):
    data, results = tmp_path / "data", tmp_path / "results/walk"
    results.mkdir(parents=True)
    for folder in ("Images/walk", "Annotations/Category_ids/walk", "lists"):
        (data / folder).mkdir(parents=True)
    (data / "lists/val_videos.txt").write_text("walk\n")
    for t in range(1, 4):
        write_index_mask(data / f"Images/walk/{t:03d}.png", np.zeros((8, 9), np.uint8))
        write_index_mask(data / f"Annotations/Category_ids/walk/{t:03d}.png", np.full((8, 9), 13, np.uint8))
        write_index_mask(results / f"{t:03d}.png", np.full((8, 9), 13, np.uint8))
    flags = f"--results={tmp_path / 'results'}", f"--data={data}", f"--out={tmp_path / 'out'}"
    assert vfs_score("vip", *flags)[0] == 0

    def error():
        status, _, stderr = vfs_score("vip", *flags)
        assert status == 1
        return stderr.splitlines()[-1]

    write_index_mask(results / "003.png", np.full((8, 9), 20, np.uint8))
    assert "walk/003.png: holds class 20" in error()
    write_index_mask(results / "003.png", np.full((8, 9), 13, np.uint8))
    write_index_mask(data / "Annotations/Category_ids/walk/002.png", np.full((8, 9), 77, np.uint8))
    assert "walk/002.png: its ground truth holds class 77" in error()
    for t in range(1, 4):
        (results / f"{t:03d}.png").rename(results / f"{t - 1:03d}.png")
    assert "walk: its names are 1 too low, 000 to 002, the frames are 001 to 003" in error()
