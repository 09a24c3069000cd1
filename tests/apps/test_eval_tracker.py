"""vfs-eval-tracker and vfs-score on short sequences, made here or cut from real ones, in every layout."""

import csv
import json
import shutil

import cv2
import jax
import numpy as np
import pytest

from vfs_jax.apps import eval_tracker, score
from vfs_jax.evaluation.metrics.boxes import mean_score, score_boxes

# ml_collections loads configs in a way that Python will drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """The first of the virtual devices alone: each would compile the network for itself."""
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])


def write_sequence(folder, images, *, seed, steps=5, one_based=True):
    """A textured square that moves over dark ground; returns its boxes."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(0, 90, (6, 8, 3), dtype=np.uint8), (96, 72))
    texture = cv2.resize(rng.integers(120, 255, (3, 3, 3), dtype=np.uint8), (18, 18))
    images.mkdir(parents=True)
    boxes = []
    for t in range(steps):
        frame, x, y = ground.copy(), 30 + 2 * t, 20 + t
        frame[y : y + 18, x : x + 18] = texture
        name = f"{t + 1:04d}.jpg" if one_based else f"{t + 1:08d}.jpg"
        cv2.imwrite(str(images / name), frame)
        boxes.append([x + one_based, y + one_based, 18, 18])
    file = folder / ("groundtruth_rect.txt" if one_based else "groundtruth.txt")
    file.write_text("".join(",".join(map(str, box)) + "\n" for box in boxes))
    return np.array(boxes, float)


@pytest.fixture
def otb(tmp_path):
    """Three sequences; one of two targets makes them four."""
    truth = {}
    for seed, name in enumerate(("Bolt", "Deer")):
        truth[name] = write_sequence(tmp_path / "otb" / name, tmp_path / "otb" / name / "img", seed=seed)
    folder = tmp_path / "otb" / "Jogging"
    truth["Jogging.1"] = write_sequence(folder, folder / "img", seed=3)
    truth["Jogging.2"] = truth["Jogging.1"] + (0, 5, 0, 0)
    (folder / "groundtruth_rect.txt").rename(folder / "groundtruth_rect.1.txt")
    np.savetxt(folder / "groundtruth_rect.2.txt", truth["Jogging.2"], fmt="%d", delimiter="\t")
    return tmp_path, truth


def flags(folder, config="otb", **changes):
    small = {"tracker.exemplar_size": 40, "tracker.search_size": 79}
    values = {"data": folder / config, "weights": "random:0"} | small | changes
    config_file = f"--config=configs/{config}.py"
    return [config_file, f"--workdir={folder / 'run'}", *(f"--config.{name}={value}" for name, value in values.items())]


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_otb(otb, command):
    folder, truth = otb
    (folder / "att").mkdir()
    for name, row in (("Bolt", "1,0"), ("Deer", "1,1"), ("Jogging-1", "0,0"), ("Jogging-2", "0,1")):
        (folder / "att" / f"{name}.txt").write_text(row)
    attributes = {"attributes": folder / "att", "attribute_names": "('IV', 'OCC')"}
    status, out, stderr = command(eval_tracker, *flags(folder, **attributes))
    assert status == 0, stderr
    assert "20/20" in stderr
    run = folder / "run"
    found = {name: np.loadtxt(run / "boxes" / f"{name}.txt", delimiter=",") for name in truth}
    assert all(boxes.shape == (5, 4) for boxes in found.values())
    assert (run / "boxes/Bolt.txt").read_text().splitlines()[0] == "31.000,21.000,18.000,18.000"
    assert len(np.loadtxt(run / "boxes/times/Bolt_time.txt")) == 5
    expected = {name: score_boxes(found[name], truth[name]) for name in truth}
    [overall] = read_csv(run / "global.csv")
    assert float(overall["Success"]) == mean_score(list(expected.values())).success
    assert float(overall["Precision"]) == mean_score(list(expected.values())).precision
    rows = {row["Sequence"]: float(row["Success"]) for row in read_csv(run / "per_sequence.csv")}
    assert rows == {name: each.success for name, each in expected.items()}
    by_attribute = {row["Attribute"]: row for row in read_csv(run / "per_attribute.csv")}
    assert by_attribute["IV"]["Sequences"] == "2"
    pair = mean_score([expected["Deer"], expected["Jogging.2"]])
    assert float(by_attribute["OCC"]["Success"]) == pair.success
    assert json.loads((run / "config.json").read_text())["tracker"]["search_size"] == 79
    assert "by attribute" in (run / "report.html").read_text()
    for name in ("success", "precision"):
        assert cv2.imread(str(run / f"{name}_plots.png")).std() > 10
    assert "frames/s" in out

    # What is there is kept; what is missing is made again, the same.
    deer = (run / "boxes/Deer.txt").read_bytes()
    (run / "boxes/Deer.txt").unlink()
    (run / "boxes/Bolt.txt").write_text("1,1,1,1\n" * 5)
    status, out, stderr = command(eval_tracker, *flags(folder, sequences_per_device=2))
    assert status == 0, stderr
    assert "3 of 4 sequences are finished already" in out
    assert (run / "boxes/Deer.txt").read_bytes() == deer
    assert (run / "boxes/Bolt.txt").read_text() == "1,1,1,1\n" * 5
    status, _, stderr = command(eval_tracker, *flags(folder, **{"tracker.scale_step": 1.1}))
    assert status == 1
    assert "holds a run of another configuration (tracker.scale_step: 1.0375 there, 1.1 here)" in stderr

    # The same boxes scored alone.
    options = [f"--results={run}", f"--data={folder / 'otb'}", f"--out={folder / 'scored'}"]
    status, out, stderr = command(score, "otb", *options)
    assert status == 0, stderr
    [again] = read_csv(folder / "scored/global.csv")
    expected["Bolt"] = score_boxes(np.loadtxt(run / "boxes/Bolt.txt", delimiter=","), truth["Bolt"])
    assert float(again["Success"]) == mean_score(list(expected.values())).success
    assert (folder / "scored/precision_plots.png").exists()


@pytest.mark.slow
def test_devices_share_the_sequences(otb, command, monkeypatch):
    folder, truth = otb
    used = set()
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:2])
    put = jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda tree, device: (used.add(device), put(tree, device))[1])
    assert command(eval_tracker, *flags(folder, max_frames=3))[0] == 0
    assert used == set(jax.devices()[:2])
    together = {name: (folder / "run/boxes" / f"{name}.txt").read_text() for name in truth}
    (folder / "run").rename(folder / "together")
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    assert command(eval_tracker, *flags(folder, max_frames=3))[0] == 0
    assert together == {name: (folder / "run/boxes" / f"{name}.txt").read_text() for name in truth}


@pytest.mark.slow
def test_got10k(tmp_path, command):
    split = tmp_path / "got10k" / "val"
    truth = {}
    for number in (1, 2):
        folder = split / f"GOT-10k_Val_00000{number}"
        truth[folder.name] = write_sequence(folder, folder / "frames", seed=number, one_based=False)
        for image in (folder / "frames").iterdir():
            image.rename(folder / image.name)
        (folder / "frames").rmdir()
        (folder / "cover.label").write_text("8\n8\n0\n8\n8\n")
    (split / "list.txt").write_text("\n".join(truth))
    status, _, stderr = command(eval_tracker, *flags(tmp_path, "got10k"))
    assert status == 0, stderr
    overlaps = []
    for name, boxes in truth.items():
        found = np.loadtxt(tmp_path / "run/boxes" / name / f"{name}_001.txt", delimiter=",")
        assert (tmp_path / "run/boxes" / name / f"{name}_time.txt").exists()
        for t in (1, 3, 4):  # not the first, not the covered one
            (x, y, w, h), (u, v, k, m) = found[t], boxes[t]
            across, down = min(x + w, u + k) - max(x, u), min(y + h, v + m) - max(y, v)
            shared = max(across, 0) * max(down, 0)
            overlaps.append(shared / (w * h + k * m - shared))
    [overall] = read_csv(tmp_path / "run/global.csv")
    assert float(overall["AO"]) == pytest.approx(np.mean(overlaps), abs=1e-9)
    assert float(overall["SR-0.50"]) == np.mean(np.array(overlaps) > 0.5)


def naive_success(found, truth):
    """Mean over 21 thresholds of the share of frames whose IoU is above, written out."""
    overlaps = []
    for (x, y, w, h), (u, v, k, m) in zip(found, truth, strict=True):
        shared = max(min(x + w, u + k) - max(x, u), 0) * max(min(y + h, v + m) - max(y, v), 0)
        overlaps.append(shared / (w * h + k * m - shared))
    return np.mean([np.mean(np.array(overlaps) > i / 20) for i in range(21)])


def copy_frames(source, target, first, count, name):
    """Frames of a real sequence, `first` from 0, under another layout's names, which count from 1; their boxes."""
    target.mkdir(parents=True)
    for number, file in enumerate(sorted((source / "img").iterdir())[first : first + count], 1):
        shutil.copy(file, target / name.format(number))
    text = (source / "groundtruth_rect.txt").read_text().replace("\t", ",").splitlines()
    return np.array([line.split(",") for line in text[first : first + count]], float)


