"""vfs-eval, as one calls it, on a small made-up data set and on real video."""

import csv
import itertools
import json
import re
import shutil

import jax
import numpy as np
import pytest
from full_masks import assert_same_but_for_outlines
from PIL import Image

from vfs_jax.apps import eval as eval_app
from vfs_jax.apps import score
from vfs_jax.data.images import read_index_mask, write_index_mask
from vfs_jax.errors import InputError
from vfs_jax.evaluation.propagation import features
from vfs_jax.evaluation.tasks import masks as mask_tasks
from vfs_jax.models import backbone_of, init_variables
from vfs_jax.models.weights import resolve as weights_module
from vfs_jax.models.weights import save_torch

# ml_collections loads config files through a deprecated method of importlib.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(autouse=True)
def _one_device(request, monkeypatch):
    """Every device compiles its own programs; one is enough except where devices are what is tested."""
    if "devices" not in request.fixturenames:
        monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])


@pytest.fixture
def devices():
    """Asks for all of them."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two sequences of four frames of 64x96, a textured square that moves, in the layout of DAVIS 2017."""
    root = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        frames, masks = (root / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
        frames.mkdir(parents=True)
        masks.mkdir(parents=True)
        ground = rng.integers(0, 120, (64, 96, 3), dtype=np.uint8)
        square = rng.integers(130, 255, (24, 32, 3), dtype=np.uint8)
        for t in range(4):
            image, mask = ground.copy(), np.zeros((64, 96), np.uint8)
            image[10 + t : 34 + t, 20 + 2 * t : 52 + 2 * t] = square
            mask[10 + t : 34 + t, 20 + 2 * t : 52 + 2 * t] = 1
            Image.fromarray(image).save(frames / f"{t:05d}.jpg", quality=95)
            write_index_mask(masks / f"{t:05d}.png", mask)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("ant\nbee\n")
    return root


def flags(data, workdir, **changes):
    values = {"data": data, "weights": "random:0", "short_side": 64, "radius": 4.0, "num_context": 2} | changes
    options = (f"--config.{name}={value}" for name, value in values.items())
    return ["--config=configs/davis.py", f"--workdir={workdir}", *options]


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_masks_tables_config_and_report(data, tmp_path, command):
    status, out, stderr = command(eval_app, *flags(data, tmp_path))
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
    assert config["weights_found"]["kind"] == "random"
    assert len(config["weights_found"]["sha256"]) == 64
    assert config["versions"]["jax"]
    page = (tmp_path / "report.html").read_text()
    assert "bee" in page
    assert not re.search(r"(src|href)=.?(http|//)", page)

    # The command that scores folders finds the same numbers.
    assert command(score, "davis", f"--results={tmp_path}", f"--data={data}", f"--out={tmp_path / 'again'}")[0] == 0
    for table in ("global.csv", "per_object.csv"):
        assert (tmp_path / table).read_text() == (tmp_path / "again" / table).read_text()


def test_goes_on_where_it_stopped(data, tmp_path, command, monkeypatch):
    write = mask_tasks.write_index_mask

    def stop_in_bee(path, mask):
        if path.match("bee/00002.png"):
            raise KeyboardInterrupt
        write(path, mask)

    monkeypatch.setattr(mask_tasks, "write_index_mask", stop_in_bee)
    assert command(eval_app, *flags(data, tmp_path))[0] == 130
    assert [folder.name for folder in (tmp_path / "masks").iterdir()] == ["ant"]
    assert list(tmp_path.glob(".*"))  # what there is of bee
    assert not (tmp_path / "global.csv").exists()
    made = (tmp_path / "masks/ant/00001.png").stat().st_mtime_ns

    monkeypatch.setattr(mask_tasks, "write_index_mask", write)
    status, out, _ = command(eval_app, *flags(data, tmp_path))
    assert status == 0
    assert "1 of 2 sequences are finished already" in out
    assert (tmp_path / "masks/ant/00001.png").stat().st_mtime_ns == made
    assert not list(tmp_path.glob(".*"))
    assert len(rows(tmp_path / "per_object.csv")) == 2

    # Another configuration does not mix with these results.
    status, _, stderr = command(eval_app, *flags(data, tmp_path, topk=3))
    assert status == 1
    assert "topk: 10 there, 3 here" in stderr
    status, _, stderr = command(eval_app, *flags(data, tmp_path, weights="random:1"))
    assert status == 1
    assert "sha256" in stderr


def test_several_weights_side_by_side(data, tmp_path, command):
    save_torch(init_variables(3, 18), tmp_path / "mine.pth")
    assert command(eval_app, *flags(data, tmp_path / "out", weights=f"{tmp_path / 'mine.pth'},random:0"))[0] == 0
    table = rows(tmp_path / "out/table.csv")
    assert [row["Weights"] for row in table] == ["mine", "random-0"]
    for row in table:
        assert row.pop("Weights") == row["Run"]
        (alone,) = rows(tmp_path / "out" / row.pop("Run") / "global.csv")
        assert row == alone
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("mine") > 2
    (difference,) = rows(tmp_path / "out/differences.csv")
    assert (difference["Run"], difference["Baseline"]) == ("random-0", "mine")
    assert float(difference["Low"]) <= float(difference["Difference"]) <= float(difference["High"])
    expected = float(table[1]["J&F-Mean"]) - float(table[0]["J&F-Mean"])
    assert float(difference["Difference"]) == pytest.approx(expected)
    # A third one later: the first two are not computed again.
    status, out, _ = command(
        eval_app, *flags(data, tmp_path / "out", weights=f"{tmp_path / 'mine.pth'},random:0,random:1")
    )
    assert status == 0
    assert out.count("2 of 2 sequences are finished already") == 2


def test_several_devices(data, tmp_path, command, devices):
    """Every device has a sequence of its own, and the masks are those of one device."""
    used = set()
    write = mask_tasks.masks_along

    def note(features, *arguments, **options):
        first, features = itertools.tee(features)
        used.add(next(first).device)
        return write(features, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask_tasks, "masks_along", note)
        status, out, _ = command(eval_app, *flags(data, tmp_path / "eight"))
        assert status == 0, out
        assert "on 8 cpu device(s)" in out
        assert re.search(r"compiled \d+ programs", out)
        assert len(used) == 2
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        assert command(eval_app, *flags(data, tmp_path / "one"))[0] == 0
    for name in ("ant", "bee"):
        for t in range(4):
            found = [read_index_mask(tmp_path / run / "masks" / name / f"0000{t}.png") for run in ("eight", "one")]
            np.testing.assert_array_equal(*found)
    timed = rows(tmp_path / "eight/timings.csv")
    assert sorted(row["Sequence"] for row in timed) == ["ant", "bee"]


def test_settings_swept_in_one_pass(data, tmp_path, command, monkeypatch):
    """Each combination gives what it gives alone, from features that are computed once; a chart is drawn."""
    batches = []
    compute = features.batch_features
    monkeypatch.setattr(features, "batch_features", lambda *a, **o: batches.append(1) or compute(*a, **o))
    sweep = flags(data, tmp_path / "sweep", sweep="topk=1,10;num_context=2,0", inspect=0)
    status, out, _ = command(eval_app, *sweep)
    assert status == 0
    assert "under 4 settings" in out
    assert len(batches) == 2  # one a sequence of four frames
    table = rows(tmp_path / "sweep/table.csv")
    assert [(row["topk"], row["num_context"]) for row in table] == [("1", "2"), ("1", "0"), ("10", "2"), ("10", "0")]
    assert len({row["J&F-Mean"] for row in table}) > 1
    assert command(eval_app, *flags(data, tmp_path / "alone", topk=1, num_context=0, inspect=0))[0] == 0
    (alone,) = rows(tmp_path / "alone/global.csv")
    for column, value in alone.items():
        assert table[1][column] == value
    config = json.loads((tmp_path / "sweep/topk1-num_context0/config.json").read_text())
    assert (config["topk"], config["num_context"], config["sweep"]) == (1, 0, "")
    assert "J&amp;F-Mean by topk" in (tmp_path / "sweep/report.html").read_text()
    with Image.open(tmp_path / "sweep/figures/chart.png") as image:
        assert image.info["dpi"][0] == pytest.approx(300, abs=1)

    # Another value later: what is there already is kept.
    batches.clear()
    wider = flags(data, tmp_path / "sweep", sweep="topk=1,10;num_context=2,0,1", inspect=0)
    assert command(eval_app, *wider)[0] == 0
    assert len(rows(tmp_path / "sweep/table.csv")) == 6
    status, _, stderr = command(eval_app, *flags(data, tmp_path / "bad", sweep="short_side=3"))
    assert status == 1
    assert "'short_side' cannot be swept; there are output, radius" in stderr


def test_every_block_in_one_pass(data, tmp_path, command):
    """Eight blocks of ResNet-18, the last of a stage as good as the stage itself, and a chart."""
    status, _, _ = command(eval_app, *flags(data, tmp_path / "all", all_blocks=True, inspect=0))
    assert status == 0
    table = rows(tmp_path / "all/table.csv")
    assert [row["output"] for row in table] == [f"res{stage}.{block}" for stage in (2, 3, 4, 5) for block in (0, 1)]
    assert command(eval_app, *flags(data, tmp_path / "res4", output="res4", inspect=0))[0] == 0
    for name in ("ant", "bee"):
        files = [f"masks/{name}/0000{t}.png" for t in range(4)]
        found, expected = (
            [read_index_mask(run / file) for file in files] for run in (tmp_path / "all/res4.1", tmp_path / "res4")
        )
        assert_same_but_for_outlines(found, expected)
    page = (tmp_path / "all/report.html").read_text()
    assert "J&amp;F-Mean by output" in page
    assert (tmp_path / "all/figures/chart.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "nowhere.pth"}, "nowhere.pth: no such weights"),
        ({"weights": "random:x"}, "'x' is no seed"),
        ({"weights": ""}, "--config.weights=: is empty"),
        ({"sequences": "ant,cat"}, "has no sequence cat"),
        ({"depth": 19}, "--config.depth=19: there is no such ResNet"),
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


def test_weights_of_every_kind_are_the_same_numbers(tmp_path):
    variables = init_variables(5, 18)
    save_torch(variables, tmp_path / "whole.pth", layout="vfs")
    save_torch(variables, tmp_path / "plain.pth", layout="torchvision")
    expected = weights_module.checksum(backbone_of(variables))
    for name, kind in (("random:5", "random"), (tmp_path / "whole.pth", "torch"), (tmp_path / "plain.pth", "torch")):
        _, about = weights_module.resolve(str(name), 18)
        assert about == {"weights": str(name), "kind": kind, "step": None, "sha256": expected}
    with pytest.raises(InputError, match=r"^depth=50: .*plain\.pth holds a ResNet-18; set 18"):
        weights_module.resolve(str(tmp_path / "plain.pth"), 50)
    (tmp_path / "torn.pth").write_bytes((tmp_path / "plain.pth").read_bytes()[:1000])
    with pytest.raises(InputError, match=r"torn\.pth"):
        weights_module.resolve(str(tmp_path / "torn.pth"), 18)


@pytest.mark.slow
def test_real_video(real_data, tmp_path, command):
    """Two real sequences, a few frames, and what a sequence without later truth gives."""
    davis = real_data / "davis_like"
    options = flags(davis, tmp_path / "out", sequences="dog,horsejump-high", short_side=120, radius=8.0, max_frames=4)
    status, out, _ = command(eval_app, *options)
    assert status == 0
    scores = {row["Sequence"]: float(row["J-Mean"]) for row in rows(tmp_path / "out/per_object.csv")}
    assert set(scores) == {"dog_1", "horsejump-high_1"}
    assert all(0.1 < value < 1 for value in scores.values()), scores  # random features, a quarter of the size

    first_only = tmp_path / "first_only"
    for part in ("JPEGImages/480p/dog", "ImageSets/2017"):
        shutil.copytree(davis / part, first_only / part)
    (first_only / "Annotations/480p/dog").mkdir(parents=True)
    shutil.copy(davis / "Annotations/480p/dog/00000.png", first_only / "Annotations/480p/dog")
    options = flags(first_only, tmp_path / "test", sequences="dog", short_side=120, radius=8.0, max_frames=4)
    status, out, _ = command(eval_app, *options)
    assert status == 0
    assert "there is no score" in out
    assert len(list((tmp_path / "test/masks/dog").iterdir())) == 4
