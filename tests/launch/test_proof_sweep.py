"""The sweep: which videos a setting trains on, its table, bad input, and packing, running and resuming at toy size."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vfs_jax.configs import proof_sweep as config
from vfs_jax.errors import InputError
from vfs_jax.training.options import read_options

ROOT = Path(__file__).parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "launch" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sweep():
    return load("proof_sweep")


def bash(*arguments, **variables):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "XLA_FLAGS": ""}
    command = ["bash", str(ROOT / "launch" / "proof_sweep.sh"), *map(str, arguments)]
    return subprocess.run(command, env=environment | variables, capture_output=True, text=True)


def test_every_lever_changes_one_thing(sweep):
    plain = config.get_config().to_dict()
    for name in config.LEVERS:
        changed = config.get_config(name).to_dict()
        assert [key for key in plain if changed[key] != plain[key]] == list(config.LEVERS[name]), name
        read_options(changed)
        assert name in config.__doc__.partition("Variants, comma-separated:")[2], name
    for setting in sweep.SETTINGS:
        words = [word for word in setting.split(",") if word != "plain" and not word.startswith("videos")]
        config.get_config(",".join(words))


def test_fewer_videos_are_among_more(sweep):
    records = [{"id": f"video{number}"} for number in range(33)]
    drawn = {
        (number, seed): [record["id"] for record in sweep.some_videos(records, number, seed)]
        for number in (4, 8, 16, 33)
        for seed in (0, 1)
    }
    for seed in (0, 1):
        for less, more in ((4, 8), (8, 16), (16, 33)):
            assert set(drawn[less, seed]) < set(drawn[more, seed])
        assert len(set(drawn[16, seed])) == 16
    assert set(drawn[4, 0]) != set(drawn[4, 1])
    assert sweep.some_videos(records, 0, 0) is records
    with pytest.raises(InputError, match="videos=34: there are 33"):
        sweep.some_videos(records, 34, 0)


def test_the_branches_of_every_stage_are_told(sweep):
    """The mean size over a stage's blocks; the stem and the other BatchNorms are none of them."""
    blocks = {
        f"res{stage}_{block}": {"bn1": {"scale": np.full(3, 9.0)}, "bn2": {"scale": np.array([stage, -stage, block])}}
        for stage in (2, 3, 4, 5)
        for block in (0, 3)
    }
    params = {"backbone": {"bn1": {"scale": np.ones(3)}, **blocks}}
    scales = sweep.branch_scales({"params": params, "batch_stats": {"backbone": {}}})
    assert scales == pytest.approx({f"res{stage}": (2 * stage / 3 + (2 * stage + 3) / 3) / 2 for stage in (2, 3, 4, 5)})


def test_the_table_begins_with_the_best(sweep):
    rows = [
        {"setting": "random", "steps": 0, "tennis": 60.0, "composed": 39.4},
        {"setting": "a,b", "steps": 9, "tennis": 50.0, "composed": 51.26, "loss": 0.5, "res4": 0.02, "seconds": 61.4},
        {"setting": "spread", "ended": "step 7: too narrow"},
    ]
    assert sweep.lay_out(rows).splitlines()[4:] == [
        "| a,b | 9 | 50.0 | 51.3 | 0.50 |  |  |  | 0.020 |  | 61 |",
        "| random | 0 | 60.0 | 39.4 |  |  |  |  |  |  |  |",
        "| spread | step 7: too narrow |  |  |  |  |  |  |  |  |  |",
    ]