@pytest.mark.slow
def test_lasot(real_data, tmp_path, command):
    truth = {}
    for name, source, first in (("person-1", "Crossing", 0), ("person-7", "Crossing", 40), ("ball-2", "Soccer", 0)):
        folder = tmp_path / "lasot" / name.split("-")[0] / name
        truth[name] = copy_frames(real_data / "otb_like" / source, folder / "img", first, 5, "{:08d}.jpg")
        np.savetxt(folder / "groundtruth.txt", truth[name], fmt="%d", delimiter=",")
        (folder / "full_occlusion.txt").write_text("0,0,1,0,0\n")
        (folder / "out_of_view.txt").write_text("0,0,0,1,0\n" if name == "ball-2" else "0,0,0,0,0\n")
    (tmp_path / "lasot/testing_set.txt").write_text("person-1\nball-2\n")
    status, _, stderr = command(eval_tracker, *flags(tmp_path, "lasot"))
    assert status == 0, stderr
    run = tmp_path / "run"
    rows = {row["Sequence"]: float(row["Success"]) for row in read_csv(run / "per_sequence.csv")}
    seen = {"person-1": [0, 1, 3, 4], "ball-2": [0, 1, 4]}  # neither covered nor out of view
    expected = {}
    for name, frames in seen.items():
        found = np.loadtxt(run / "boxes" / f"{name}.txt", delimiter=",")
        assert found.shape == (5, 4)  # the tracker follows through frames that do not count
        expected[name] = naive_success(found[frames], truth[name][frames])
    assert rows == pytest.approx(expected)  # of the testing set alone
    [overall] = read_csv(run / "global.csv")
    assert float(overall["Success"]) == pytest.approx(np.mean(list(expected.values())))
    assert 0.2 < float(overall["Success"]) <= 20 / 21
    assert (run / "report.html").exists()


