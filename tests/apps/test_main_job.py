"""The main job by its commands on real footage: prepare, train, evaluate, score, and the same once more."""

import csv
import json
import shutil
import subprocess
import sys

import pytest

import vfs_jax.apps.eval
import vfs_jax.apps.prepare
import vfs_jax.apps.score
import vfs_jax.apps.train

pytestmark = [
    pytest.mark.slow,
    # ml_collections loads config files through a deprecated method of importlib.
    pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning"),
]


def read_rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.long
def test_main_job(real_data, tmp_path, command):
    videos, records, workdir = tmp_path / "videos", tmp_path / "records", tmp_path / "train"
    videos.mkdir()
    for name in ("carphone_pristine.mp4", "apply_eye_makeup.avi", "flipping_a_pancake.mkv"):
        shutil.copy(real_data / "kinetics_like" / name, videos)
    (videos / "notes.mp4").write_text("not a video")

    status, out, _ = command(vfs_jax.apps.prepare, "all", f"--videos={videos}", f"--out={records}", "--short_side=64")
    assert status == 0, out
    manifest = json.loads((records / "manifest.json").read_text())
    assert (manifest["records"], manifest["rejects"]) == (3, 1)
    assert manifest["frames"] == 120 + 164 + 310  # the .mkv's header says 311
    assert "notes.mp4" in (records / "rejects.jsonl").read_text()

    train = ["--config=configs/quickstart.py:smoke", f"--workdir={workdir}", f"--config.data={records}"]
    train.append("--config.batch_size=8")  # a multiple of the test's eight devices
    status, out, err = command(vfs_jax.apps.train, *train)
    assert status == 0, err
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(0 < line["loss"] < 4 for line in lines)
    assert any(workdir.rglob("events.out.tfevents.*"))

    results, tables = tmp_path / "results", tmp_path / "tables"
    davis = real_data / "davis_like"
    options = {"data": davis, "weights": workdir, "sequences": "dog,horsejump-high", "short_side": 96, "max_frames": 4}
    evaluate = ["--config=configs/davis.py", f"--workdir={results}", *(f"--config.{k}={v}" for k, v in options.items())]
    status, out, err = command(vfs_jax.apps.eval, *evaluate)
    assert status == 0, err
    assert [row["Sequence"] for row in read_rows(results / "per_object.csv")] == ["dog_1", "horsejump-high_1"]
    assert json.loads((results / "config.json").read_text())["weights_found"]["kind"] == "checkpoint"
    assert "<html" in (results / "report.html").read_text()

    # The measures alone, on the masks that were written: the same numbers.
    cut = tmp_path / "cut"
    (cut / "ImageSets/2017").mkdir(parents=True)
    (cut / "ImageSets/2017/val.txt").write_text("dog\nhorsejump-high\n")
    for name in ("dog", "horsejump-high"):
        for part, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
            (cut / part / "480p" / name).mkdir(parents=True)
            for t in range(4):
                shutil.copy(davis / part / "480p" / name / f"{t:05d}.{suffix}", cut / part / "480p" / name)
    status, _, err = command(vfs_jax.apps.score, "davis", f"--results={results}", f"--data={cut}", f"--out={tables}")
    assert status == 0, err
    for name in ("global.csv", "per_object.csv"):
        assert read_rows(tables / name) == read_rows(results / name)

    # Started again, everything is there already; another configuration in the same folder is refused by its keys.
    status, out, err = command(vfs_jax.apps.train, *train)
    assert status == 0, err
    assert len((workdir / "metrics.jsonl").read_text().splitlines()) == 3
    status, _, err = command(vfs_jax.apps.train, *train, "--config.learning_rate=0.1")
    assert status == 1
    assert str(workdir) in err
    assert "learning_rate: 0.05 there, 0.1 here" in err
    assert len(err.strip().splitlines()) == 1


def test_commands_are_installed_and_tell_their_flags():
    """Each command as a process of its own, from another folder, finding its config among the installed ones."""
    for name in ("prepare", "train", "eval", "score", "convert"):
        told = subprocess.run(
            [sys.executable, "-m", f"vfs_jax.apps.{name}", "--help"], cwd="/", capture_output=True, text=True
        )
        assert told.returncode == 0, told.stderr
        assert f"vfs-{name}" in told.stdout
