"""The report's look into the features: the keys are the operator's, and a browser shows those of the clicked cell."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from browser import Browser
from PIL import Image

from vfs_jax.correspondence import propagate_frame
from vfs_jax.data.images import write_index_mask
from vfs_jax.data.mask_datasets import MaskSequence
from vfs_jax.evaluation.propagation.labels import network_features, propagate_labels
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.report.assembly import write_report
from vfs_jax.evaluation.report.matches import Inspector, best_keys, key_frames, look, main_colors
from vfs_jax.evaluation.runs.comparison import Run
from vfs_jax.evaluation.tasks.masks import Davis

SETTINGS = Settings(short_side=64, radius=4.0, num_context=3)


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    """Eight frames of 64x104 whose ground drifts to the left under a textured square that stays."""
    folder = tmp_path_factory.mktemp("drift")
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 200, (16, 36, 3), dtype=np.uint8), (144, 64), interpolation=cv2.INTER_CUBIC)
    square = rng.integers(100, 255, (24, 24, 3), dtype=np.uint8)
    mask = np.zeros((64, 104), np.uint8)
    mask[20:44, 40:64] = 1
    frames, masks = [], []
    for t in range(8):
        image = ground[:, 5 * t : 5 * t + 104].copy()
        image[20:44, 40:64] = square
        frames.append(folder / f"{t:05d}.png")
        masks.append(folder / "masks" / "drift" / f"{t:05d}.png")
        masks[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(frames[-1])
        write_index_mask(masks[-1], mask)
    return MaskSequence("drift", tuple(frames), tuple(masks))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"first_frame_windowed": False},
        {"window": "square", "radius": 2.0, "topk": 5},
        {"radius": None, "topk": 3},
        {"radius": 1.0},  # fewer allowed than ten
    ],
)
def test_the_operators_keys(changes):
    """Labels blended from these keys by these weights are what the operator gives."""
    settings = dataclasses.replace(SETTINGS, **changes)
    rng = np.random.default_rng(0)
    query, *keys = rng.standard_normal((4, 9, 11, 6)).astype(np.float32)
    keys[1][4, 5] = keys[1][4, 6]  # a tie between neighbors,
    keys[2] = keys[1]  # and between frames
    labels = rng.random((3, 9, 11, 2)).astype(np.float32)
    expected = propagate_frame(
        query, np.stack(keys), labels, radius=settings.radius, topk=settings.topk, window=settings.window,
        first_frame_windowed=settings.first_frame_windowed,
    )  # fmt: skip
    where, scores = best_keys(query, keys, settings)
    weights = np.exp((scores - scores[..., :1]) / settings.temperature)
    weights /= weights.sum(-1, keepdims=True)
    found = np.einsum("hwk,hwkl->hwl", weights, labels[tuple(np.moveaxis(where, -1, 0))])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (scores[..., :-1] >= scores[..., 1:]).all()


@pytest.mark.parametrize("changes", [{}, {"fill_first": True}, {"keep_first": False}])
def test_the_right_frames(variables, sequence, changes):
    """In a whole propagation too: the labels of frame 2, whose keys repeat frame 0, and of frame 6."""
    settings = dataclasses.replace(SETTINGS, **changes)
    layout = Layout.of((64, 104), settings)
    features = list(network_features(variables, map(sequence.frame, range(8)), settings, layout))
    first = np.random.default_rng(0).random((8, 13, 4), np.float32)
    soft = [first, *(np.asarray(each) for each in propagate_labels(features, first, settings, layout))]
    for number in (2, 6):
        seen = look(variables, settings, sequence, number)
        assert seen.frames == key_frames(number, settings)
        frame, row, col = np.moveaxis(seen.where, -1, 0)
        blended = np.stack(soft)[np.array(seen.frames)[frame], row, col]
        np.testing.assert_allclose((seen.weights[..., None] * blended).sum(2), soft[number], atol=1e-4)


def test_main_colors_tell_parts_apart():
    features = np.zeros((2, 4, 6, 8), np.float32)
    features[:, :, :3, 1] = 1
    features[:, :, 3:, 5] = 1
    features += np.random.default_rng(0).normal(0, 0.01, features.shape).astype(np.float32)
    colors = main_colors(features)
    assert (colors.shape, colors.dtype) == ((2, 4, 6, 3), np.uint8)
    left, right = colors[:, :, :3, 0].astype(int), colors[:, :, 3:, 0].astype(int)
    assert abs(left.mean() - right.mean()) > 200
    assert left.std() < 20


@pytest.fixture(scope="module")
def report(variables, sequence, tmp_path_factory):
    """A report of two runs on one sequence."""
    folder = tmp_path_factory.mktemp("report")
    task, root = Davis(), sequence.masks[0].parent.parent
    score = task.score(root, sequence)
    runs = [
        Run(name, root, [score], task.summary([score]), variables=variables, settings=settings)
        for name, settings in (("ten", SETTINGS), ("five", dataclasses.replace(SETTINGS, topk=5)))
    ]
    write_report(
        folder / "report.html", task, runs, [sequence], title="Drift", settings={}, inspector=Inspector(1, 6, "50,30")
    )
    return folder


def shown_keys(browser):
    """What the page says of its runs: {name: (cell, [(frame, row, col)], scores, weights, dots)}."""
    found = browser.run(
        """JSON.stringify([...document.querySelectorAll('.run')].map(run => [run.dataset.run,
        JSON.parse(run.dataset.cell), JSON.parse(run.dataset.keys),
        [...run.querySelectorAll('.keys .cell')].map(cell => [+cell.dataset.frame, cell.querySelectorAll('i').length])
        ]))"""
    )
    return {name: (tuple(cell), keys, dict(dots)) for name, cell, keys, dots in json.loads(found)}


def check(shown, seen, cell):
    """That a run shows the operator's keys of a cell."""
    at, keys, dots = shown
    assert at == cell
    frame, row, col = np.moveaxis(seen.where[cell], -1, 0)
    expected = list(zip(np.array(seen.frames)[frame].tolist(), row.tolist(), col.tolist(), strict=True))
    assert [(key["frame"], key["row"], key["col"]) for key in keys] == expected
    np.testing.assert_allclose([key["score"] for key in keys], seen.scores[cell], atol=2e-5)
    np.testing.assert_allclose([key["weight"] for key in keys], seen.weights[cell], atol=1e-3)
    assert dots == {number: sum(key["frame"] == number for key in keys) for number in dots}
    return {(key["frame"], key["row"], key["col"]) for key in keys}


