"""Records read in parts, held to TFDS's reader: every size and place, other layouts, and every damaged byte."""

import json
import os
import pickle
import resource
import shutil
import warnings

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.proto import tf_example_pb2

from data_prep.convert import convert
from data_prep.decoding import ClipOptions
from data_prep.finalize import finalize
from data_prep.index import index_folder, write_index
from data_prep.record import parse, serialize
from vfs_jax.data.clips import clip_batches
from vfs_jax.data.record_fields import ClipRecord, read_manifest
from vfs_jax.data.records import ClipRecords
from vfs_jax.data.stored_frames import INDEX_FIELD, IndexedShard, StoredFrames
from vfs_jax.data.text import write_text

AS_VFS_PREPARE = "group_size:1,uncompressed"


def clip(sizes, name="a", seed=0):
    rng = np.random.default_rng(seed)
    numbers = np.arange(len(sizes))
    frames = [rng.bytes(size) for size in sizes]
    return ClipRecord(
        id=name,
        label=seed,
        height=48,
        width=64,
        source_frames=numbers,
        times=0.04 * numbers,
        frames=frames,
        source_sha256="ab" * 32,
    )


def write(path, records, options=AS_VFS_PREPARE):
    writer = array_record_module.ArrayRecordWriter(os.fspath(path), options)
    for record in records:
        writer.write(record)
    writer.close()


def without_index(record):
    example = tf_example_pb2.Example.FromString(record)
    del example.features.feature[INDEX_FIELD]
    return example.SerializeToString()


# Frames' sizes take one to four bytes; the headers within a file fall before, in and after every part of a record.
SIZES = [
    [0],
    [1, 127, 128, 129],
    [16383, 16384, 0, 16385],
    [65488, 65511, 65512, 65513, 65536],
    [2_200_000, 3],
    *([size] for size in range(64 * 1024 - 400, 64 * 1024, 7)),
    [200, 300] * 1000,
]


def test_every_part_is_what_tfds_reads(tmp_path):
    path = tmp_path / "shard"
    write(path, [serialize(clip(sizes, f"clip {seed}", seed)) for seed, sizes in enumerate(SIZES)])
    shard = IndexedShard(path, len(SIZES))
    reader = array_record_module.ArrayRecordReader(os.fspath(path))
    for number in reversed(range(len(SIZES))):
        whole = parse(reader.read([number])[0])
        in_parts = shard.read(number)
        assert list(in_parts["frames"]) == list(whole["frames"])
        assert in_parts["id"] == whole["id"] == f"clip {number}"
        assert in_parts["label"] == number
        np.testing.assert_array_equal(in_parts["times"], whole["times"])
    reader.close()


def test_frames_are_a_sequence(tmp_path):
    path, made = tmp_path / "shard", clip([5, 6, 7])
    write(path, [serialize(made)])
    frames = IndexedShard(path, 1).read(0)["frames"]
    assert len(frames) == 3
    assert frames[-1] == frames[np.int64(2)] == made["frames"][2]
    assert frames[1:] == made["frames"][1:]
    assert frames == made["frames"]
    assert frames != made["frames"][:2]
    assert pickle.loads(pickle.dumps(frames)) == made["frames"]
    for outside in (3, -4):
        with pytest.raises(IndexError):
            frames[outside]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, real_data):
    out = tmp_path_factory.mktemp("records")
    videos = out / "videos"
    videos.mkdir()
    shutil.copy(real_data / "kinetics_like/carphone_pristine.mp4", videos)
    write_index(out, *index_folder(videos))
    convert(out, ClipOptions(short_side=64, clip_seconds=0.5), workers=1)
    finalize(out)
    return out


def records_of(folder):
    """The folder's only shard and the records in it."""
    [shard] = [folder / shard["shard"] for shard in read_manifest(folder)["shards"] if shard["count"]]
    reader = array_record_module.ArrayRecordReader(os.fspath(shard))
    records = [bytes(record) for record in reader.read_all()]
    reader.close()
    return shard, records


