"""The proof on real footage: its baselines against plain computations, and all its steps at toy size."""

import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from vfs_jax.data.images import read_index_mask
from vfs_jax.data.mask_datasets import open_davis
from vfs_jax.models.resnet import IMAGE_MEAN, IMAGE_STD

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def proof() -> ModuleType:
    """launch/real_proof.py as a module."""
    spec = importlib.util.spec_from_file_location("real_proof", ROOT / "launch" / "real_proof.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_copied_masks(real_data, proof, tmp_path):
    sequences = [
        each.cut(5) for each in open_davis(real_data / "davis_like", "val", year=2017, sequences=["bmx-trees"])
    ]

    proof.measure(tmp_path, sequences, proof.copied_masks)

    truth = [sequences[0].mask(index) > 0 for index in range(5)]
    overlaps = [(truth[0] & mask).sum() / (truth[0] | mask).sum() for mask in truth[1:-1]]
    assert proof.read_rows(tmp_path)["all"]["J"] == pytest.approx(100 * np.mean(overlaps))


@pytest.mark.slow
def test_patch_masks(real_data, proof, tmp_path):
    """Two frames, all patches in reach compared by loops in float64: the mask is the same but for its edge."""
    (opened,) = open_davis(real_data / "davis_like", "val", year=2017, sequences=["bmx-trees"])
    sequence = opened.cut(2)
    tmp_path.joinpath("out").mkdir()
    proof.patch_masks(sequence, tmp_path / "out")
    found = read_index_mask(tmp_path / "out" / f"{sequence.frames[1].stem}.png")

    cells = []
    for index in range(2):
        image = (sequence.frame(index).astype(np.float64) - IMAGE_MEAN) / IMAGE_STD
        image = np.pad(image, ((0, 0), (0, 2), (0, 0)), mode="edge")  # 854 columns to 107 cells of 8
        grid = np.array([[image[8 * r : 8 * r + 8, 8 * c : 8 * c + 8].ravel() for c in range(107)] for r in range(60)])
        cells.append(grid / np.linalg.norm(grid, axis=-1, keepdims=True))
    mask = sequence.mask(0)
    # The pixel under the center of a cell, PIL's rule.
    labels = mask[((np.arange(60) + 0.5) * 8).astype(int)][:, ((np.arange(107) + 0.5) * 854 / 107).astype(int)] > 0
    soft = np.zeros((60, 107))
    for r in range(60):
        for c in range(107):
            near = [(y, x) for y in range(60) for x in range(107) if (y - r) ** 2 + (x - c) ** 2 < 12**2]
            # Frame 0 is there twice: once as the first, once as the previous one.
            scores = sorted(((cells[1][r, c] @ cells[0][at]) / 0.07, at) for at in near)[-5:]
            weights = np.exp([score - scores[-1][0] for score, _ in scores])
            soft[r, c] = weights @ [labels[at] for _, at in scores] / weights.sum()
    expected, got = soft > 0.5, found[4::8, 4::8] > 0  # the mask is cut where foreground and background weigh the same
    assert (expected & got).sum() / (expected | got).sum() > 0.8


@pytest.mark.long
def test_every_step(real_data, tmp_path):
    done = subprocess.run(
        ["bash", str(ROOT / "launch" / "real_proof.sh"), str(real_data), "--smoke", "--setting", "branches02"],
        env=os.environ | {"XLA_FLAGS": ""},  # one device, as at a user's
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    out = ROOT / "runs" / "real_proof_branches02+smoke"
    assert "Trained minus random:" in (out / "results.md").read_text()
    assert (out / "curve.png").stat().st_size > 10_000


def test_bad_input_is_one_clear_line(tmp_path):
    script = str(ROOT / "launch" / "real_proof.sh")
    for arguments, message in (
        ([], "give the folder of the data"),
        ([str(tmp_path)], f"{tmp_path}/kinetics_like: no such folder"),
        ([str(tmp_path), "--sed", "1"], "unknown argument --sed"),
    ):
        done = subprocess.run(["bash", script, *arguments], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert message in done.stderr
