"""A record against TFDS's own serializer, and read back."""

import zlib

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from data_prep.decoding import clip_name
from data_prep.record import make_record, parse
from vfs_jax.data.record_fields import FEATURES, ClipRecord
from vfs_jax.data.stored_frames import INDEX_FIELD

CLIP = ClipRecord(
    id="été/a.mp4",
    label=2**40,
    height=48,
    width=64,
    source_frames=np.array([0, 3, 2**40]),
    times=np.array([0.0, 0.1, 1 / 3]),
    frames=[b"\xff\xd8one", b"", bytes(range(256))],
    source_sha256="ab" * 32,
)


def test_the_bytes_that_tfds_writes_after_an_index():
    record = make_record(CLIP)
    example = FEATURES.encode_example(CLIP)
    serializer = tfds.core.example_serializer.ExampleSerializer(FEATURES.get_serialized_info())
    written = serializer.get_tf_example(example)
    index = tf_example_pb2.Example.FromString(record.data).features.feature[INDEX_FIELD]
    written.features.feature[INDEX_FIELD].CopyFrom(index)
    assert record.data == written.SerializeToString(deterministic=True)
    assert (record.id, record.frames, record.seconds) == ("été/a.mp4", 3, 0.333333)
    assert record.crc32 == zlib.crc32(record.data)


def test_reads_back():
    found = parse(make_record(CLIP).data)
    assert list(found) == list(CLIP) == list(ClipRecord.__annotations__)
    assert list(found.pop("frames")) == CLIP["frames"]
    np.testing.assert_equal(
        found.pop("times"), CLIP["times"].astype(np.float32).astype(np.float64)
    )  # TFDS keeps 32 bits
    np.testing.assert_equal(found, {name: CLIP[name] for name in found})


def test_names():
    assert clip_name("a.mp4", 0, cut=False) == "a.mp4"
    assert clip_name("a.mp4", 12, cut=True) == "a.mp4#0012"
