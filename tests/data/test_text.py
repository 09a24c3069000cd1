"""Text of any editor and system is read alike, or refused in one line; what is written is whole and valid."""

import errno
import json
import os
import resource

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from data_prep.finalize import read_lines
from data_prep.index import index_list, read_tasks
from data_prep.kinetics import index_kinetics
from vfs_jax.claims import claim_folder
from vfs_jax.data.box_datasets import open_got10k, open_lasot, open_otb, open_uav123, read_boxes
from vfs_jax.data.mask_datasets import open_davis, open_vip
from vfs_jax.data.point_datasets import open_jhmdb
from vfs_jax.data.record_fields import read_manifest
from vfs_jax.data.records import ClipRecords
from vfs_jax.data.text import read_text, to_json, write_text
from vfs_jax.data.youtube_vos import open_youtube_vos
from vfs_jax.errors import InputError
from vfs_jax.evaluation.tasks.attributes import read_attributes
from vfs_jax.evaluation.tasks.boxes import Otb, read_speed


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xef\xbb\xbfone\ntwo \n", id="byte order mark"),
        pytest.param(b"one\r\ntwo \r\n", id="Windows"),
        pytest.param(b"one\rtwo \r", id="old Macs"),
        pytest.param(b"\xef\xbb\xbfone\r\ntwo \n", id="mixed"),
    ],
)
def test_editors_and_systems(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    assert read_text(tmp_path / "a.txt") == "one\ntwo \n"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param("1,2,3,4\ncafé".encode("latin-1"), "is not UTF-8 text (byte 0xe9 in line 2)", id="Latin-1"),
        pytest.param("猫,1".encode("shift-jis"), "is not UTF-8 text (byte 0x94 in line 1)", id="Shift-JIS"),
        pytest.param("1,2,3,4".encode("utf-16"), "is UTF-16 text", id="UTF-16"),
        pytest.param("1,2,3,4".encode("utf-16-be"), "is not UTF-8 text (it holds zero bytes)", id="UTF-16 unmarked"),
        pytest.param("1,2,3,4".encode("utf-32"), "is UTF-32 text", id="UTF-32"),
        pytest.param(b"\x89PNG\r\n\x1a\n\0\0", "is not UTF-8 text (byte 0x89 in line 1)", id="a picture"),
    ],
)
def test_other_encodings(tmp_path, data, why):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(InputError) as raised:
        read_text(tmp_path / "a.txt")
    assert str(raised.value) == f"{tmp_path / 'a.txt'}: {why}; save it as UTF-8"


# Where text comes in: the file, what it holds, and what reads it.
BOXES = "3,4,8,8\n4,4,8,8\n"
META = json.dumps({"videos": {"one": {"objects": {"1": {"frames": ["1", "2"]}}}}})
COUNTS = dict.fromkeys(("videos", "records", "rejects", "frames", "bytes"), 1)
SHARD = {"shard": "gone", "count": 1, "bytes": 1, "sha256": "", "frames": 1, "rejects": 0}
MANIFEST = json.dumps({"version": "1", "settings": {}, "index_sha256": "", **COUNTS, "shards": [SHARD]})
CONFIG_SEQS = "struct('name','one','path','..\\UAV123\\one\\','startFrame',1,'endFrame',2)"
TABLE = "label,youtube_id,time_start,time_end,split\ncat,abcdefghijk,0,10,train\n"
PLACES = {
    "boxes": ("one/groundtruth_rect.txt", BOXES, lambda root: read_boxes(root / "one/groundtruth_rect.txt")),
    "OTB": ("one/groundtruth_rect.txt", BOXES, open_otb),
    "GOT-10k's list": ("val/list.txt", "one\n", open_got10k),
    "GOT-10k's cover": ("val/one/cover.label", "8\n8\n", open_got10k),
    "LaSOT's list": ("testing_set.txt", "one\n", open_lasot),
    "LaSOT's column": ("one/full_occlusion.txt", "0,0\n", open_lasot),
    "UAV123's configuration": ("configSeqs.m", CONFIG_SEQS, open_uav123),
    "DAVIS's split": ("ImageSets/2017/val.txt", "one\n", open_davis),
    "VIP's list": ("lists/val_videos.txt", "one\n", open_vip),
    "YouTube-VOS's meta.json": ("valid/meta.json", META, open_youtube_vos),
    "JHMDB's split": ("splits/wave_test_split1.txt", "one.avi 2\n", open_jhmdb),
    "attributes": ("one.txt", "0,1,1\n", lambda root: read_attributes(root, ["one"], [])),
    "list of videos": ("list.txt", "one/img/1.jpg 3\n", lambda root: index_list(root / "list.txt")),
    "Kinetics' table": ("annotations/train.csv", TABLE, lambda root: index_kinetics(root, "train")),
    "config.json": ("config.json", '{"topk": 10}\n', lambda root: claim_folder(root, {"topk": 10})),
    "seconds": ("times/one_time.txt", "0.5\n0.25\n", lambda root: read_speed(Otb(), root, open_otb(root))),
}


