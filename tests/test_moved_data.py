"""Data may lie elsewhere when a run goes on; other data in the old place are noticed."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from vfs_jax.claims import checksum, claim_folder, video_checksum
from vfs_jax.data.box_datasets import open_got10k
from vfs_jax.data.mask_datasets import open_davis
from vfs_jax.data.records import ClipRecords
from vfs_jax.errors import InputError
from vfs_jax.evaluation.runs.fingerprint import sequences_checksum
from vfs_jax.evaluation.tasks.boxes import Got10k
from vfs_jax.evaluation.tasks.masks import Davis


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab"], ["a", "b"]),
        ([np.zeros(2)], [np.zeros((1, 2))]),
        ([np.zeros(2)], [np.zeros(4, np.float32)]),
        ([np.zeros(2)], [None]),
        ([1], ["1"]),
    ],
)
def test_checksums_tell_apart(one, other):
    assert checksum(one) == checksum(list(one))
    assert checksum(one) != checksum(other)


def _frames(folder, count, value):
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (32, 24), (value, number, 0)).save(folder / f"{number:05d}.png")


@pytest.fixture
def davis(tmp_path):
    root = tmp_path / "davis"
    _frames(root / "JPEGImages/480p/one", 3, 50)
    (root / "Annotations/480p/one").mkdir(parents=True)
    for number in range(3):
        mask = np.zeros((24, 32), np.uint8)
        mask[5:12, number : 9 + number] = 1
        Image.fromarray(mask).save(root / f"Annotations/480p/one/{number:05d}.png")
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("one\n")
    return root


def _of_davis(root):
    return sequences_checksum(Davis(), open_davis(root))


def test_a_moved_data_set_is_the_same(davis, tmp_path):
    before = _of_davis(davis)
    shutil.move(davis, tmp_path / "moved")
    assert _of_davis(tmp_path / "moved") == before


@pytest.mark.parametrize("change", ["first frame", "first mask", "one frame less", "name"])
def test_another_data_set_in_its_place_is_not(davis, change):
    before = _of_davis(davis)
    images, masks = davis / "JPEGImages/480p/one", davis / "Annotations/480p/one"
    if change == "first frame":
        Image.new("RGB", (32, 24), (51, 0, 0)).save(images / "00000.png")
    elif change == "first mask":
        shutil.copy(masks / "00001.png", masks / "00000.png")
    elif change == "one frame less":
        (images / "00002.png").unlink()
        (masks / "00002.png").unlink()
    else:
        images.rename(images.with_name("two"))
        masks.rename(masks.with_name("two"))
        (davis / "ImageSets/2017/val.txt").write_text("two\n")
    assert _of_davis(davis) != before


def test_boxes_that_nobody_gave_out(tmp_path):
    """The test split of GOT-10k: its first boxes count."""
    _frames(tmp_path / "test/one", 2, 3)
    (tmp_path / "test/list.txt").write_text("one\n")
    found = []
    for box in ("1,2,3,4\n", "1,2,3,5\n"):
        (tmp_path / "test/one/groundtruth.txt").write_text(box)
        found.append(sequences_checksum(Got10k(), open_got10k(tmp_path, "test")))
    assert found[0] != found[1]


def test_records(tmp_path, monkeypatch):
    monkeypatch.setattr("tensorflow_datasets.builder_from_directory", lambda _: _NoSource())
    shard = {"shard": "a", "bytes": 0, "count": 0, "frames": 0, "rejects": 0, "sha256": ""}
    told = dict.fromkeys(("version", "settings", "index_sha256", "videos", "records", "rejects", "frames", "bytes"), 0)
    for name, sha256 in (("one", "12"), ("moved", "12"), ("other", "13")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").touch()
        manifest = {**told, "shards": [{**shard, "sha256": sha256}]}
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
    one, moved, other = (ClipRecords(tmp_path / name).checksum for name in ("one", "moved", "other"))
    assert one == moved != other


class _NoSource:
    def as_data_source(self, _):
        return []


def test_one_s_own_video(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"frames")
    before = video_checksum(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").rename(tmp_path / "b.mp4")
    assert video_checksum(tmp_path / "b.mp4") == before
    (tmp_path / "b.mp4").write_bytes(b"Frames")
    assert video_checksum(tmp_path / "b.mp4") != before
    _frames(tmp_path / "folder", 2, 9)
    before = video_checksum(tmp_path / "folder")
    (tmp_path / "folder/note.txt").write_text("no frame")
    shutil.move(tmp_path / "folder", tmp_path / "elsewhere")
    assert video_checksum(tmp_path / "elsewhere") == before
    (tmp_path / "elsewhere/00001.png").rename(tmp_path / "elsewhere/00002.png")
    assert video_checksum(tmp_path / "elsewhere") != before


def test_a_claim_compares_the_checksum_and_not_the_path(tmp_path):
    claim_folder(tmp_path / "run", {"data": "rec_two", "data_found": "12"}, free=["data"])
    claim_folder(tmp_path / "run", {"data": "rec_moved", "data_found": "12"}, free=["data"])
    assert json.loads((tmp_path / "run/config.json").read_text())["data"] == "rec_moved"
    with pytest.raises(InputError, match=r"another configuration \(data_found: 12 there, 13 here\)"):
        claim_folder(tmp_path / "run", {"data": "rec_moved", "data_found": "13"}, free=["data"])
