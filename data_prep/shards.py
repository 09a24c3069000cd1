"""One shard: an ArrayRecord file of clips and the sidecar that says what is in it."""

import contextlib
import hashlib
import itertools
import json
import os
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from data_prep.decoder import Decoder
from data_prep.decoding import Clip, ClipError
from data_prep.index import Entry, write_atomically
from data_prep.sources import open_clips

DATASET = "clips"

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
_SERIALIZER = tfds.core.example_serializer.ExampleSerializer(FEATURES.get_serialized_info())
_PARSER = tfds.core.example_parser.ExampleParserNp(FEATURES.get_serialized_info())


def shard_name(shard: int, shards: int) -> str:
    """The file name of a shard, which TFDS prescribes."""
    return f"{DATASET}-train.array_record-{shard:05d}-of-{shards:05d}"


def sidecar_name(shard: int, shards: int) -> str:
    """The file name of a shard's sidecar."""
    return f"{shard_name(shard, shards)}.json"


def write_shard(
    path: Path,
    entries: Sequence[Entry],
    decoder: Decoder,
    settings: dict[str, Any],
    *,
    clip_done: Callable[[], None],
) -> dict[str, Any]:
    """Converts the videos of one shard into PATH and PATH.json; either both are there, whole, or no sidecar is.

    Memory holds one clip at a time, whatever the size of the shard.

    Args:
      path: of the shard.
      entries: its videos, in order.
      decoder: decodes them.
      settings: how they are converted; recorded in the sidecar.
      clip_done: called after each entry.

    Returns:
      The sidecar.

    Raises:
      OSError: the file cannot be written (no space left, no permission).
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    records: list[dict[str, Any]] = []
    rejects: list[dict[str, str]] = []
    try:
        with _array_record(temporary) as write:
            for entry, file in open_clips(entries):
                ids = _ids(entry, cut=settings["clip_seconds"] > 0)
                name = next(ids)
                try:
                    if isinstance(file, ClipError):
                        raise file
                    for clip in decoder.decode(file):
                        data = serialize(name, entry.label, clip)
                        write(data)
                        records.append(_summary(name, entry, clip, data))
                        name = next(ids)
                except ClipError as error:
                    rejects.append({"id": name, "video": entry.id, "path": entry.path, "reason": str(error)})
                clip_done()
        sidecar = {
            "shard": path.name,
            "settings": settings,
            "entries_sha256": entries_sha256(entries),
            "count": len(records),
            **_check_written(temporary, len(records)),
            "records": records,
            "rejects": rejects,
        }
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    # The sidecar comes last: it is what makes the shard count as finished.
    write_atomically(path.with_name(f"{path.name}.json"), json.dumps(sidecar) + "\n")
    _sync_folder(path.parent)
    return sidecar


@contextlib.contextmanager
def _array_record(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Gives a function that appends a record; failures to write, which ArrayRecord calls RuntimeError, are OSError."""
    # JPEG data does not compress: "uncompressed" saves time at the same size.
    writer = array_record_module.ArrayRecordWriter(os.fspath(path), "group_size:1,uncompressed")
    try:
        try:
            yield writer.write
        finally:
            writer.close()
    except RuntimeError as error:
        raise OSError(str(error).split(";")[0]) from error


def _ids(entry: Entry, *, cut: bool) -> Iterator[str]:
    """Names of the clips of a video, its own where it stays whole."""
    return (f"{entry.id}#{number:04d}" if cut else entry.id for number in itertools.count())


def _summary(name: str, entry: Entry, clip: Clip, data: bytes) -> dict[str, Any]:
    return {
        "id": name,
        "video": entry.id,
        "frames": len(clip.frames),
        "seconds": round(clip.times[-1] - clip.times[0], 6),
        "bytes": len(data),
        "crc32": zlib.crc32(data),
    }


def serialize(name: str, label: int, clip: Clip) -> bytes:
    """One record as TFDS writes it, the same bytes whenever and wherever it is made."""
    example = FEATURES.encode_example(
        {
            "id": name,
            "label": label,
            "height": clip.height,
            "width": clip.width,
            "source_frames": np.array(clip.source_frames, np.int64),
            "times": np.array(clip.times, np.float64),
            "frames": clip.frames,
            "source_sha256": clip.source_sha256,
        }
    )
    # The fields of a tf.train.Example are a map, whose order protobuf leaves to chance unless told.
    return _SERIALIZER.get_tf_example(example).SerializeToString(deterministic=True)


def parse(data: bytes) -> dict[str, Any]:
    """The fields of one record, as numpy arrays, bytes and numbers."""
    return _PARSER.parse_example(data)


def _check_written(path: Path, count: int) -> dict[str, Any]:
    """Forces the file to the disk, reads it back and returns its size and checksum."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    reader = array_record_module.ArrayRecordReader(os.fspath(path))
    try:
        written = reader.num_records()
    finally:
        reader.close()
    if written != count:
        raise OSError(f"{path.parent}: a shard came out with {written} of {count} records; is the disk full?")
    return {"bytes": size, "sha256": sha256}


def _sync_folder(folder: Path) -> None:
    """Makes the renames in a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def entries_sha256(entries: Sequence[Entry]) -> str:
    """A checksum of what a shard is made from."""
    return hashlib.sha256(
        repr([(entry.id, entry.path, entry.label, entry.archive) for entry in entries]).encode(
            "utf-8", "surrogateescape"
        )
    ).hexdigest()


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """The sidecar of the shard PATH, or None where there is none or a broken one."""
    try:
        sidecar = json.loads(path.with_name(f"{path.name}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return sidecar if isinstance(sidecar, dict) and {"count", "bytes", "sha256", "records"} <= sidecar.keys() else None


def finished(path: Path, entries: Sequence[Entry], settings: dict[str, Any]) -> dict[str, Any] | None:
    """The sidecar of a shard that is there, whole, of these clips and these settings; None where it is to be made."""
    sidecar = read_sidecar(path)
    if sidecar is None or sidecar["settings"] != settings or sidecar["entries_sha256"] != entries_sha256(entries):
        return None
    return None if fault(path, sidecar) else sidecar


def fault(path: Path, expected: dict[str, Any], *, content: bool = True) -> str | None:
    """What is wrong with a shard's file.

    Args:
      path: of the shard.
      expected: its "bytes" and "sha256".
      content: reads the file and compares the checksum; otherwise the size alone.

    Returns:
      One line, or None where the file is as it was written.
    """
    if not path.is_file():
        return f"{path}: is missing"
    size = path.stat().st_size
    if size < expected["bytes"]:
        return f"{path}: is truncated, {size} of {expected['bytes']} bytes"
    if size > expected["bytes"]:
        return f"{path}: has {size - expected['bytes']} bytes too many"
    if content:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected["sha256"]:
                return f"{path}: is damaged, its sha256 is not the one it was written with"
    return None
