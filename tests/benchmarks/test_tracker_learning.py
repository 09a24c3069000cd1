"""The measurement of what the tracking head learns runs, at toy size."""

import json

import jax
import pytest
import tracker_learning

from vfs_jax.data.box_datasets import open_otb
from vfs_jax.evaluation.tasks.boxes import Otb


@pytest.mark.long
def test_measures_small_sequences(real_data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])  # each would compile the network for itself
    folders = {"clips": "davis_train_clips", "held_out": "kinetics_like", "got10k": "got10k_like"}
    flags = [*(f"--{name}={real_data / folder}" for name, folder in folders.items()), f"--out={tmp_path}", "--toy"]
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an int
        [row] = tracker_learning.main([*flags, "--seeds=3"])
        assert json.loads((tmp_path / "learning.json").read_text())["rows"] == [row]
        assert (row["seed"], row["targets"], row["pairs"]) == (3, 2, 16)
        assert 0 < row["loss_last"] < row["loss_first"]
        folder, task = tmp_path / "seed-3", Otb()
        for name in ("raw", "trained"):
            scores = [task.score(folder / f"held_out_{name}", each) for each in open_otb(folder / "held_out")]
            assert row[name] == task.summary(scores)["Success"] > 0.2
        raw, trained = ((folder / f"held_out_{name}").glob("*.txt") for name in ("raw", "trained"))
        assert {path.read_text() for path in raw}.isdisjoint({path.read_text() for path in trained})
        cells = capsys.readouterr().out.splitlines()[-1].split(" | ")
        assert cells[3:5] == [f"{row['raw']:.3f}", f"{row['trained']:.3f}"]

        [chosen] = tracker_learning.main([*flags, "--seeds=3", "--choose"])
        assert chosen["targets"] == 4
        grounds = {name: {path.name for path in (folder / name).iterdir()} for name in ("train", "held_out", "choose")}
        assert not grounds["choose"] & (grounds["train"] | grounds["held_out"])
