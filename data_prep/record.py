"""A clip as the bytes of its record, made inside the decoding process, so that the worker only appends them."""

import dataclasses
import zlib

import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from vfs_jax.data.record_fields import FEATURES, ClipRecord, read_values, write_field
from vfs_jax.data.stored_frames import INDEX_FIELD, index_frames

_PARSER = tfds.core.example_parser.ExampleParserNp(FEATURES.get_serialized_info())


@dataclasses.dataclass(frozen=True)
class SerializedRecord:
    """A record ready to be appended to a shard.

    Attributes:
        id: of the clip.
        frames: their number.
        seconds: from the first to the last.
        crc32: of data.
        data: what `serialize` returns.
    """

    id: str
    frames: int
    seconds: float
    crc32: int
    data: bytes


def make_record(clip: ClipRecord) -> SerializedRecord:
    """Serialize a clip, and sum up what its shard's sidecar says of it."""
    data, times = serialize(clip), clip["times"]
    seconds = round(float(times[-1] - times[0]), 6)
    return SerializedRecord(clip["id"], len(clip["frames"]), seconds, zlib.crc32(data), data)


def serialize(clip: ClipRecord) -> bytes:
    """Return a record, the bytes that TFDS itself would write and the same ones whenever and wherever it is made.

    Before them goes an index, by which ClipRecords reads a few frames and not all; TFDS passes over it.

    TFDS's own serializer makes an array of every frame: that took a sixth of the time of decoding.
    """
    example = tf_example_pb2.Example()
    for name in FEATURES:
        if name != "frames":
            write_field(clip, name, example.features)
    # The fields of a tf.train.Example are a map, whose order protobuf leaves to chance unless told: by name. So the
    # frames come before all others, and the index before them.
    rest = example.features.SerializeToString(deterministic=True)
    write_field(clip, "frames", example.features)
    example.features.feature[INDEX_FIELD].bytes_list.value.append(index_frames(clip["frames"], rest))
    return example.SerializeToString(deterministic=True)


def parse(data: bytes) -> ClipRecord:
    """Read a whole record as TFDS does."""
    return read_values(_PARSER.parse_example(data))
