"""Evaluations of propagation: resumed, on all devices, of several networks and settings in one pass."""

import csv
import dataclasses
import functools
import itertools
import json
import re

import jax
import numpy as np
import pytest
from full_masks import assert_same_but_for_outlines
from PIL import Image
from small import draw_variables, write_davis

from vfs_jax.data.images import read_index_mask
from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import NamedEncoder, as_encoder
from vfs_jax.evaluation.encoders import network as networks
from vfs_jax.evaluation.propagation import labels
from vfs_jax.evaluation.propagation.settings import Settings, variants
from vfs_jax.evaluation.runs.evaluation import evaluate_propagation
from vfs_jax.evaluation.runs.propagation import layouts_of, propagate_all
from vfs_jax.evaluation.tasks import masks as mask_tasks
from vfs_jax.evaluation.tasks.masks import Davis
from vfs_jax.models.weights.resolve import checksum

# At res2 the network ends after two blocks: what is tested here lies around it.
SETTINGS = Settings(short_side=64, output="res2", radius=4.0, num_context=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("small"))


@pytest.fixture(autouse=True)
def _one_device(request, monkeypatch):
    """Every device compiles its own programs; one is enough except where devices are what is tested."""
    if "devices" not in request.fixturenames:
        monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])


@pytest.fixture
def devices():
    """Asks for all of them."""


@pytest.fixture
def evaluate(data, variables):
    """Evaluates under a sweep; returns the runs and what was logged."""

    def call(workdir, settings=SETTINGS, *, sweep="", outputs=(), networks=None, **options):
        networks = networks or {"net": variables}
        named = [
            NamedEncoder(name, f"{name}.pth", as_encoder(each), {"sha256": checksum(each)})
            for name, each in networks.items()
        ]
        swept = variants(settings, sweep, outputs=outputs)
        task, lines = Davis(), []
        runs = evaluate_propagation(
            task,
            task.open(str(data), split="val"),
            [(each, swept) for each in named],
            workdir,
            data="the small set",
            config={"task": "davis", "sweep": sweep, **dataclasses.asdict(settings)},
            log=lines.append,
            **options,
        )
        return runs, "\n".join(lines)

    return call


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_goes_on_where_it_stopped(evaluate, variables, tmp_path, monkeypatch):
    write = mask_tasks.write_index_mask

    def stop_in_bee(path, mask):
        if path.match("bee/00002.png"):
            raise KeyboardInterrupt
        write(path, mask)

    monkeypatch.setattr(mask_tasks, "write_index_mask", stop_in_bee)
    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path)
    assert [folder.name for folder in (tmp_path / "masks").iterdir()] == ["ant"]
    assert list(tmp_path.glob(".*"))  # what there is of bee
    assert not (tmp_path / "global.csv").exists()
    made = (tmp_path / "masks/ant/00001.png").stat().st_mtime_ns

    monkeypatch.setattr(mask_tasks, "write_index_mask", write)
    _, lines = evaluate(tmp_path)
    assert "1 of 2 sequences are finished already" in lines
    assert (tmp_path / "masks/ant/00001.png").stat().st_mtime_ns == made
    assert not list(tmp_path.glob(".*"))
    assert len(rows(tmp_path / "per_object.csv")) == 2

    # The same weights from another file are the same run.
    _, lines = evaluate(tmp_path, networks={"moved": variables})
    assert "2 of 2 sequences are finished already" in lines

    # Another configuration does not mix with these results, nor do other weights of the same name.
    with pytest.raises(InputError, match="topk: 10 there, 3 here"):
        evaluate(tmp_path, dataclasses.replace(SETTINGS, topk=3))
    with pytest.raises(InputError, match="sha256"):
        evaluate(tmp_path, networks={"net": draw_variables(1)})