def test_clicks_in_a_browser(report, variables, sequence, tmp_path):
    """Clicks on two cells show two sets of ten keys, each the operator's; no network, no errors."""
    looks = {"ten": look(variables, SETTINGS, sequence, 6)}
    looks["five"] = look(variables, dataclasses.replace(SETTINGS, topk=5), sequence, 6)
    with Browser(tmp_path / "profile") as browser:
        browser.open(report / "report.html")
        for name, each in shown_keys(browser).items():  # where it begins: the point that was asked for
            check(each, looks[name], (30 * 8 // 64, 50 * 13 // 104))
        browser.run("document.querySelector('.query').scrollIntoView({block: 'center'})")
        box = json.loads(browser.run("JSON.stringify(document.querySelector('.query').getBoundingClientRect())"))
        sets = []
        for cell in ((2, 3), (6, 9)):
            browser.click(
                box["x"] + (cell[1] + 0.5) / 13 * box["width"], box["y"] + (cell[0] + 0.5) / 8 * box["height"]
            )
            shown = shown_keys(browser)
            sets.append({name: check(shown[name], looks[name], cell) for name in looks})
        assert [len(each["ten"]) for each in sets] == [10, 10]
        assert [len(each["five"]) for each in sets] == [5, 5]
        assert sets[0]["ten"] != sets[1]["ten"]
        browser.run("document.querySelector('.query').focus()")
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="ArrowLeft", code="ArrowLeft")
        check(shown_keys(browser)["ten"], looks["ten"], (6, 8))
        browser.screenshot(tmp_path / "report.png")
        assert browser.requests() == []
        assert browser.problems() == []
    with Image.open(tmp_path / "report.png") as image:
        assert image.width == 1280


def test_figures_for_print(report):
    names = sorted(path.name for path in (report / "figures").iterdir())
    assert names == ["attention-drift.png", "bars.png", "filmstrips.png"]
    for name in names:
        with Image.open(report / "figures" / name) as image:
            assert image.info["dpi"][0] == pytest.approx(300, abs=1)
            assert image.width > 1500
            assert len(np.unique(np.asarray(image.convert("L")))) > 50