@pytest.fixture
def folder(tmp_path):
    """One folder in the layouts of all data sets, with two frames."""
    names = (
        "one/img",
        "val/one",
        "JPEGImages/480p/one",
        "Images/one",
        "valid/JPEGImages/one",
        "Rename_Images/wave/one",
    )
    for name in (*names, "data_seq/UAV123/one"):
        (tmp_path / name).mkdir(parents=True)
        for number in (1, 2):
            Image.new("RGB", (32, 24)).save(tmp_path / name / f"{number}.jpg")
    for name in ("Annotations/480p/one", "Annotations/Category_ids/one", "valid/Annotations/one"):
        (tmp_path / name).mkdir(parents=True)
        for number in (1, 2):
            Image.fromarray(np.ones((24, 32), np.uint8)).save(tmp_path / name / f"{number}.png")
    texts = {name: text for name, text, _ in PLACES.values()}
    texts |= dict.fromkeys(("val/one/groundtruth.txt", "one/groundtruth.txt", "anno/UAV123/one.txt"), BOXES)
    for name, text in {**texts, "one/out_of_view.txt": "0,0\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "train/cat").mkdir(parents=True)
    (tmp_path / "train/cat/abcdefghijk_000000_000010.mp4").touch()
    (tmp_path / "joint_positions/wave/one").mkdir(parents=True)
    savemat(
        tmp_path / "joint_positions/wave/one/joint_positions.mat",
        {"pos_img": np.arange(60.0).reshape(2, 15, 2) % 20 + 1},
    )
    return tmp_path


def _rejects(out):
    return read_lines(out, "rejects")


def _same(one, other):
    assert repr(one) == repr(other)


@pytest.mark.parametrize("place", PLACES)
def test_every_reader_of_text(folder, place):
    """Each takes a mark, Windows' line ends and blanks at the end, and names a file of another encoding."""
    name, text, read = PLACES[place]
    plain = read(folder)
    end = "\n" if name.endswith(".csv") else "  \t\n\n\n"
    (folder / name).write_bytes(b"\xef\xbb\xbf" + (text.rstrip("\n") + end).replace("\n", "\r\n").encode())
    _same(read(folder), plain)
    (folder / name).write_bytes(text.encode("utf-16"))
    with pytest.raises(InputError, match=r"is UTF-16 text; save it as UTF-8$") as raised:
        read(folder)
    assert str(raised.value).startswith(str(folder / name))


def test_manifest_of_records(tmp_path):
    (tmp_path / "manifest.json").write_bytes(b"\xef\xbb\xbf" + MANIFEST.encode())
    with pytest.raises(InputError, match="gone: is missing"):
        ClipRecords(tmp_path)
    (tmp_path / "manifest.json").write_bytes(MANIFEST.encode("utf-16"))
    with pytest.raises(InputError, match=r"manifest\.json: is UTF-16 text"):
        ClipRecords(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"shards": []}', MANIFEST.replace("sha256", "md5"), "{"])
def test_a_manifest_that_is_none(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    for read in (ClipRecords, read_manifest):
        with pytest.raises(InputError, match=r"manifest\.json: is not a manifest; run vfs-prepare finalize"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "read", "message"),
    [
        pytest.param("index.jsonl", "", read_tasks, "is empty; delete it", id="empty index"),
        pytest.param("index.jsonl", "junk\n", read_tasks, "has a damaged line", id="damaged index"),
        pytest.param("index.jsonl", '{"shard": 0}\n', read_tasks, "has a damaged line", id="index of other fields"),
        pytest.param("rejects.jsonl", "junk\n", _rejects, "has a damaged line", id="damaged rejects"),
        pytest.param("rejects.jsonl", '{"a": 1}\n', _rejects, "has a damaged line", id="rejects of other fields"),
    ],
)
def test_damaged_lines(tmp_path, file, text, read, message):
    (tmp_path / file).write_text(text)
    with pytest.raises(InputError) as raised:
        read(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path / file}: {message}")


def test_a_list_may_name_files_that_are_no_text(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.mp4")).touch()
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfcaf\xe9.mp4 3\r\n")
    ((entry,), _) = index_list(tmp_path / "list.txt")
    assert (entry.id, entry.label) == (r"caf\xe9.mp4", 3)


def test_seconds_that_are_none(folder):
    (folder / "times/one_time.txt").write_text("0,0\n")
    assert np.isnan(read_speed(Otb(), folder, open_otb(folder)))
    (folder / "times/one_time.txt").write_text("fast\n")
    with pytest.raises(InputError, match=r"one_time.txt: holds something else than seconds"):
        read_speed(Otb(), folder, open_otb(folder))


def test_json_of_numbers_that_are_none():
    value = {"a": float("nan"), "b": [np.float32("inf"), 1.5, {"c": -np.inf}], "d": np.int64(3), 4: ("x", None, True)}
    assert json.loads(to_json(value)) == {"a": None, "b": [None, 1.5, {"c": None}], "d": 3, "4": ["x", None, True]}


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "first\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=r"a\.txt") as raised:
            write_text(file, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(file))
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]
    assert file.read_text() == "first\n"
    write_text(file, os.fsdecode(b"caf\xe9\r\n"))
    assert file.read_bytes() == b"caf\\udce9\r\n"


def test_two_writers_of_one_number_do_not_share_a_file(tmp_path, monkeypatch):
    """Processes of two containers that share a folder: here the second writes while the first is about to end."""
    file, sync = tmp_path / "a.json", os.fsync

    def write_too(handle):
        monkeypatch.setattr(os, "fsync", sync)
        write_text(file, "second\n")
        sync(handle)

    monkeypatch.setattr(os, "fsync", write_too)
    write_text(file, "first\n")
    assert file.read_text() == "first\n"
    assert list(tmp_path.iterdir()) == [file]
