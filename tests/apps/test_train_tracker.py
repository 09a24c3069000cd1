"""vfs-train-tracker on a real folder of GOT-10k layout; a run that lost its last checkpoint ends the same."""

import json
import shutil

import jax
import numpy as np
import pytest

from vfs_jax.apps import train_tracker
from vfs_jax.data.box_datasets import open_got10k
from vfs_jax.evaluation import SiamFCTracker
from vfs_jax.models.weights.resolve import resolve_tracker

pytestmark = [
    pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning"),
    pytest.mark.usefixtures("standard_promotion"),
]


@pytest.fixture
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an int
        yield


def call(command, workdir, data, *, variant="smoke", **changes):
    flags = [f"--config.{name}={value}" for name, value in {"data": data, **changes}.items()]
    return command(train_tracker, f"--config=configs/siamfc.py:{variant}", f"--workdir={workdir}", *flags)


@pytest.mark.slow
def test_trains_and_goes_on(real_data, tmp_path, command):
    data = real_data / "got10k_like"
    otb, (sequence,) = tmp_path / "otb" / "one", open_got10k(data, "val")
    (otb / "img").mkdir(parents=True)
    for t, frame in enumerate(sequence.frames[:3], 1):
        shutil.copy(frame, otb / "img" / f"{t:04d}.jpg")
    np.savetxt(otb / "groundtruth_rect.txt", sequence.boxes[:3], fmt="%g", delimiter=",")
    evaluation = {"eval_every": 2, "eval_data": otb.parent, "eval_max_frames": 2}
    status, out, stderr = call(command, tmp_path / "run", data, **evaluation)
    assert status == 0, stderr
    assert "training the tracking head on" in out
    assert "step 2/2" in out
    assert "peak off by" in out
    (scores,) = (json.loads(line) for line in (tmp_path / "run/evaluation.jsonl").read_text().splitlines())
    assert scores["step"] == 2
    assert 0 <= scores["Success"] <= 1
    assert (tmp_path / "run/evaluation/2/boxes/one.txt").read_text().count("\n") == 2
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[1]["learning_rate"] == pytest.approx(1e-4)  # halfway from 1e-3 to 1e-5
    _, variables, about = resolve_tracker(str(tmp_path / "run"))
    assert about["head"]
    _, first, _ = resolve_tracker("random:0")
    np.testing.assert_array_equal(
        variables["params"]["backbone"]["conv1"]["kernel"], first["params"]["backbone"]["conv1"]["kernel"]
    )

    shutil.copytree(tmp_path / "run", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut/checkpoints/2")
    status, out, stderr = call(command, tmp_path / "cut", data)
    assert status == 0, stderr
    assert "step 1/2" not in out
    _, again, _ = resolve_tracker(str(tmp_path / "cut"))
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    assert (tmp_path / "cut/metrics.jsonl").read_text().count("\n") == 2


@pytest.mark.long
def test_resnet_50(real_data, tmp_path, command):
    status, _, stderr = call(command, tmp_path / "run", real_data / "got10k_like", variant="r50,smoke")
    assert status == 0, stderr
    _, variables, about = resolve_tracker(str(tmp_path / "run"))
    assert about["head"]
    (sequence,) = open_got10k(real_data / "got10k_like", "val")
    tracker = SiamFCTracker(variables)
    tracker.init(sequence.frame(0), sequence.boxes[0])
    box = tracker.update(sequence.frame(1))
    assert np.isfinite(box).all()
    assert min(box[2:]) > 0


def test_bad_input_is_one_clear_line(real_data, tmp_path, command):
    data = real_data / "got10k_like"
    for changes, message in [
        ({"data": tmp_path / "nowhere"}, "nowhere: no such folder"),
        ({"layout": "vot"}, "--config.layout=vot: take got10k or otb"),
        ({"weights": "nowhere"}, "nowhere: no such weights"),
        ({"epochs": 0}, "--config.epochs=0: must be at least 1"),
    ]:
        status, _, stderr = call(command, tmp_path / "run", **{"data": data, **changes})
        assert (status, stderr.count("\n")) == (1, 1), stderr
        assert message in stderr
    assert not (tmp_path / "run").exists()
