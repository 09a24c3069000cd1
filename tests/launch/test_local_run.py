"""launch/local.sh for real: the checks before a run, then vfs-train, in two processes with two devices each."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vfs_jax.configs import quickstart
from vfs_jax.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_two_processes_check_and_train(real_data, tmp_path):
    videos, workdir = tmp_path / "videos", tmp_path / "run"
    videos.mkdir()
    (videos / "carphone.mp4").symlink_to(real_data / "kinetics_like" / "carphone_pristine.mp4")
    apps = [sys.executable, "-m"]
    prepare = [
        *apps,
        "vfs_jax.apps.prepare",
        "all",
        f"--videos={videos}",
        f"--out={tmp_path / 'records'}",
        "--shards=1",
    ]
    subprocess.run(prepare, check=True, capture_output=True)
    # Compiled in half the time, to run slower: it is two steps.
    quickly = {
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
    }
    environment = os.environ | quickly | {"GRACE": "20"}
    flags = [
        *("--config=configs/vfs_r18_fine.py:smoke", f"--workdir={workdir}", f"--config.data={tmp_path / 'records'}"),
        *("--config.steps=2", "--config.segments=2", "--config.image_size=32", "--config.peak_flops=1e12"),
    ]

    def start(program, *more):
        local = ["bash", str(ROOT / "launch/local.sh"), "--processes", "2", "--devices", "2"]
        command = [*local, *program, *flags, *more]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)

    checked = start([sys.executable, "launch/preflight.py"])
    assert checked.returncode == 0, checked.stderr
    said = dict(line.removeprefix("ok   ").split(": ", 1) for line in checked.stdout.splitlines() if line[:2] == "ok")
    assert list(said) == ["devices", "all-reduce", "storage", "records", "memory", "plan"]
    # What is counted beside what XLA needs for CPUs, which fuses less.
    compiled, counted = (int(re.search(r"needs (\d+) MiB a device", said[name])[1]) for name in ("memory", "plan"))
    assert 0.5 < counted / compiled < 1.5, said
    assert said["devices"] == "4 x cpu in 2 process(es)"
    assert "1 clips, the middle one of 120 frames 342x256" in said["records"]
    assert list(workdir.iterdir()) == []

    trained = start([*apps, "vfs_jax.apps.train"])
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.count("on 4 cpu device(s), 2 process(es)") == 1
    metrics = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [1, 2]
    for line in metrics:
        assert line["mfu"] == pytest.approx(line["flops_per_second"] / 4e12)
        assert line["clips_per_second"] == pytest.approx(4 * line["steps_per_second"])

    refused = start([*apps, "vfs_jax.apps.train"], "--config.seed=5")
    assert refused.returncode == 1
    assert "holds a run of another configuration (seed: 0 there, 5 here)" in refused.stderr
    assert "process 0 has ended (claim the workdir)" in refused.stderr


@pytest.mark.slow
def test_a_failing_check_is_named_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("preflight", ROOT / "launch/preflight.py")
    preflight = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(preflight)
    config = quickstart.get_config("smoke")
    config.data, config.batch_size = "nowhere", 8  # a clip for each of the devices here
    monkeypatch.setattr(preflight.training, "start", lambda flag_values: (config, tmp_path))
    monkeypatch.setattr(preflight, "memory", lambda program: "not compiled here")
    monkeypatch.setattr(preflight, "plan", lambda options: "not counted here")
    with pytest.raises(InputError, match=r"^process 0: records failed$"):
        preflight.run([])
    said = capsys.readouterr().out.splitlines()
    assert "FAIL records: nowhere: no manifest.json in it" in said[3]
    assert [line.split(":")[0] for line in said] == [
        "ok   devices",
        "ok   all-reduce",
        "ok   storage",
        "FAIL records",
        "ok   memory",
        "ok   plan",
    ]