@pytest.mark.slow
def test_uav123(real_data, tmp_path, command):
    """Two sequences cut from one folder of frames, a frame of one of them without a box."""
    root = tmp_path / "uav123"
    boxes = copy_frames(real_data / "otb_like/Crossing", root / "data_seq/UAV123/walk", 0, 9, "{:06d}.jpg")
    line = r"struct('name','{}','path','F:\\data_seq\\UAV123\\walk\\','startFrame',{},'endFrame',{},'ext','jpg'),..."
    parts = {"walk_1": (1, 4), "walk_2": (5, 9)}
    (root / "configSeqs.m").write_text("\n".join(line.format(name, *ends) for name, ends in parts.items()))
    (root / "anno/UAV123").mkdir(parents=True)
    for name, (first, last) in parts.items():
        lines = [",".join(f"{value:g}" for value in box) for box in boxes[first - 1 : last]]
        lines[2] = "NaN,NaN,NaN,NaN" if name == "walk_2" else lines[2]
        (root / f"anno/UAV123/{name}.txt").write_text("\n".join(lines))
    status, _, stderr = command(eval_tracker, *flags(tmp_path, "uav123"))
    assert status == 0, stderr
    assert "9/9" in stderr
    run = tmp_path / "run"
    found = {name: np.loadtxt(run / "boxes" / f"{name}.txt", delimiter=",") for name in parts}
    assert [len(each) for each in found.values()] == [4, 5]
    np.testing.assert_array_equal(found["walk_2"][0], boxes[4])
    annotated = [0, 1, 3, 4]
    expected = {
        "walk_1": naive_success(found["walk_1"], boxes[:4]),
        "walk_2": naive_success(found["walk_2"][annotated], boxes[4:][annotated]),
    }
    rows = {row["Sequence"]: float(row["Success"]) for row in read_csv(run / "per_sequence.csv")}
    assert rows == pytest.approx(expected)
    assert 0.2 < np.mean(list(rows.values())) <= 20 / 21


def test_bad_input_is_one_clear_line(otb, command):
    folder, _ = otb
    for changes, message in [
        ({"data": folder / "nowhere"}, "nowhere: no such folder"),
        ({"sequences": "Dear"}, "Dear: no such sequence"),
        ({"split": "val2"}, "--config.split=val2: OTB has otb100"),
        ({"split": "otb50"}, "lacks Basketball"),
        ({"weights": "nowhere"}, "nowhere: no such weights"),
        ({"attributes": folder}, "Bolt.txt: no such file"),
        ({"task": "davis"}, "--config.task=davis: there are otb"),
    ]:
        status, _, stderr = command(eval_tracker, *flags(folder, **changes))
        assert (status, stderr.count("\n")) == (1, 1), stderr
        assert message in stderr
    assert not (folder / "run").exists()
    (folder / "results").mkdir()
    options = [f"--results={folder / 'results'}", f"--data={folder / 'otb'}", f"--out={folder / 'scored'}"]
    status, _, stderr = command(score, "otb", *options, "--split=val2")
    assert status == 1
    assert "error: --split=val2: OTB has otb100" in stderr
    status, _, stderr = command(score, "otb", *options)
    assert status == 1
    assert "Bolt.txt: is missing" in stderr
    for name in ("Bolt", "Deer", "Jogging.1", "Jogging.2"):
        (folder / "results" / f"{name}.txt").write_text("1,1,1,1\n")
    status, _, stderr = command(score, "otb", *options)
    assert status == 1
    assert "Bolt.txt: holds 1 boxes for 5 frames" in stderr


@pytest.mark.parametrize("config", ["otb", "got10k", "lasot", "uav123"])
def test_every_tracker_setting_is_in_the_configs(config):
    import dataclasses
    import importlib

    from vfs_jax.evaluation.tracking.siamfc import TrackerSettings

    module = importlib.import_module(f"configs.{config}")
    assert TrackerSettings(**module.get_config().tracker.to_dict()) == TrackerSettings()
    assert set(module.get_config().tracker) == {field.name for field in dataclasses.fields(TrackerSettings)}
    assert module.get_config("r50,smoke").depth == 50
