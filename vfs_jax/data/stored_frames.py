"""Reading of single frames of a record without the rest: a 10 s clip has 300 of them and training wants eight.

No reader of ArrayRecord gives parts of a record. But a shard that vfs-prepare wrote holds each record as it is, one a
chunk and uncompressed (github google/riegeli, doc/riegeli_records_file_format.md), and the record begins with an index
of its frames. TFDS, which asks for the fields it knows, passes over that one.

  chunk header | frame_index | frames: JPEG, JPEG, ... | height, id, label, ... | chunk header | ...
"""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsIndex, overload

import numpy as np
from tensorflow_datasets.proto import tf_feature_pb2

from vfs_jax.data.record_fields import ClipRecord, read_fields

# A record's fields are written in the order of their names: this one is the first.
INDEX_FIELD = "frame_index"
# A line a frame and one for all that follows the frames: where it begins, counted from the first frame's tag; how many
# bytes it has; their checksum.
_INDEX = np.dtype([("offset", "<u4"), ("size", "<u4"), ("crc32", "<u4")])

# Every 64 KiB of a file begin with a block header, wherever that falls. Places below do not count them.
_BLOCK_HEADER = 24
_BLOCK_CONTENT = (1 << 16) - _BLOCK_HEADER
_CHUNK = np.dtype(
    [("hash", "<u8"), ("size", "<u8"), ("data_hash", "<u8"), ("type_and_records", "<u8"), ("decoded_size", "<u8")]
)
_ONE_RECORD = 1 << 8 | ord("r")


def index_frames(frames: Sequence[bytes], rest: bytes) -> bytes:
    """Return the index of a record.

    Args:
        frames: its JPEG files.
        rest: the fields that follow them, serialized.

    >>> len(index_frames([b"one", b"another"], b"rest"))
    36
    """
    sizes = np.array([len(frame) for frame in frames])
    # Before each frame stand a tag and the size, seven bits a byte.
    heads = 2 + (sizes >= 1 << 7) + (sizes >= 1 << 14) + (sizes >= 1 << 21) + (sizes >= 1 << 28)
    ends = np.cumsum(heads + sizes)
    lines = [*zip(ends - sizes, sizes, map(zlib.crc32, frames), strict=True), (ends[-1], len(rest), zlib.crc32(rest))]
    return np.array(lines, _INDEX).tobytes()


class StoredFrames(Sequence[bytes]):
    """The JPEG files of one record; each is read, and held to its checksum, when it is asked for.

    Pickled, it is a list. Asking raises ValueError where a frame is not the one that was written.
    """

    def __init__(self, file: "_OpenShard", place: int, index: np.ndarray) -> None:
        self._file, self._place, self._index = file, place, index

    def __len__(self) -> int:
        return len(self._index) - 1

    @overload
    def __getitem__(self, number: SupportsIndex) -> bytes: ...

    @overload
    def __getitem__(self, number: slice) -> list[bytes]: ...

    def __getitem__(self, number: SupportsIndex | slice) -> bytes | list[bytes]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        return self._read(range(len(self))[number])

    def _read(self, line: int) -> bytes:
        offset, size, crc32 = self._index[line].item()
        data = self._file.read(self._place + offset, size)
        if zlib.crc32(data) != crc32:
            raise ValueError(f"frame {line} is damaged")
        return data

    def rest(self) -> bytes:
        """Return what follows the frames in their record."""
        return self._read(len(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __reduce__(self) -> tuple[type[list], tuple[list[bytes]]]:
        return list, (list(self),)


class IndexedShard:
    """A shard whose records can be read in parts. It holds no file open: sets have more shards than processes may open.

    Args:
        path: of the shard.
        count: how many records it holds.

    Raises:
        ValueError: it is not laid out as above; TFDS may read it all the same.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        self._places: list[int] = []  # where each record begins
        file = _OpenShard(path)
        place = _CHUNK.itemsize  # the first chunk is a signature without content
        while len(self._places) < count:
            # A record's chunk: header, compression (0: none), size of the list of sizes, that list, the record.
            head = file.read(place, _CHUNK.itemsize + 16)
            chunk = np.frombuffer(head, _CHUNK, count=1)[0]
            end = place + _CHUNK.itemsize + int(chunk["size"])
            size, begin = _varint(head, _CHUNK.itemsize + 2)
            if chunk["type_and_records"] != _ONE_RECORD or head[_CHUNK.itemsize] or place + begin + size != end:
                raise ValueError(f"{path}: is not an uncompressed ArrayRecord of one record a group")
            self._places.append(place + begin)
            place = end

    def read(self, number: int) -> ClipRecord:
        """Read a record, all but its frames.

        Args:
            number: of the record in the shard.

        Returns:
            The record; its frames are `StoredFrames`.

        Raises:
            ValueError: it has no index, or is damaged.
            OSError: it cannot be read.
        """
        file = _OpenShard(self._path)
        begin = self._places[number]
        try:
            head = file.read(begin, 64)
            name, at, after = _field(head, _varint(head, 1)[1])  # within the one field that holds all of them
            if name != INDEX_FIELD.encode():
                raise ValueError(f"{self._path}: a record without {INDEX_FIELD}")
            content = file.read(begin + at, after - at + 64)
            index = np.frombuffer(content[: after - at], _INDEX, offset=_varint(content, 1)[1])
            _, place, _ = _field(content, after - at)
            frames = StoredFrames(file, begin + at + place, index)
            return read_fields(tf_feature_pb2.Features.FromString(frames.rest()), frames)
        except IndexError as error:
            raise ValueError(f"{self._path}: a record is damaged ({error})") from None


class _OpenShard:
    """A file without its block headers, open as long as somebody holds it."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDONLY)
        self._bytes = os.fstat(self._handle).st_size

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)

    def read(self, place: int, size: int) -> bytes:
        block, within = divmod(place, _BLOCK_CONTENT)
        start = place + (block + 1) * _BLOCK_HEADER
        headers = max(0, within + size - 1) // _BLOCK_CONTENT  # in between
        length = size + headers * _BLOCK_HEADER
        if size < 0 or start + length > self._bytes:
            raise ValueError("a record reaches beyond its file")
        data = os.pread(self._handle, length, start)
        if headers:
            first = _BLOCK_CONTENT - within
            rest = range(first + _BLOCK_HEADER, length, _BLOCK_HEADER + _BLOCK_CONTENT)
            data = b"".join([data[:first], *(data[at : at + _BLOCK_CONTENT] for at in rest)])
        return data


def _field(data: bytes, at: int) -> tuple[bytes, int, int]:
    """Return the field at a place: its name, where its list of values begins and where it ends."""
    length, at = _varint(data, at + 1)
    end = at + length
    name = data[at + 2 : at + 2 + data[at + 1]]
    at += 2 + len(name)
    for _ in range(2):  # the feature, and the list in it
        _, at = _varint(data, at + 1)
    return name, at, end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number in groups of seven bits, the lowest first, and where it ends."""
    value = shift = 0
    while data[at] > 127:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1
