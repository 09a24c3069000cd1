"""The fields of a record and of a manifest, each spelled once: writers, readers and TFDS's metadata follow them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired, TypedDict, cast, get_type_hints

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.features import FeatureConnector, Scalar, Tensor, Text
from tensorflow_datasets.core.features import Sequence as Many
from tensorflow_datasets.proto import tf_feature_pb2


class ClipRecord(TypedDict):
    """A prepared clip: a video, or the part of it that --clip_seconds cut out, as a record holds it.

    Attributes:
        id: of the video; of a part, with the part's number.
        label: number of the class.
        height, width: pixels of every frame.
        source_frames: int64 [n], number of each frame in the video.
        times: float64 [n], seconds since the video's first frame, strictly increasing; stored in 32 bits.
        frames: n JPEG files.
        source_sha256: of the video file.
    """

    id: Annotated[str, Text()]
    label: Annotated[int, Scalar(np.int64)]
    height: Annotated[int, Scalar(np.int32)]
    width: Annotated[int, Scalar(np.int32)]
    source_frames: Annotated[np.ndarray, Many(Scalar(np.int64))]
    times: Annotated[np.ndarray, Many(Scalar(np.float64))]
    # As bytes and not as tfds Images: those are decoded, all of them, whenever a clip is read.
    frames: Annotated[Sequence[bytes], Many(Tensor(shape=(), dtype=np.bytes_))]
    source_sha256: Annotated[str, Text()]


# How TFDS stores each field, in the order above.
FEATURES = tfds.features.FeaturesDict(
    {name: hint.__metadata__[0] for name, hint in get_type_hints(ClipRecord, include_extras=True).items()}
)


def write_field(record: ClipRecord, name: str, to: tf_feature_pb2.Features) -> None:
    """Add one field of a record to those of a tf.train.Example."""
    value = cast("Mapping[str, Any]", record)[name]
    values = value if isinstance(FEATURES[name], Many) else [value]
    _values(to.feature[name], name).extend(each.encode() if isinstance(each, str) else each for each in values)


def read_fields(stored: tf_feature_pb2.Features, frames: Sequence[bytes]) -> ClipRecord:
    """Convert the fields of a tf.train.Example to a record.

    Args:
        stored: all fields but the frames.
        frames: those.

    Raises:
        LookupError: a field is missing.
    """
    values = {name: _values(stored.feature[name], name) for name in FEATURES if name != "frames"}
    single = {name: each if isinstance(FEATURES[name], Many) else each[0] for name, each in values.items()}
    return read_values(single | {"frames": frames})


def read_values(stored: Mapping[str, Any]) -> ClipRecord:
    """Convert what TFDS reads of a record, bytes, numbers and arrays, to a record."""
    return cast("ClipRecord", {name: _item(FEATURES[name], stored[name]) for name in FEATURES})


def _values(feature: tf_feature_pb2.Feature, name: str) -> list:
    """Return the list in which a field's values stand, by its dtype."""
    kind = {"i": "int64_list", "f": "float_list"}.get(np.dtype(FEATURES[name].np_dtype).kind, "bytes_list")
    return getattr(feature, kind).value


def _item(feature: FeatureConnector, value: Any) -> str | int | np.ndarray | Sequence[bytes]:
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(feature, Many):
        return int(value)
    dtype = np.dtype(feature.np_dtype)
    return value if dtype.kind == "O" else np.array(value, dtype)


class ShardLine(TypedDict):
    """What a manifest says of one shard.

    Attributes:
        shard: its file.
        count: of its records.
        bytes, sha256: of the file.
        frames: of all its records.
        rejects: of its videos.
    """

    shard: str
    count: int
    bytes: int
    sha256: str
    frames: int
    rejects: int


class Manifest(TypedDict):
    """What a folder of records holds and what it was made from: OUT/manifest.json.

    Attributes:
        version: of the layout, for TFDS.
        settings: how clips were converted.
        index_sha256: of the index of videos.
        videos: in the index.
        records: one a clip.
        rejects: videos, or parts of them, that are no record.
        not_on_disk: videos that a table lists and the disk does not hold; earlier versions did not count them.
        frames, bytes: of all records.
        shards: in order.
    """

    version: str
    settings: Mapping[str, float]
    index_sha256: str
    videos: int
    records: int
    rejects: int
    not_on_disk: NotRequired[int]
    frames: int
    bytes: int
    shards: list[ShardLine]
