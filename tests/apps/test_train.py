"""vfs-train on records of real clips: trains, evaluates within the run, continues, and refuses what it cannot use."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from small import write_davis

from vfs_jax.apps import prepare, train
from vfs_jax.models.weights.checkpoints import load_variables
from vfs_jax.models.weights.resolve import resolve
from vfs_jax.training.options import TrainOptions

# ml_collections loads config files in a way that Python has outgrown.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

ROOT = Path(__file__).parents[2]
CONFIG = f"--config={ROOT / 'configs' / 'vfs_r18_object.py'}:smoke"


@pytest.fixture
def records(real_data, tmp_path, command):
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "carphone.mp4").symlink_to(real_data / "kinetics_like" / "carphone_pristine.mp4")
    status, *printed = command(prepare, "all", f"--videos={videos}", f"--out={tmp_path / 'records'}", "--shards=1")
    assert status == 0, printed
    return tmp_path / "records"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_interrupted_evaluation_is_gone_on_with_under_the_same_settings_alone(tmp_path, monkeypatch):
    """A run may be continued with other eval_* options."""
    data, propagated = write_davis(tmp_path / "data"), []

    def copy(task, encoder, sequence, folder, settings):
        propagated.append((sequence.name, settings.short_side))
        if len(propagated) == 2:
            raise KeyboardInterrupt
        shutil.copytree(data / "Annotations/480p" / sequence.name, folder / "masks" / sequence.name)

    monkeypatch.setattr(train.runs, "propagate_sequence", copy)
    needed = dict(data="", depth=18, seed=0, steps=1, batch_size=8, segments=2, image_size=32, learning_rate=0.1)
    loop = dict(checkpoint_every=1, log_every=1, eval_every=1, eval_data=str(data))

    def evaluate(short_side):
        options = TrainOptions(**needed, **loop, eval_short_side=short_side)
        return train.evaluator(options, tmp_path)({"params": {}, "batch_stats": {}}, 1)

    monkeypatch.setattr(train, "backbone_of", lambda _: {})
    monkeypatch.setattr(train, "as_encoder", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        evaluate(64)
    assert evaluate(64)["J&F-Mean"] == 1
    assert evaluate(32)["J&F-Mean"] == 1
    assert propagated == [("ant", 64), ("bee", 64), ("bee", 64), ("ant", 32), ("bee", 32)]


@pytest.mark.slow
def test_trains_evaluates_and_continues(real_data, records, tmp_path, command):
    """In a process with one device, as on a laptop; then in this one, which has eight, from the same checkpoint."""
    workdir = tmp_path / "run"
    flags = [CONFIG, f"--workdir={workdir}", f"--config.data={records}", "--config.image_size=32"]
    evaluation = [
        *("--config.eval_every=3", f"--config.eval_data={real_data / 'davis_like'}", "--config.eval_max_frames=4"),
        *("--config.eval_sequences=blackswan", "--config.eval_short_side=96"),
    ]
    environment = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled")} | os.environ | {"XLA_FLAGS": ""}

    def start(*more):
        command = [sys.executable, "-m", "vfs_jax.apps.train", *flags, *more]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    printed = start(*evaluation)
    for part in ("training ResNet-18 on 1 clips", "compiled a step of", "starting after step 0", "clips/s", "left"):
        assert part in printed
    metrics = lines(workdir / "metrics.jsonl")
    assert [line["step"] for line in metrics] == [1, 2, 3]
    for line in metrics:
        assert 0 < line["loss"] < 4
        assert 0.5 < line["embedding_std"] < 1.5
        assert line["unreadable"] == line["skipped"] == 0
        assert 0 <= line["device_idle"] <= 1
    assert metrics[0]["learning_rate"] == pytest.approx(0.05 * 4 / 64)
    (scores,) = lines(workdir / "evaluation.jsonl")
    assert scores["step"] == 3
    assert 0 < scores["J&F-Mean"] <= 1
    assert (workdir / "evaluation" / "3" / "masks" / "blackswan" / "00003.png").exists()
    assert json.loads((workdir / "config.json").read_text())["color_augmentation"]["jitter"] == [0.4, 0.4, 0.4, 0.1]
    assert next((workdir / "tensorboard").glob("events.*")).stat().st_size > 0

    # The finished run is started again, with other free fields: nothing to do, nothing written twice.
    printed = start(*evaluation, "--config.log_every=2")
    assert "starting after step 3" in printed
    assert lines(workdir / "metrics.jsonl") == metrics

    _, backbone, about = resolve(str(workdir))
    assert (about["kind"], about["step"]) == ("checkpoint", 3)
    jax.tree.map(lambda a, b: None, backbone["params"], load_variables(workdir)["params"]["backbone"])

    status, _, error = command(
        train, *flags, "--config.batch_size=8", "--config.learning_rate=0.1", "--config.segments=2"
    )
    assert status == 1
    assert error.count("\n") == 1
    for part in (
        "holds a run of another configuration",
        "learning_rate: 0.003125 there, 0.1 here",
        "segments: 4 there",
    ):
        assert part in error


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, command):
    workdir = tmp_path / "run"
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([f"--config.data={tmp_path / 'empty'}"], "no manifest.json in it; run vfs-prepare"),
        (["--config.data=nowhere"], "nowhere: no manifest.json in it"),
        (["--config.data=nowhere", "--config.steps=0"], "--config.steps=0: must be at least 1"),
        (["--config.data=nowhere", "--config.segments=3"], "--config.segments=3: must be even"),
        (["--config.data=nowhere", "--processes=3"], "--processes=3: give auto or HOST:PORT,INDEX,COUNT"),
        (["--config.data=nowhere", "more"], "more: vfs-train takes no arguments"),
    ):
        status, _, error = command(train, CONFIG, f"--workdir={workdir}", *arguments)
        assert status == 1
        assert message in error
        assert error.count("\n") == 1
        assert not workdir.exists()


def test_a_batch_that_cannot_be_cut_leaves_nothing(tmp_path, command, monkeypatch):
    """Else the folder would be that of a run with this batch, and refuse the one that is mended."""
    monkeypatch.setattr(
        "vfs_jax.data.records.ClipRecords", lambda _: SimpleNamespace(checksum="", shortfall=lambda segments: "")
    )
    status, _, error = command(train, CONFIG, f"--workdir={tmp_path / 'run'}", "--config.batch_size=6")
    assert status == 1
    assert error == "vfs-train: error: --config.batch_size=6: must be a multiple of 8 devices\n"
    assert not (tmp_path / "run").exists()
