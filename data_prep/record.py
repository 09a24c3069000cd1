"""One record: a clip as the bytes that TFDS reads, made inside the decoding process: its worker only appends it."""

import dataclasses
import zlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from data_prep.decoding import Clip
from vfs_jax.data.stored_frames import INDEX_FIELD, index_frames

# JPEG files as bytes and not as tfds Images: those are decoded, all of them, whenever a clip is read. TFDS stores
# floats in 32 bits whatever their type here.
FEATURES = tfds.features.FeaturesDict(
    {
        "id": tfds.features.Text(),
        "label": tfds.features.Scalar(np.int64),
        "height": tfds.features.Scalar(np.int32),
        "width": tfds.features.Scalar(np.int32),
        "source_frames": tfds.features.Sequence(tfds.features.Scalar(np.int64)),
        "times": tfds.features.Sequence(tfds.features.Scalar(np.float64)),
        "frames": tfds.features.Sequence(tfds.features.Tensor(shape=(), dtype=np.bytes_)),
        "source_sha256": tfds.features.Text(),
    }
)
_PARSER = tfds.core.example_parser.ExampleParserNp(FEATURES.get_serialized_info())


@dataclasses.dataclass(frozen=True)
class Record:
    """A clip ready to be appended to a shard.

    Attributes:
        id: of the clip.
        frames: their number.
        seconds: from the first to the last.
        crc32: of data.
        data: what serialize returns.
    """

    id: str
    frames: int
    seconds: float
    crc32: int
    data: bytes


def clip_name(video: str, number: int, *, cut: bool) -> str:
    """Return the id of a clip: its video's own where that stays whole, else with the clip's number."""
    return f"{video}#{number:04d}" if cut else video


def make_record(clip: Clip, name: str, label: int) -> Record:
    """Serialize a clip under a name and a label."""
    data = serialize(clip, name, label)
    return Record(name, len(clip.frames), round(clip.times[-1] - clip.times[0], 6), zlib.crc32(data), data)


def serialize(clip: Clip, name: str, label: int) -> bytes:
    """Return a record, the bytes that TFDS itself would write and the same ones whenever and wherever it is made.

    Before them goes an index, by which ClipRecords reads a few frames and not all; TFDS passes over it.

    TFDS's own serializer makes an array of every frame: that took a sixth of the time of decoding.
    """
    example = tf_example_pb2.Example()
    fields = example.features.feature
    fields["id"].bytes_list.value.append(name.encode())
    fields["label"].int64_list.value.append(label)
    fields["height"].int64_list.value.append(clip.height)
    fields["width"].int64_list.value.append(clip.width)
    fields["source_frames"].int64_list.value.extend(clip.source_frames)
    fields["times"].float_list.value.extend(clip.times)
    fields["source_sha256"].bytes_list.value.append(clip.source_sha256.encode())
    # The fields of a tf.train.Example are a map, whose order protobuf leaves to chance unless told: by name. So the
    # frames come before all others, and the index before them.
    rest = example.features.SerializeToString(deterministic=True)
    fields["frames"].bytes_list.value.extend(clip.frames)
    fields[INDEX_FIELD].bytes_list.value.append(index_frames(clip.frames, rest))
    return example.SerializeToString(deterministic=True)


def parse(data: bytes) -> dict[str, Any]:
    """Return the fields of one record, as numpy arrays, bytes and numbers."""
    return _PARSER.parse_example(data)
