"""One shard: an ArrayRecord file of clips and the sidecar that says what is in it."""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from array_record.python import array_record_module

from data_prep.decoder import Decoder
from data_prep.decoding import clip_name
from data_prep.index import Entry
from data_prep.record import SerializedRecord
from data_prep.sources import open_videos
from vfs_jax.data.record_fields import ShardLine
from vfs_jax.data.text import read_text, to_json, write_text
from vfs_jax.data.video_files import VideoError
from vfs_jax.errors import InputError

DATASET = "clips"


class RecordLine(TypedDict):
    """What a sidecar says of one record; see `SerializedRecord`. bytes and crc32 are of its data."""

    id: str
    video: str
    frames: int
    seconds: float
    bytes: int
    crc32: int


class Reject(TypedDict):
    """A video, or a part of one, that is no record, and why; in the list of warnings, a video that lacks frames."""

    id: str
    video: str
    path: str
    reason: str


class Sidecar(TypedDict):
    """What is in a shard, and what it was made from.

    Attributes:
        shard: its file.
        settings: how the videos were converted.
        entries_sha256: of the videos that it was made from.
        count: of its records.
        bytes, sha256: of the file.
        records, rejects: in order.
        warnings: videos of which a part does not decode; earlier versions did not look.
    """

    shard: str
    settings: Mapping[str, float]
    entries_sha256: str
    count: int
    bytes: int
    sha256: str
    records: list[RecordLine]
    rejects: list[Reject]
    warnings: NotRequired[list[Reject]]


def shard_name(shard: int, shards: int) -> str:
    """Return the file name of a shard, which TFDS prescribes."""
    return f"{DATASET}-train.array_record-{shard:05d}-of-{shards:05d}"


def write_shard(
    path: Path,
    entries: Sequence[Entry],
    decoder: Decoder,
    settings: Mapping[str, float],
    *,
    video_done: Callable[[], None],
) -> Sidecar:
    """Convert the videos of one shard into PATH and PATH.json; either both are there, whole, or no sidecar is.

    Memory holds one clip at a time, whatever the size of the shard.

    Args:
        path: of the shard.
        entries: its videos, in order.
        decoder: decodes them.
        settings: how they are converted; recorded in the sidecar.
        video_done: called after each entry.

    Returns:
        The sidecar.

    Raises:
        OSError: the file cannot be written (no space left, no permission).
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    records: list[RecordLine] = []
    rejects: list[Reject] = []
    warnings: list[Reject] = []
    try:
        with _array_record(temporary) as write:
            for entry, file in open_videos(entries):
                made = 0
                lacks: list[str] = []
                try:
                    if isinstance(file, VideoError):
                        raise file
                    for record in decoder.decode(file, entry.id, entry.label, warn=lacks.append):
                        write(record.data)
                        records.append(_summary(entry, record))
                        del record  # before the next one is received
                        made += 1
                except VideoError as error:
                    name = clip_name(entry.id, made, cut=settings["clip_seconds"] > 0)
                    rejects.append(_line(entry, name, str(error)))
                warnings += [_line(entry, entry.id, reason) for reason in lacks]
                video_done()
        size, sha256 = _check_written(temporary, len(records))
        sidecar: Sidecar = {
            "shard": path.name,
            "settings": settings,
            "entries_sha256": entries_sha256(entries),
            "count": len(records),
            "bytes": size,
            "sha256": sha256,
            "records": records,
            "rejects": rejects,
            "warnings": warnings,
        }
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    # The sidecar comes last: it is what makes the shard count as finished.
    write_text(path.with_name(f"{path.name}.json"), to_json(sidecar) + "\n")
    _sync_folder(path.parent)
    return sidecar


@contextlib.contextmanager
def _array_record(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Give a function that appends a record; failures to write, which ArrayRecord calls RuntimeError, are OSError."""
    # JPEG data does not compress: "uncompressed" saves time at the same size.
    writer = array_record_module.ArrayRecordWriter(os.fspath(path), "group_size:1,uncompressed")
    try:
        try:
            yield writer.write
        finally:
            writer.close()
    except RuntimeError as error:
        raise OSError(str(error).split(";")[0]) from error


def _summary(entry: Entry, record: SerializedRecord) -> RecordLine:
    return {
        "id": record.id,
        "video": entry.id,
        "frames": record.frames,
        "seconds": record.seconds,
        "bytes": len(record.data),
        "crc32": record.crc32,
    }


def _line(entry: Entry, name: str, reason: str) -> Reject:
    return {"id": name, "video": entry.id, "path": entry.path, "reason": reason}


def _check_written(path: Path, count: int) -> tuple[int, str]:
    """Force the file to the disk, read it back and return its size and checksum."""
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
    return size, sha256


def _sync_folder(folder: Path) -> None:
    """Make the renames in a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def entries_sha256(entries: Sequence[Entry]) -> str:
    """Return a checksum of what a shard is made from."""
    return hashlib.sha256(
        repr([(entry.id, entry.path, entry.label, entry.archive) for entry in entries]).encode(
            "utf-8", "surrogateescape"
        )
    ).hexdigest()


def read_sidecar(path: Path) -> Sidecar | None:
    """Return the sidecar of the shard PATH, or None where there is none or a broken one."""
    try:
        sidecar: Sidecar | None = json.loads(read_text(path.with_name(f"{path.name}.json")))
    except (FileNotFoundError, json.JSONDecodeError, InputError):
        return None
    return sidecar if isinstance(sidecar, dict) and {"count", "bytes", "sha256", "records"} <= sidecar.keys() else None


def finished(path: Path, entries: Sequence[Entry], settings: Mapping[str, float]) -> Sidecar | None:
    """Return the sidecar of a shard that is whole and of these videos and settings, else None."""
    sidecar = read_sidecar(path)
    if sidecar is None or sidecar["settings"] != settings or sidecar["entries_sha256"] != entries_sha256(entries):
        return None
    return None if fault(path, sidecar) else sidecar


def fault(path: Path, expected: Sidecar | ShardLine, *, content: bool = True) -> str | None:
    """Name the fault of a shard's file.

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
