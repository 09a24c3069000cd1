"""What README shows runs, and what it links to is there."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from vfs_jax.evaluation.encoders import as_encoder

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_python_blocks_run():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["masks"].shape == (8, 30, 53)
    assert (names["masks"][0] == names["mask"]).all()


def test_the_encoder_of_ten_lines(monkeypatch):
    """With a stand-in for timm that knows what timm's models have: default_cfg, forward_features, num_prefix_tokens."""
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        default_cfg, num_prefix_tokens = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}, 1

        def forward_features(self, images):
            tokens = torch.nn.functional.unfold(images, 16, stride=16).transpose(1, 2)
            return torch.cat([0 * tokens[:, :1], tokens], dim=1)

    timm = types.ModuleType("timm")
    timm.create_model = lambda name, **options: Model()
    monkeypatch.setitem(sys.modules, "timm", timm)
    (block,) = re.findall(r"```py\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    frames = np.zeros((2, 48, 80, 3), np.uint8)
    frames[1, 16:32, 64:] = 255  # row 1, column 4
    encoder = as_encoder(names["dino"])
    features = encoder(frames, range(2), outputs=("features",), dtype="float32")["features"]
    assert features.shape == (2, 3, 5, 768)
    changed = np.abs(features[1] - features[0]).sum(-1) > 0
    assert np.argwhere(changed).tolist() == [[1, 4]]


def test_links_and_files_exist():
    paths = set(re.findall(r"\]\(([^)#:]+)\)", README)) | set(re.findall(r"\b(?:launch|configs)/[\w.]+\b", README))
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_every_console_script_is_in_the_table():
    scripts = re.findall(r"^    (vfs-[a-z-]+) = ", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert scripts
    assert [name for name in scripts if f"| `{name}" not in README] == []
