"""Reading prepared clips: through ClipRecords, TFDS and grain, where TensorFlow is not installed."""

import importlib.util
import json
import pickle
import warnings

import cv2
import grain
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep.convert import convert
from data_prep.decoding import ClipOptions
from data_prep.finalize import finalize
from data_prep.index import index_folder, write_index
from vfs_jax.data.records import ClipRecords
from vfs_jax.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    videos, out = tmp_path_factory.mktemp("videos"), tmp_path_factory.mktemp("records")
    for number in range(3):
        writer = cv2.VideoWriter(str(videos / f"clip{number}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
        for frame in range(2 + number):
            writer.write(np.full((48, 64, 3), 40 * frame, np.uint8))
        writer.release()
    (videos / "bad.mp4").touch()  # a shard without a record
    write_index(out, *index_folder(videos))
    convert(out, ClipOptions(short_side=0), workers=1)
    finalize(out)
    return out


def test_items(folder):
    records = ClipRecords(folder)
    assert len(records) == 3
    clip = records[2]
    assert list(clip) == ["id", "label", "height", "width", "source_frames", "times", "frames", "source_sha256"]
    assert (clip["id"], clip["label"], clip["height"], clip["width"]) == ("clip2.mp4", 0, 48, 64)
    assert type(clip["label"]) is int
    assert clip["source_frames"].dtype == np.int64
    assert clip["times"].dtype == np.float64
    np.testing.assert_array_equal(clip["source_frames"], [0, 1, 2, 3])
    np.testing.assert_allclose(clip["times"], [0, 0.1, 0.2, 0.3], rtol=1e-6)  # TFDS stores 32-bit floats
    for number, frame in enumerate(clip["frames"]):
        image = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (48, 64, 3)
        assert abs(image.mean() - 40 * number) < 3


def test_is_a_sequence(folder):
    records = ClipRecords(folder)
    assert [clip["id"] for clip in records] == ["clip0.mp4", "clip1.mp4", "clip2.mp4"]
    assert records[np.int64(1)]["id"] == "clip1.mp4"
    for outside in (-1, 3):
        with pytest.raises(IndexError, match="there are 3 clips"):
            records[outside]


def test_pickles(folder):
    assert pickle.loads(pickle.dumps(ClipRecords(folder)))[1]["id"] == "clip1.mp4"


def test_tfds_and_grain_read_without_tensorflow(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TFDS asks protobuf in a way that protobuf outgrew
        source = tfds.builder_from_directory(folder).as_data_source("train")
    assert [source[number]["id"] for number in range(len(source))] == [b"clip0.mp4", b"clip1.mp4", b"clip2.mp4"]
    assert all(frame.startswith(b"\xff\xd8") for number in range(3) for frame in source[number]["frames"])
    shuffled = grain.MapDataset.source(ClipRecords(folder)).shuffle(seed=3)
    mapped = shuffled.map(lambda clip: (clip["id"], len(clip["frames"])))
    expected = [("clip0.mp4", 2), ("clip1.mp4", 3), ("clip2.mp4", 4)]
    assert sorted(mapped[number] for number in range(3)) == sorted(mapped.to_iter_dataset()) == expected
    assert importlib.util.find_spec("tensorflow") is None


def test_names_what_is_wrong_with_a_folder(folder, tmp_path):
    with pytest.raises(InputError, match=r"no manifest\.json in it"):
        ClipRecords(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="is not a manifest"):
        ClipRecords(tmp_path)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert len(ClipRecords(tmp_path)) == 3
    first = min(tmp_path.glob("*-of-00004"))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(InputError, match="bytes; run vfs-prepare"):
        ClipRecords(tmp_path)
    first.unlink()
    with pytest.raises(InputError, match="is missing"):
        ClipRecords(tmp_path)


def test_tells_what_is_missing(folder, tmp_path):
    """A model trained on an eighth of the clips looks like one that trained badly."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"not_on_disk": 4}))
    assert ClipRecords(tmp_path).shortfall() == (
        "of 8 videos 4 were not on the disk (50.0%) and 1 videos or clips were rejected; "
        f"vfs-prepare show {tmp_path} tells more"
    )
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"rejects": 0}))
    assert ClipRecords(tmp_path).shortfall() == ""
    short = {"rejects": 0, "short_clips": {"3": 1, "15": 1, "16": 1}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | short))
    said = f"2 of {manifest['records']} clips have fewer than 16 frames, of which some are drawn twice"
    assert (ClipRecords(tmp_path).shortfall(16), ClipRecords(tmp_path).shortfall(3)) == (said, "")