def test_growth_with_videos(sweep, tmp_path):
    """A line for each setting that was trained on several numbers of videos, one for each seed."""
    trained = [("plain,videos8", 8, 53), ("plain", 33, 61), ("videos4", 4, 51)]
    trained += [("fast", 33, 55), ("videos4,seed1", 4, 50), ("plain,seed1", 33, 60)]
    rows = [{"setting": setting, "videos": videos, "composed": score} for setting, videos, score in trained]
    rows = [{"setting": "random", "composed": 39.4}, *rows, {"setting": "spread", "ended": "too narrow"}]
    assert sweep.growth(rows) == {"plain": [(4, 51), (8, 53), (33, 61)], "seed1": [(4, 50), (33, 60)]}
    sweep.draw_growth(rows, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the folder of the data"),
        (["DATA", "--minute=3"], "unknown argument --minute=3"),
        (["DATA"], "--minutes is missing"),
        (["DATA", "--minutes=1"], "kinetics_like: no such folder; DATA_DIR holds it, or is a pack"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, arguments, message):
    ended = bash(*(str(tmp_path) if word == "DATA" else word for word in arguments))
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert message in ended.stderr


def test_altered_crops():
    """By hand: gray has equal channels, shuffling keeps the patches and moves nearly all of them."""
    diagnosis = load("proof_diagnosis")
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.ptp(diagnosis.gray(image), axis=-1).max() == 0
    np.testing.assert_allclose(diagnosis.gray(image)[0, 0, 0], image[0, 0] @ [0.2989, 0.587, 0.114], atol=0.5)
    patches = [
        {bytes(each[r : r + 8, c : c + 8]): (r, c) for r in range(0, 32, 8) for c in range(0, 32, 8)}
        for each in (image, diagnosis.shuffled(image))
    ]
    assert patches[0].keys() == patches[1].keys()
    assert sum(patches[0][patch] == patches[1][patch] for patch in patches[0]) < 4
    assert diagnosis.blurred(image).std() < image.std() / 4


def test_the_probe_tells_what_can_be_told():
    """Labels that one feature carries are found, those of noise are not."""
    diagnosis = load("proof_diagnosis")
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(4), 50)
    known, asked, noise = (rng.standard_normal((200, 6)) for _ in range(3))
    for features in (known, asked):
        features[:, 0] += 20 * (labels % 2)
        features[:, 1] += 20 * (labels // 2)
    told, guessed = diagnosis.probe(known, labels, [asked, noise])
    assert told > 0.99
    assert guessed < 0.5


@pytest.mark.long
def test_pack_run_and_go_on(real_data, sweep):
    """The pack is small enough to carry; a second start trains only what lacks, and none where no time is left."""
    packed = bash(real_data, "--pack")
    assert packed.returncode == 0, packed.stderr[-2000:]
    pack, out = ROOT / "runs/proof_sweep/pack", ROOT / "runs/proof_sweep/smoke"
    assert sum(path.stat().st_size for path in pack.rglob("*") if path.is_file()) < 60 * 2**20
    names = {json.loads(line)["id"] for line in (pack / "records/index.jsonl").read_text().splitlines()}
    assert len(names) == 33
    assert not names & {*os.listdir(real_data / "davis_like/JPEGImages/480p")}  # neither tennis nor the six
    subprocess.run(["rm", "-rf", out], check=True)
    flags = [pack, "--minutes=20", "--size=smoke"]
    first = bash(*flags, "--settings=branches,decay,videos4,span0")
    assert first.returncode == 0, first.stderr[-2000:]
    assert first.stdout.count("compiled a step") == 1
    row = json.loads((out / "results.jsonl").read_text().splitlines()[1])
    assert row["steps"] == 3
    assert row["res5"] == pytest.approx(1, abs=0.1)
    assert 0 < row["composed"] < 100
    more = ["--settings=branches,decay,videos4,span0 same"]
    assert "same: not started" in bash(pack, "--minutes=0", "--size=smoke", *more).stdout
    # As on a machine that has nothing but the pack and what the package depends on.
    bare = bash(*flags, *more, PYTHON=sys.executable)
    assert bare.returncode == 0, bare.stderr[-2000:]
    assert bare.stdout.count("compiled a step") == 1
    table = (out / "table.md").read_text()
    assert all(name in table for name in ("| random |", "| branches,decay,videos4,span0 |", "| same |"))