@pytest.mark.slow
def test_several_devices(evaluate, tmp_path, devices, monkeypatch):
    """Every device has a sequence of its own, and the masks are those of one device."""
    used = set()
    write = labels.masks_along

    def note(features, *arguments, **options):
        first, features = itertools.tee(features)
        used.add(next(first).device)
        return write(features, *arguments, **options)

    monkeypatch.setattr(labels, "masks_along", note)
    _, lines = evaluate(tmp_path / "eight")
    assert "on 8 cpu device(s)" in lines
    assert re.search(r"compiled \d+ programs", lines)
    assert len(used) == 2
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    evaluate(tmp_path / "one")
    for name in ("ant", "bee"):
        for t in range(4):
            masks = [read_index_mask(tmp_path / run / "masks" / name / f"0000{t}.png") for run in ("eight", "one")]
            np.testing.assert_array_equal(*masks)
    timed = rows(tmp_path / "eight/timings.csv")
    assert sorted(row["Sequence"] for row in timed) == ["ant", "bee"]


@pytest.mark.slow
def test_settings_swept_in_one_pass(evaluate, tmp_path, monkeypatch):
    """Each combination gives what it gives alone, from features that are computed once; reports get their runs."""
    batches, reports = [], []
    compute = networks._encode
    monkeypatch.setattr(networks, "_encode", lambda *a, **o: batches.append(1) or compute(*a, **o))
    runs, lines = evaluate(
        tmp_path / "sweep",
        sweep="topk=1,10;num_context=2,0",
        report=lambda folder, runs, notes: reports.append((folder.name, len(runs), len(notes))),
    )
    assert "under 4 settings" in lines
    assert len(batches) == 2  # one a sequence of four frames
    assert reports == [*((run.name, 1, 0) for run in runs), ("sweep", 4, 3)]
    table = rows(tmp_path / "sweep/table.csv")
    assert [(row["topk"], row["num_context"]) for row in table] == [("1", "2"), ("1", "0"), ("10", "2"), ("10", "0")]
    assert len({row["J&F-Mean"] for row in table}) > 1
    ((alone,), _) = evaluate(tmp_path / "alone", dataclasses.replace(SETTINGS, topk=1, num_context=0))
    assert alone.summary == runs[1].summary
    config = json.loads((tmp_path / "sweep/topk1-num_context0/config.json").read_text())
    assert (config["topk"], config["num_context"], config["sweep"]) == (1, 0, "")

    # Another value later: what is there already is kept.
    batches.clear()
    _, lines = evaluate(tmp_path / "sweep", sweep="topk=1,10,5;num_context=2,0")
    assert len(batches) == 2  # for what is new alone
    assert "compiled 2 programs" in lines  # a step for each of the two new settings
    assert len(rows(tmp_path / "sweep/table.csv")) == 6


def test_frames_are_padded_where_all_settings_of_a_sweep_allow_it(tmp_path, variables, monkeypatch):
    data, planned = write_davis(tmp_path / "data"), []
    for path in sorted(data.glob("*/480p/bee/*")):
        with Image.open(path) as image:
            image.crop((0, 0, 80, 64)).save(path)

    def note(task, encoder, sequences, folders, layouts, **_):
        planned.append([layout.padded for layout in layouts.values()])
        raise KeyboardInterrupt

    monkeypatch.setattr("vfs_jax.evaluation.runs.evaluation.propagate_all", note)
    encoder = NamedEncoder("net", "net.pth", as_encoder(variables), {})
    for number, sweep in enumerate(("topk=5,10", "enlarge=bilinear,opencv")):
        with pytest.raises(KeyboardInterrupt):
            evaluate_propagation(
                Davis(),
                Davis().open(str(data), split="val"),
                [(encoder, variants(SETTINGS, sweep))],
                tmp_path / str(number),
                data="the small set",
                config={"sweep": sweep},
                max_sizes=1,
                log=lambda line: None,
            )
    assert planned == [[True, True], [False, False]]


