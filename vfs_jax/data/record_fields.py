"""The fields of a record and of a manifest, each spelled once: writers, readers and TFDS's metadata follow them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict, cast, get_type_hints

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.features import Scalar, Tensor, Text
from tensorflow_datasets.core.features import Sequence as Many
from tensorflow_datasets.proto import tf_feature_pb2

from vfs_jax.data.text import read_text
from vfs_jax.errors import InputError


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


_DTYPES = {name: np.dtype(feature.np_dtype) for name, feature in FEATURES.items()}
_IS_MANY = {name: isinstance(feature, Many) for name, feature in FEATURES.items()}
# In which list of a tf.train.Example's Feature the values of a field stand.
_LISTS = {
    name: {"i": "int64_list", "f": "float_list", "O": "bytes_list"}[dtype.kind] for name, dtype in _DTYPES.items()
}


def write_field(record: ClipRecord, name: str, to: tf_feature_pb2.Features) -> None:
    """Add one field of a record to those of a tf.train.Example."""
    value = cast("Mapping[str, Any]", record)[name]
    values = value if _IS_MANY[name] else [value]
    stored = getattr(to.feature[name], _LISTS[name]).value
    stored.extend(each.encode() if isinstance(each, str) else each for each in values)


def read_fields(stored: tf_feature_pb2.Features, frames: Sequence[bytes]) -> ClipRecord:
    """Convert the fields of a tf.train.Example to a record.

    Args:
        stored: all fields but the frames.
        frames: those.

    Raises:
        LookupError: a field is missing.
    """
    values: dict[str, Any] = {"frames": frames}
    for name in FEATURES.keys() - values.keys():
        found = getattr(stored.feature[name], _LISTS[name]).value
        values[name] = found[:] if _IS_MANY[name] else found[0]
    return read_values(values)


def read_values(stored: Mapping[str, Any]) -> ClipRecord:
    """Convert what TFDS reads of a record, bytes, numbers and arrays, to a record."""
    return cast("ClipRecord", {name: _item(name, stored[name]) for name in FEATURES})


def _item(name: str, value: Any) -> str | int | np.ndarray | Sequence[bytes]:
    if isinstance(value, bytes):
        return value.decode()
    if not _IS_MANY[name]:
        return int(value)
    return value if _LISTS[name] == "bytes_list" else np.array(value, _DTYPES[name])


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
        warnings: videos of which a part does not decode; earlier versions did not count them.
        short_clips: how many clips have so many frames, of numbers below 100; earlier versions did not count them.
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
    warnings: NotRequired[int]
    short_clips: NotRequired[Mapping[str, int]]
    not_on_disk: NotRequired[int]
    frames: int
    bytes: int
    shards: list[ShardLine]


def read_manifest(out: Path) -> Manifest:
    """Read OUT/manifest.json.

    Raises:
        InputError: there is none, or it is no manifest.
    """
    path = out / "manifest.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; run vfs-prepare finalize --out={out} first")
    text = read_text(path)
    try:
        manifest: Manifest = json.loads(text)
        whole = manifest.keys() >= Manifest.__required_keys__
        whole &= all(shard.keys() >= ShardLine.__required_keys__ for shard in manifest["shards"])
    except (ValueError, AttributeError, LookupError, TypeError):
        whole = False
    if not whole:
        raise InputError(f"{path}: is not a manifest; run vfs-prepare finalize --out={out} again")
    return manifest
