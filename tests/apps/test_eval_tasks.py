"""vfs-eval on the real data of every task, a few frames at a small size; vfs-score on its folders; two processes."""

import csv
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from full_masks import assert_same_but_for_outlines
from PIL import Image
from small import draw_variables, write_davis

from vfs_jax.apps import eval as eval_app
from vfs_jax.apps import score
from vfs_jax.data.images import read_index_mask, write_index_mask
from vfs_jax.evaluation.encoders import NamedEncoder, as_encoder
from vfs_jax.evaluation.propagation.settings import Settings, Variant
from vfs_jax.evaluation.runs.evaluation import evaluate_propagation
from vfs_jax.evaluation.tasks.masks import Vip

pytestmark = [
    pytest.mark.slow,
    # ml_collections loads config files through a deprecated method of importlib.
    pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning"),
]

CASES = {
    "davis": ("davis_like", {"sequences": "dog,horsejump-high", "short_side": 96, "radius": 6.0}),
    "davis 2016": ("davis_like", {"sequences": "blackswan", "short_side": 96, "radius": 6.0, "year": 2016}),
    "jhmdb": ("jhmdb_like", {"short_side": 128}),
    "tapvid": ("tap_like", {"short_side": 96, "radius": 6.0}),
}


def flags(task, data, workdir, **changes):
    # At res2 the network ends after two blocks: what is tested here lies around it.
    values = {"data": data, "max_frames": 4, "inspect": 1, "output": "res2"} | changes
    return [
        f"--config=configs/{task}.py",
        f"--workdir={workdir}",
        *(f"--config.{name}={value}" for name, value in values.items()),
    ]


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def check_score_again(task, data, folder, command):
    """vfs-score on the folder, with no flag but where it lies, writes the same tables."""
    status, _, stderr = command(score, task, f"--results={folder}", f"--data={data}", f"--out={folder / 'again'}")
    assert status == 0, stderr
    tables = [path.name for path in (folder / "again").iterdir()]
    assert len(tables) == 2
    for table in tables:
        assert (folder / table).read_text() == (folder / "again" / table).read_text()


@pytest.mark.parametrize("name", CASES)
def test_real_data(real_data, tmp_path, command, monkeypatch, name):
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    folder, changes = CASES[name]
    data, task = real_data / folder, name.split()[0]
    if "year" in changes:  # the same frames under DAVIS 2016's list
        data = tmp_path / "davis"
        (data / "ImageSets/2016").mkdir(parents=True)
        (data / "ImageSets/2016/val.txt").write_text("blackswan\ndog\n")
        for part in ("JPEGImages", "Annotations"):
            (data / part).symlink_to(real_data / folder / part)
    status, _, stderr = command(eval_app, *flags(task, data, tmp_path / "run", **changes))
    assert status == 0, stderr
    (total,) = rows(tmp_path / "run/global.csv")
    assert all(np.isfinite(float(value)) for value in total.values())
    assert 0 < float(next(iter(total.values()))) <= 1
    check_score_again(task, data, tmp_path / "run", command)
    page = (tmp_path / "run/report.html").read_text()
    assert page.count('class="run"') == 1
    assert len(list((tmp_path / "run/figures").glob("attention-*.png"))) == 1


def test_vip_of_many_sizes(tmp_path, command, monkeypatch):
    """Pictures of three sizes share one canvas; scores are those of vfs-score."""
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    rng = np.random.default_rng(0)
    names = []
    for height, width in ((60, 80), (64, 96), (66, 90)):
        names.append(f"v{height}x{width}")
        for kind in ("Images", "Annotations/Category_ids"):
            (tmp_path / kind / names[-1]).mkdir(parents=True)
        ground = rng.integers(0, 255, (height, width + 8, 3), dtype=np.uint8)
        for t in range(3):
            mask = np.zeros((height, width), np.uint8)
            mask[10:40, 20 - 2 * t : 50 - 2 * t] = 7
            Image.fromarray(ground[:, 2 * t : 2 * t + width]).save(tmp_path / f"Images/{names[-1]}/{t:05d}.jpg")
            write_index_mask(tmp_path / f"Annotations/Category_ids/{names[-1]}/{t:05d}.png", mask)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/val_videos.txt").write_text("\n".join(names))
    settings = Settings(short_side=60, output="res2", radius=4.0)
    encoder = NamedEncoder("drawn", "drawn", as_encoder(draw_variables()), {})
    whole, few = tmp_path / "whole", tmp_path / "few"
    counts = {}
    for run, sizes in ((whole, 6), (few, 1)):
        task, lines = Vip(), []
        evaluate_propagation(
            task,
            task.open(str(tmp_path), split="val"),
            [(encoder, [Variant("", {}, settings)])],
            run,
            data="VIP",
            config={"task": "vip", "split": "val"},
            max_sizes=sizes,
            log=lines.append,
        )
        text = "\n".join(lines)
        assert f"{min(sizes, 3)} size(s) of network input" in text
        counts[sizes] = int(text.split("compiled ")[1].split()[0])
    assert counts[1] < 0.6 * counts[6], counts
    check_score_again("vip", tmp_path, few, command)
    for name in names:
        files = [f"masks/{name}/0000{t}.png" for t in range(3)]
        found, expected = ([read_index_mask(run / file) for file in files] for run in (few, whole))
        assert_same_but_for_outlines(found, expected)


def test_two_processes(tmp_path):
    """Two processes of one run share the folder: each does some of the sequences, process 0 scores all of them."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    options = flags("davis", write_davis(tmp_path / "data"), tmp_path / "run", short_side=64, inspect=0)
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "vfs_jax.apps.eval", *options, f"--processes=localhost:{port},{index},2"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for index in range(2)
    ]  # fmt: skip
    try:
        (first, errors), (second, _) = (process.communicate(timeout=240) for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    assert "process 1 of 2 is done" in second
    assert "wrote" in first
    assert {row["Sequence"] for row in rows(tmp_path / "run/per_object.csv")} == {"ant_1", "bee_1"}
    timed = [[row["Sequence"] for row in rows(tmp_path / "run" / name)] for name in ("timings.csv", "timings-1.csv")]
    assert [len(each) for each in timed] == [1, 1]
    assert timed[0] != timed[1]
    assert not list((tmp_path / "run").glob(".*"))
