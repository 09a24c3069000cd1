"""The report: one file, whole without a network, with the numbers of every run."""

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from vfs_jax.data.images import write_index_mask
from vfs_jax.data.mask_datasets import MaskSequence
from vfs_jax.evaluation.report import page
from vfs_jax.evaluation.report.assembly import write_report
from vfs_jax.evaluation.runs.comparison import Run
from vfs_jax.evaluation.tasks.masks import Davis


class Tags(HTMLParser):
    """Checks that tags are closed in order, and collects texts and links."""

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.ids, self.links = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.append(attrs.get("id"))
        self.links += [attrs[name] for name in ("href", "src", "xlink:href") if name in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Two runs over sequences of five frames, which shift the masks of two more and more; the third has no truth."""
    sequences, tmp_path = [], tmp_path_factory.mktemp("report")
    for name in ("ant", "<bee>", "cat"):
        frames, masks = [], []
        for t in range(5):
            frames.append(tmp_path / f"{name}-{t}.jpg")
            masks.append(tmp_path / "truth" / name / f"{name}-{t}.png")
            masks[-1].parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((36, 64, 3), 50 * t, np.uint8)).save(frames[-1])
            mask = np.zeros((36, 64), np.uint8)
            mask[8:20, 8:30], mask[22:30, 30:50] = 1, 2
            write_index_mask(masks[-1], mask)
        sequences.append(MaskSequence(name, tuple(frames), tuple(masks)))
    for sequence in sequences:
        for t, path in enumerate(sequence.masks):
            out = tmp_path / "shifted" / sequence.name / path.name
            out.parent.mkdir(parents=True, exist_ok=True)
            write_index_mask(out, np.roll(sequence.mask(t), t if sequence.name == "ant" else 2 * t, 1))
    *scored, cat = sequences
    sequences = [*scored, dataclasses.replace(cat, masks=cat.masks[:1])]
    task = Davis()
    runs = []
    for name in ("shifted", "truth"):
        scores = [task.score(tmp_path / name, sequence) for sequence in scored]
        runs.append(Run(name, tmp_path / name, scores, task.summary(scores), {"sha256": name * 4}))
    published = [("published", (66.7, 64.0, None, None, 69.5, None, None))]
    settings = {"topk": 10}
    path = tmp_path / "report.html"
    write_report(path, task, runs, sequences, title="A <title>", settings=settings, published=published)
    text = (tmp_path / "report.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert not tags.open
    return text, tags, runs


def test_opens_without_a_network(report):
    text, tags, _ = report
    assert all(link.startswith(("data:image/", "#")) for link in tags.links)
    inside = re.findall(r"url\((.*?)\)", text)
    assert all(url.startswith(("data:image/", "#")) for url in inside)
    assert {link[1:] for link in [*tags.links, *inside] if link[0] == "#"} <= set(tags.ids)
    assert {"#sequence-ant", "#sequence-<bee>"} <= set(tags.links)


def test_numbers_of_every_run(report):
    _, tags, runs = report
    for run in runs:
        for column in Davis.columns:
            assert page.percent(run.summary[column]) in tags.texts
        assert run.name * 4 in tags.texts
    assert {"66.7", "64.0", "69.5", "A <title>", "<bee>", "topk"} <= set(tags.texts)


def test_pictures(report):
    text, _, _ = report
    images = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([\w+/=]+)", text)]
    # Three sequences of five frames; overlays of two runs for each, and of the truth of two.
    assert [image.format for image in images].count("JPEG") == 15
    assert [image.format for image in images].count("PNG") == 40
    overlay = np.array(images[-1].convert("RGBA"))
    assert overlay.shape == (169, 300, 4)  # 36x64 at a width of 300
    assert (overlay[..., 3] == 0).any()  # the background shows through


def test_worst_sequence_of_the_first_run_first(report):
    _, tags, runs = report
    assert runs[0].of("<bee>").value < runs[0].of("ant").value < 1 == runs[1].of("ant").value
    assert runs[0].of("ant").curve[0] > runs[0].of("ant").curve[-1]
    assert [name for name in tags.ids if name and "sequence" in name] == [
        "sequence-<bee>",
        "sequence-ant",
        "sequence-cat",  # without a score
    ]
    assert "2 sequences, 10 frames." in "".join(tags.texts)


def test_best_value_is_bold():
    rows = [("a", [0.5, 0.2], ""), ("b", [0.7, 0.1], ""), ("c", [0.9, 0.0], "published")]
    found = re.findall(r'<td class="best">([\d.]+)', page.table(["J-Mean", "J-Decay"], rows))
    assert found == ["70.0", "10.0"]  # the highest mean, the lowest decay; published rows do not compete