def test_each_setting_of_a_sweep_lays_out_labels_its_own_way(tmp_path):
    """Whether the grid of a square frame is transposed, which features do not depend on."""

    class Square:
        name, size, has_ground_truth = "square", (16, 16), False
        frame = staticmethod(lambda index: np.zeros((16, 16, 3), np.uint8))
        __len__ = staticmethod(lambda: 2)

    class Noting(Davis):
        def write(self, features, sequence, output, settings, layout):
            output.mkdir(parents=True)
            for _ in features:
                yield functools.partial((output / f"{layout.transposed}").touch)

    settings = [Settings(short_side=16, batch_frames=2, transpose_square=swept) for swept in (False, True)]
    encoder = as_encoder(lambda frames: frames[:, ::8, ::8].astype(np.float32))
    folders = {tmp_path / f"{each.transpose_square}": each for each in settings}
    layouts = layouts_of([Square()], settings[0], encoder, max_sizes=1)
    propagate_all(Noting(), encoder, [Square()], folders, layouts)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/masks/square/*")) == [
        "False/masks/square/False",
        "True/masks/square/True",
    ]


@pytest.mark.slow
def test_every_block_in_one_pass(evaluate, tmp_path):
    """Eight blocks of ResNet-18, the last of a stage as good as the stage itself."""
    evaluate(tmp_path / "all", outputs=as_encoder(draw_variables()).blocks)
    blocks = [f"res{stage}.{block}" for stage in (2, 3, 4, 5) for block in (0, 1)]
    assert [row["output"] for row in rows(tmp_path / "all/table.csv")] == blocks
    evaluate(tmp_path / "res2")
    for name in ("ant", "bee"):
        files = [f"masks/{name}/0000{t}.png" for t in range(4)]
        block, stage = (
            [read_index_mask(run / file) for file in files] for run in (tmp_path / "all/res2.1", tmp_path / "res2")
        )
        assert_same_but_for_outlines(block, stage)


@pytest.mark.slow
def test_several_networks_side_by_side(evaluate, variables, tmp_path):
    networks = {"mine": draw_variables(3), "other": variables}
    evaluate(tmp_path, networks=networks)
    table = rows(tmp_path / "table.csv")
    assert [row["Weights"] for row in table] == ["mine", "other"]
    for row in table:
        assert row.pop("Weights") == row["Run"]
        (alone,) = rows(tmp_path / row.pop("Run") / "global.csv")
        assert int(row.pop("Parameters")) == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        assert 0 < float(row.pop("SecondsPerFrame")) < 100
        assert 50 < float(row.pop("PeakMemoryMB")) < 1e5
        assert row == alone
    everything = json.loads((tmp_path / "results.json").read_text())
    for run, row in zip(everything["runs"], rows(tmp_path / "table.csv"), strict=True):
        assert {name: repr(value) for name, value in run["summary"].items()}.items() <= row.items()
        assert run["settings"]["radius"] == 4.0
        assert [len(sequence["curve"]) for sequence in run["sequences"]] == [2, 2]
        assert run["cost"]["parameters"] == int(row["Parameters"])
    assert everything["runs"][:1] == json.loads((tmp_path / "mine/results.json").read_text())["runs"]
    (difference,) = rows(tmp_path / "differences.csv")
    assert (difference["Run"], difference["Baseline"]) == ("other", "mine")
    assert float(difference["Low"]) <= float(difference["Difference"]) <= float(difference["High"])
    expected = float(table[1]["J&F-Mean"]) - float(table[0]["J&F-Mean"])
    assert float(difference["Difference"]) == pytest.approx(expected)
    assert everything["differences"][0]["difference"] == float(difference["Difference"])
    # A third one later: the first two are not computed again.
    _, lines = evaluate(tmp_path, networks=networks | {"third": draw_variables(4)})
    assert lines.count("2 of 2 sequences are finished already") == 2
    assert len(rows(tmp_path / "table.csv")) == 3
