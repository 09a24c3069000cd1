"""What README and the pages of the first steps show runs, and what they link to is there."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from vfs_jax.evaluation.encoders import as_encoder

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OWN_ENCODER = (ROOT / "docs/own_encoder.md").read_text()
COMMANDS = (ROOT / "docs/commands.md").read_text()


@pytest.mark.slow
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
    block, _ = re.findall(r"```py\n(.*?)```", OWN_ENCODER, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block, "own_encoder.md", "exec"), names)
    frames = np.zeros((2, 48, 80, 3), np.uint8)
    frames[1, 16:32, 64:] = 255  # row 1, column 4
    encoder = as_encoder(names["dino"])
    features = encoder(frames, range(2), outputs=("features",), dtype="float32", precision="float32")["features"]
    assert features.shape == (2, 3, 5, 768)
    changed = np.abs(features[1] - features[0]).sum(-1) > 0
    assert np.argwhere(changed).tolist() == [[1, 4]]


def test_links_and_files_exist():
    paths = set(re.findall(r"\]\(([^)#:]+)\)", README)) | set(re.findall(r"\b(?:launch|configs)/[\w.]+\b", README))
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_every_console_script_is_in_the_table():
    scripts = re.findall(r"^    (vfs-[a-z-]+) = ", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert scripts
    assert [name for name in scripts if f"| `{name}" not in COMMANDS] == []


def test_it_stays_a_screen_and_a_half():
    assert len(README.splitlines()) < 90


def test_the_columns_of_peers_say_where_they_were_read():
    peers = re.findall(r"\| \[(\w+)\]\(https://github.com/[\w/-]+\)", README)
    page = (ROOT / "docs/beside_others.md").read_text()
    assert len(peers) == 5
    assert [
        peer for peer in peers if not re.search(rf"^\| \[{peer}\]\(.*\) \| [0-9a-f]{{7}} \|", page, re.MULTILINE)
    ] == []


def test_every_command_that_is_shown_is_there():
    """Flags are those of the command: a page that shows another one is out of date."""
    scripts = set(re.findall(r"^    (vfs-[a-z-]+) = ", (ROOT / "setup.cfg").read_text(), re.MULTILINE))
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        assert set(re.findall(r"^(vfs-[a-z-]+)", page.read_text(), re.MULTILINE)) <= scripts, page
