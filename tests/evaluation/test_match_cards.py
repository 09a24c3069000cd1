"""The report's matches: a browser shows the keys of the cell that is clicked, and the same are drawn for print."""

import types

import numpy as np
import pytest
from PIL import Image

from vfs_jax.data.images import write_index_mask
from vfs_jax.data.mask_datasets import MaskSequence
from vfs_jax.evaluation.encoders import of_network
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.report.assembly import write_report
from vfs_jax.evaluation.report.matches import Look
from vfs_jax.evaluation.runs.comparison import Run
from vfs_jax.evaluation.tasks.masks import Davis
from vfs_jax.models import ResNet

GRID = 8, 13
MANY = (0, 3, 4, 5, 5) * 600  # more key frames than a byte counts
SETTINGS = Settings()


def random_matches(rng, k, frames=(0, 3, 4, 5)):
    """Keys of every cell in some frames, the best first; the cells of the last row have two keys only."""
    places = np.argsort(rng.random((*GRID, len(frames) * np.prod(GRID))), axis=-1)[..., :k]
    where = np.stack(np.unravel_index(places, (len(frames), *GRID)), axis=-1).astype(np.int32)
    scores = -np.sort(-rng.uniform(-0.2, 1, (*GRID, k)).astype(np.float32), axis=-1)
    where[-1, :, 2:], scores[-1, :, 2:] = -1, -np.inf
    weights = np.exp((scores - scores[..., :1]) / SETTINGS.temperature)
    weights /= weights.sum(axis=-1, keepdims=True)
    colors = rng.integers(0, 255, (5, *GRID, 3), dtype=np.uint8)
    return Look(frames, where, scores, weights, colors, (0, 3, 4, 5, 6))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of two runs on one sequence, and the matches of both."""
    folder, rng = tmp_path_factory.mktemp("report"), np.random.default_rng(0)
    mask = np.zeros((64, 104), np.uint8)
    mask[20:44, 40:64] = 1
    ground = np.broadcast_to(np.arange(104, dtype=np.uint8)[None, :, None], (64, 104, 3))
    frames, masks = [], []
    for t in range(8):
        frames.append(folder / f"{t:05d}.png")
        masks.append(folder / "masks/ramp" / f"{t:05d}.png")
        masks[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ground + np.uint8(20 * t)).save(frames[-1])
        write_index_mask(masks[-1], mask)
    sequence, task = MaskSequence("ramp", tuple(frames), tuple(masks)), Davis()
    score = task.score(folder / "masks", sequence)
    runs = [
        Run(
            name,
            folder / "masks",
            [score],
            task.summary([score]),
            encoder=of_network(ResNet(18), {}),
            settings=SETTINGS,
        )
        for name in ("ten", "five")
    ]
    matches = {"ten": random_matches(rng, 10), "five": random_matches(rng, 5, MANY)}
    inspector = types.SimpleNamespace(
        count=1,
        look=lambda name, *_: matches[name],
        frame_of=lambda _: 6,
        point_of=lambda *_: (50.0, 30.0),
    )
    write_report(folder / "report.html", task, runs, [sequence], title="Ramp", settings={}, inspector=inspector)
    return folder, matches


def shown_keys(browser):
    """What the page says of its runs: {name: (cell, keys, number of dots a frame)}."""
    told = browser.evaluate(
        """[...document.querySelectorAll('.run')].map(run => [run.dataset.run,
        JSON.parse(run.dataset.cell), JSON.parse(run.dataset.keys),
        [...run.querySelectorAll('.keys .cell')].map(cell => [+cell.dataset.frame, cell.querySelectorAll('i').length])
        ])"""
    )
    return {name: (tuple(cell), keys, dict(dots)) for name, cell, keys, dots in told}


def check(shown, matches, cell):
    """Hold what a run shows to its matches of a cell; returns the keys."""
    at, keys, dots = shown
    assert at == cell
    there = matches.where[cell][:, 0] >= 0
    frame, row, col = matches.where[cell][there].T
    expected = list(zip(np.array(matches.frames)[frame].tolist(), row.tolist(), col.tolist(), strict=True))
    assert [(key["frame"], key["row"], key["col"]) for key in keys] == expected
    np.testing.assert_allclose([key["score"] for key in keys], matches.scores[cell][there], atol=2e-5)
    np.testing.assert_allclose([key["weight"] for key in keys], matches.weights[cell][there], atol=1e-3)
    assert dots == {number: sum(key["frame"] == number for key in keys) for number in (0, 3, 4, 5)}
    return expected


def test_clicks_in_a_browser(report, browser):
    """A click shows the keys of its cell, arrow keys move it; no network, no errors."""
    folder, matches = report
    asked, errors = [], []
    browser.on("request", lambda request: asked.append(request.url))
    browser.on("pageerror", lambda error: errors.append(error))
    browser.goto((folder / "report.html").as_uri())
    for name, shown in shown_keys(browser).items():  # where it begins: the point that was asked for
        check(shown, matches[name], (30 * 8 // 64, 50 * 13 // 104))
    query = browser.locator(".query")
    query.scroll_into_view_if_needed()
    box = query.bounding_box()
    for cell, counts in (((2, 3), (10, 5)), ((6, 9), (10, 5)), ((7, 12), (2, 2))):
        place = {"x": (cell[1] + 0.5) / GRID[1] * box["width"], "y": (cell[0] + 0.5) / GRID[0] * box["height"]}
        query.click(position=place)
        shown = shown_keys(browser)
        assert tuple(len(check(shown[name], matches[name], cell)) for name in ("ten", "five")) == counts
    query.press("ArrowLeft")
    check(shown_keys(browser)["ten"], matches["ten"], (7, 11))
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert errors == []


def test_bars_lead_to_their_sequences(report, browser):
    browser.goto((report[0] / "report.html").as_uri())
    browser.locator("svg a", has_text="ramp").click()
    assert browser.evaluate("location.hash") == "#sequence-ramp"
    assert browser.evaluate("document.querySelector(':target').getBoundingClientRect().top") < 900


def test_figures_for_print(report):
    names = sorted(path.name for path in (report[0] / "figures").iterdir())
    assert names == ["attention-ramp.png", "bars.png", "filmstrips.png"]
    for name in names:
        with Image.open(report[0] / "figures" / name) as image:
            assert image.info["dpi"][0] == pytest.approx(300, abs=1)
            assert image.width > 1500
            assert len(np.unique(np.asarray(image.convert("L")))) > 50
