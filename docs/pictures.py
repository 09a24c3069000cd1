"""Make the site's pictures again from real runs: `python docs/pictures.py`, from a checkout with the extra `test`.

The tutorials run and their pictures take the places of those beside them; a report is evaluated over what they composed
and trained, and two of its cards are photographed by Chromium. What quickstart.jpg and proof/curve.png show is made by
the commands that the gallery names.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parent
RUNS = Path("runs/tutorials")
TUTORIALS = ("propagate_mask", "evaluate_encoder", "train_and_look", "track_points")
CARDS = {"report_sequence": "#sequence-composed_01", "report_matches": "#matches-composed_01"}


def run_tutorials() -> None:
    """Run each as a reader does, and take its pictures."""
    for name in TUTORIALS:
        subprocess.run([sys.executable, DOCS / "tutorials" / f"{name}.py"], check=True)
        for picture in RUNS.glob(f"{name}*.[jp][pn]g"):
            shutil.copy(picture, DOCS / "tutorials")


def photograph_report() -> None:
    """Evaluate the random weights and those of a tutorial, and photograph cards of the report."""
    command = ["--config=configs/davis.py", f"--workdir={RUNS / 'report'}", f"--config.data={RUNS / 'composed/davis'}"]
    options = ["--config.short_side=240", "--config.radius=6", "--config.published=()"]
    weights = f"--config.weights=random:0,{RUNS / 'train'}"
    subprocess.run([sys.executable, "-m", "vfs_jax.apps.eval", *command, *options, weights], check=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.goto((RUNS / "report/report.html").absolute().as_uri())
        for name, card in CARDS.items():
            page.locator(card).screenshot(path=RUNS / f"{name}.card.png")
            with Image.open(RUNS / f"{name}.card.png") as image:
                image.convert("RGB").save(DOCS / f"{name}.jpg", quality=85)
        browser.close()


if __name__ == "__main__":
    os.chdir(DOCS.parent)
    run_tutorials()
    photograph_report()