def assert_as_tfds(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TFDS asks protobuf in a way that protobuf outgrew
        source = tfds.builder_from_directory(folder).as_data_source("train")
    records = ClipRecords(folder)
    assert len(records) == len(source) > 3
    for item, whole in zip(records, source, strict=True):
        assert list(item["frames"]) == list(whole["frames"])
        assert (item["id"], item["source_sha256"]) == (whole["id"].decode(), whole["source_sha256"].decode())
        assert [item[name] for name in ("label", "height", "width")] == [
            whole[name] for name in ("label", "height", "width")
        ]
        for name in ("source_frames", "times"):
            np.testing.assert_array_equal(item[name], whole[name])
    return records


def test_real_records_are_read_in_parts_and_as_tfds_reads_them(folder):
    assert all(isinstance(item["frames"], StoredFrames) for item in assert_as_tfds(folder))


@pytest.mark.parametrize(
    ("options", "change"),
    [
        (AS_VFS_PREPARE, without_index),  # as versions without an index wrote them, fields in any order
        ("group_size:1,zstd", bytes),
        ("group_size:2,uncompressed", bytes),
    ],
)
def test_other_records_are_read_whole(folder, tmp_path, options, change):
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    shard, records = records_of(out)
    write(shard, [change(record) for record in records], options)
    manifest = read_manifest(out)
    for listed in manifest["shards"]:
        listed["bytes"] = (out / listed["shard"]).stat().st_size
    write_text(out / "manifest.json", json.dumps(manifest))
    assert all(isinstance(item["frames"], list) for item in assert_as_tfds(out))


@pytest.mark.slow
def test_no_damaged_byte_goes_unnoticed(tmp_path, folder):
    """A reader gives what was written or fails, whichever byte of a record is another one."""
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    shard, _ = records_of(out)
    whole = shard.read_bytes()
    truth = ClipRecords(folder)[1]
    second = whole.index(INDEX_FIELD.encode(), whole.index(INDEX_FIELD.encode()) + 1)
    third = whole.index(INDEX_FIELD.encode(), second + 1)
    # The second record: its chunk's head, its index, its frames, its tail up to the third one's.
    places = [*range(second - 60, second + 60), *range(second + 60, third - 700, 499), *range(third - 700, third, 7)]
    failed = 0
    for place in places:
        with shard.open("r+b") as file:
            os.pwrite(file.fileno(), bytes([whole[place] ^ 1 << place % 8]), place)
            try:
                item = ClipRecords(out)[1]
                frames = list(item["frames"])
            except (ValueError, RuntimeError, OSError):
                failed += 1
                continue
            finally:
                os.pwrite(file.fileno(), whole[place : place + 1], place)
        assert frames == truth["frames"]
        assert all(np.array_equal(item[name], truth[name]) for name in item if name != "frames")
    assert failed > 0.8 * len(places)  # the others hit checksums that whole reads alone look at


def test_a_damaged_frame_is_replaced_and_named(tmp_path, folder):
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    shard, _ = records_of(out)
    whole = bytearray(shard.read_bytes())
    frames = ClipRecords(out)[2]["frames"]
    whole[whole.index(frames[3]) + len(frames[3]) // 2] ^= 1
    shard.write_bytes(whole)
    sizes = {"batch_size": 8, "segments": len(frames) // 2 * 2, "image_size": 16}
    batch = next(clip_batches(ClipRecords(out), **sizes, seed=0))
    assert "carphone_pristine.mp4#0002: frame 3 is damaged" in batch["unreadable"]
    assert "carphone_pristine.mp4#0002" not in batch["id"]


def test_more_shards_than_a_process_may_open(tmp_path, folder):
    records, (shard, _) = ClipRecords(folder), records_of(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    kept = records[0]["frames"]
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 3, hard))
    try:
        many = [IndexedShard(shard, 4) for _ in range(50)]
        assert all(each.read(1)["frames"][0] == records[1]["frames"][0] for each in many)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(kept[0]) > 100
