"""A record against TFDS's own serializer, and read back."""

import zlib

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from data_prep.decoding import Clip
from data_prep.record import FEATURES, clip_name, make_record, parse
from vfs_jax.data.stored_frames import INDEX_FIELD

CLIP = Clip(48, 64, [0, 3, 2**40], [0.0, 0.1, 1 / 3], [b"\xff\xd8one", b"", bytes(range(256))], "ab" * 32)


def test_the_bytes_that_tfds_writes_after_an_index():
    record = make_record(CLIP, "été/a.mp4", 2**40)
    example = FEATURES.encode_example(
        {
            "id": "été/a.mp4",
            "label": 2**40,
            "height": 48,
            "width": 64,
            "source_frames": np.array(CLIP.source_frames),
            "times": np.array(CLIP.times),
            "frames": CLIP.frames,
            "source_sha256": CLIP.source_sha256,
        }
    )
    serializer = tfds.core.example_serializer.ExampleSerializer(FEATURES.get_serialized_info())
    written = serializer.get_tf_example(example)
    index = tf_example_pb2.Example.FromString(record.data).features.feature[INDEX_FIELD]
    written.features.feature[INDEX_FIELD].CopyFrom(index)
    assert record.data == written.SerializeToString(deterministic=True)
    assert (record.id, record.frames, record.seconds) == ("été/a.mp4", 3, 0.333333)
    assert record.crc32 == zlib.crc32(record.data)


def test_reads_back():
    fields = parse(make_record(CLIP, "a", 1).data)
    assert list(fields["frames"]) == CLIP.frames
    np.testing.assert_array_equal(fields["source_frames"], CLIP.source_frames)
    np.testing.assert_array_equal(fields["times"], np.float32(CLIP.times))  # TFDS keeps 32 bits
    assert (fields["id"].decode(), fields["label"], fields["height"], fields["width"]) == ("a", 1, 48, 64)


def test_names():
    assert clip_name("a.mp4", 0, cut=False) == "a.mp4"
    assert clip_name("a.mp4", 12, cut=True) == "a.mp4#0012"
