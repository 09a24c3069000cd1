"""Reader of prepared clips, in any order and without TensorFlow."""

import bisect
import hashlib
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsIndex

import tensorflow_datasets as tfds

from vfs_jax.data.record_fields import ClipRecord, Manifest, read_manifest, read_values
from vfs_jax.data.stored_frames import IndexedShard
from vfs_jax.errors import InputError


class ClipRecords(Sequence[ClipRecord]):
    """The clips of a folder that vfs-prepare wrote.

    A sequence of `ClipRecord` for grain or a loop. Each frame is read when it is asked for; records without an index of
    their frames, those of earlier versions, are read whole.

    It can be pickled, so that loader processes can have it.

    Args:
        directory: holds manifest.json and the shards it lists.

    Raises:
        InputError: no manifest there, or a shard that is missing or not of the size in the manifest.

    Example:
        >>> ClipRecords("nowhere")
        Traceback (most recent call last):
        ...
        vfs_jax.errors.InputError: nowhere: no manifest.json in it; run vfs-prepare all --videos=DIR --out=nowhere
    """

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)
        self._manifest = _check(self._directory)
        shards = self._manifest["shards"]
        self._paths = [self._directory / shard["shard"] for shard in shards]
        self._ends = list(itertools.accumulate(shard["count"] for shard in shards))
        self._indexed: dict[int, IndexedShard] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TFDS asks protobuf in a way that protobuf outgrew
            builder = tfds.builder_from_directory(self._directory)
        self._source = builder.as_data_source("train")

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: SupportsIndex) -> ClipRecord:  # type: ignore[override]  # no slices
        number = index.__index__()
        if not 0 <= number < len(self):
            raise IndexError(f"{number}: there are {len(self)} clips")
        return self._in_parts(number) or self._whole(number)

    def _in_parts(self, number: int) -> ClipRecord | None:
        """Return the record with its frames left on the disk; None where only TFDS can read it, or say why not."""
        shard = bisect.bisect_right(self._ends, number)
        first = self._ends[shard - 1] if shard else 0
        try:
            if shard not in self._indexed:
                self._indexed[shard] = IndexedShard(self._paths[shard], self._ends[shard] - first)
            return self._indexed[shard].read(number - first)
        except (ValueError, LookupError):
            return None

    def _whole(self, number: int) -> ClipRecord:
        stored = self._source[number]
        return read_values(stored | {"frames": list(stored["frames"])})

    @property
    def checksum(self) -> str:
        """Of all records in their order, wherever they lie: SHA-256 of the shards' checksums in the manifest."""
        return hashlib.sha256("".join(shard["sha256"] for shard in self._manifest["shards"]).encode()).hexdigest()

    def shortfall(self, frames: int = 0) -> str:
        """Tell in one line how many videos the records lack, and how many clips are short; "" where nothing is amiss.

        Args:
            frames: that are drawn from a clip; of a shorter one some are drawn more than once.
        """
        missing, rejects = self._manifest.get("not_on_disk", 0), self._manifest.get("rejects", 0)
        partial = self._manifest.get("warnings", 0)
        short = sum(count for length, count in self._manifest.get("short_clips", {}).items() if int(length) < frames)
        said = []
        if missing or rejects or partial:
            videos = self._manifest["videos"] + missing
            in_part = f", {partial} videos decode in part" if partial else ""
            said.append(
                f"of {videos} videos {missing} were not on the disk ({missing / videos:.1%}) and {rejects} videos or "
                f"clips were rejected{in_part}; vfs-prepare show {self._directory} tells more"
            )
        if short:
            said.append(f"{short} of {len(self)} clips have fewer than {frames} frames, of which some are drawn twice")
        return "; ".join(said)

    def __reduce__(self) -> tuple[type["ClipRecords"], tuple[Path]]:
        return ClipRecords, (self._directory,)

    def __repr__(self) -> str:
        return f"ClipRecords({str(self._directory)!r})"


def _check(directory: Path) -> Manifest:
    """Read the manifest, and check that its shards are all there and of the size it says."""
    if not (directory / "manifest.json").is_file():
        raise InputError(f"{directory}: no manifest.json in it; run vfs-prepare all --videos=DIR --out={directory}")
    manifest = read_manifest(directory)
    for shard in manifest["shards"]:
        file = directory / shard["shard"]
        size = file.stat().st_size if file.is_file() else None
        if size != shard["bytes"]:
            state = "is missing" if size is None else f"has {size} of {shard['bytes']} bytes"
            raise InputError(f"{file}: {state}; run vfs-prepare convert and finalize --out={directory} again")
    return manifest
