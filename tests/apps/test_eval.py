"""vfs-eval, as one calls it, on a small made-up data set."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from small import draw_variables, write_davis

from vfs_jax.apps import eval as eval_app
from vfs_jax.apps import score
from vfs_jax.data.images import read_frame, read_index_mask
from vfs_jax.models.weights import save_torch

# ml_collections loads config files through a deprecated method of importlib.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(autouse=True)
def _one_device(monkeypatch):
    """Every device compiles its own programs; one is enough here."""
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    save_torch(draw_variables(), path)
    return path


def flags(data, workdir, **changes):
    # At res2 the network ends after two blocks: what is tested here lies around it.
    values = {"data": data, "short_side": 64, "output": "res2", "radius": 4.0, "num_context": 2} | changes
    options = (f"--config.{name}={value}" for name, value in values.items())
    return ["--config=configs/davis.py", f"--workdir={workdir}", *options]


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_masks_tables_config_and_report(data, weights, tmp_path, command):
    status, out, stderr = command(eval_app, *flags(data, tmp_path, weights=weights))
    assert status == 0
    assert "davis: propagating labels through 2 sequences (8 frames, 1 size(s) of network input)" in out
    assert "bee_1" in out
    assert "8/8" in stderr  # progress
    for name in ("ant", "bee"):
        assert sorted(file.name for file in (tmp_path / "masks" / name).iterdir()) == [f"0000{t}.png" for t in range(4)]
        first = read_index_mask(tmp_path / "masks" / name / "00000.png")
        np.testing.assert_array_equal(first, read_index_mask(data / "Annotations/480p" / name / "00000.png"))
        with Image.open(tmp_path / "masks" / name / "00003.png") as image:
            assert image.mode == "P"
    (score_row,) = rows(tmp_path / "global.csv")
    assert 0.5 < float(score_row["J&F-Mean"]) <= 1
    assert [row["Sequence"] for row in rows(tmp_path / "per_object.csv")] == ["ant_1", "bee_1"]
    assert [(row["Sequence"], row["Frames"]) for row in rows(tmp_path / "timings.csv")] == [("ant", "4"), ("bee", "4")]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["radius"] == 4.0
    assert config["weights_found"]["kind"] == "torch"
    assert len(config["weights_found"]["sha256"]) == 64
    assert config["versions"]["jax"]
    page = (tmp_path / "report.html").read_text()
    assert "bee" in page
    assert f"jax {jax.__version__}" in page
    assert not re.search(r"(src|href)=.?(http|//)", page)

    # The command that scores folders finds the same numbers.
    assert command(score, "davis", f"--results={tmp_path}", f"--data={data}", f"--out={tmp_path / 'again'}")[0] == 0
    for table in ("global.csv", "per_object.csv"):
        assert (tmp_path / table).read_text() == (tmp_path / "again" / table).read_text()

    # Another configuration does not mix with these results.
    status, _, stderr = command(eval_app, *flags(data, tmp_path, weights=weights, topk=3))
    assert status == 1
    assert "topk: 10 there, 3 here" in stderr


@pytest.mark.slow
def test_several_runs_share_a_report(data, weights, tmp_path, command):
    """Two weights under two settings: a folder each, one table, one report with a chart, and the differences."""
    shutil.copy(weights, tmp_path / "other.pth")
    several = {"weights": f"{weights},{tmp_path / 'other.pth'}", "sweep": "topk=1,10", "inspect": 0}
    status, out, stderr = command(eval_app, *flags(data, tmp_path / "out", **several))
    assert status == 0, stderr
    assert "under 2 settings" in out
    names = ["mine-topk1", "mine-topk10", "other-topk1", "other-topk10"]
    assert [row["Run"] for row in rows(tmp_path / "out/table.csv")] == names
    assert [row["Run"] for row in rows(tmp_path / "out/differences.csv")] == names[1:]
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("other") > 2
    assert "J&amp;F-Mean by topk" in page
    with Image.open(tmp_path / "out/figures/chart.png") as image:
        assert image.info["dpi"][0] == pytest.approx(300, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "nowhere.pth"}, "nowhere.pth: no such weights"),
        ({"weights": "random:x"}, "'x' is no seed"),
        ({"weights": ","}, "--config.weights=,: is empty"),
        ({"sequences": "ant,cat"}, "has no sequence cat"),
        ({"depth": 19}, "--config.depth=19: there is no such ResNet"),
        (
            {"sweep": "short_side=3"},
            "--config.sweep=short_side=3: 'short_side' cannot be swept; there are output",
        ),
        ({"task": "chess"}, "--config.task=chess: there are davis"),
    ],
)
def test_bad_input_is_one_clear_line(data, tmp_path, command, changes, message):
    status, _, stderr = command(eval_app, *flags(data, tmp_path / "out", **changes))
    assert status == 1
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_data_folder(tmp_path, command):
    status, _, stderr = command(eval_app, *flags(tmp_path / "nowhere", tmp_path / "out"))
    assert status == 1
    assert "nowhere: no such folder; give the folder that holds JPEGImages and Annotations" in stderr


def test_first_labels_alone_give_masks_and_no_score(data, weights, tmp_path, command):
    first_only = tmp_path / "first_only"
    for part in ("JPEGImages/480p/ant", "ImageSets/2017"):
        shutil.copytree(data / part, first_only / part)
    (first_only / "Annotations/480p/ant").mkdir(parents=True)
    shutil.copy(data / "Annotations/480p/ant/00000.png", first_only / "Annotations/480p/ant")
    options = flags(first_only, tmp_path / "test", weights=weights, sequences="ant")
    status, out, stderr = command(eval_app, *options)
    assert status == 0, stderr
    assert "there is no score" in out
    assert len(list((tmp_path / "test/masks/ant").iterdir())) == 4
    assert not (tmp_path / "test/global.csv").exists()


@pytest.mark.slow
def test_a_function_and_its_features_on_disk_beside_weights(data, weights, tmp_path, command, monkeypatch):
    """Features that a function gives, and the same on disk, give the same masks, in one table with a network."""
    monkeypatch.chdir(tmp_path)
    Path("my_patches.py").write_text(
        "def patches(frames):\n"
        "    b, h, w, _ = frames.shape\n"
        "    cells = frames.reshape(b, h // 8, 8, w // 8, 8, 3).swapaxes(2, 3)\n"
        "    return cells.reshape(b, h // 8, w // 8, -1).astype('float32')\n"
        "patches.multiple = 8\n"
    )
    sys.path.insert(0, "")
    from my_patches import patches

    for name in ("ant", "bee"):
        paths = sorted((data / "JPEGImages/480p" / name).iterdir())
        Path("stored").mkdir(exist_ok=True)
        np.save(f"stored/{name}.npy", patches(np.stack([read_frame(path) for path in paths])))
    options = {"weights": weights, "encoder": "my_patches:patches", "features": "stored"}
    given = [flag for flag in flags(data, tmp_path / "out", **options) if "output" not in flag]
    status, out, _ = command(eval_app, *given)
    assert status == 0, out
    assert [row["Run"] for row in rows(tmp_path / "out/table.csv")] == ["mine", "patches", "stored"]
    for name in ("ant", "bee"):
        for number in range(4):
            first, second = (tmp_path / f"out/{run}/masks/{name}/{number:05d}.png" for run in ("patches", "stored"))
            assert first.read_bytes() == second.read_bytes()
    scores = {row["Run"]: float(row["J&F-Mean"]) for row in rows(tmp_path / "out/table.csv")}
    assert scores["patches"] == scores["stored"] != scores["mine"]

    Path("stored/bee.npy").unlink()
    status, _, stderr = command(eval_app, *flags(data, tmp_path / "lost", features="stored", output="features"))
    assert (status, "error: stored/bee/00000.npy: no such features" in stderr) == (1, True), stderr
    status, _, stderr = command(eval_app, *flags(data, tmp_path / "lost", encoder="my_patches:patches"))
    assert (status, "--config.output=res2: patches has no such output" in stderr) == (1, True), stderr
    assert not (tmp_path / "lost").exists()
