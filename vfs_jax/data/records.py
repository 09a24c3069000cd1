"""Prepared clips, read at random without TensorFlow."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import tensorflow_datasets as tfds

from vfs_jax.errors import InputError


class ClipRecords(Sequence[dict[str, Any]]):
    """The clips of a folder that vfs-prepare wrote.

    A sequence for grain or a loop. An item is a dict of
      id: str.
      label: int.
      height, width: int, pixels of every frame.
      source_frames: int64 [n], number of each frame in the source.
      times: float64 [n], seconds since the first frame.
      frames: list of n JPEG files, bytes.
      source_sha256: str.

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
        _check(self._directory)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TFDS asks protobuf in a way that protobuf outgrew
            builder = tfds.builder_from_directory(self._directory)
        self._source = builder.as_data_source("train")

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:  # type: ignore[override]  # no slices
        number = index.__index__()
        if not 0 <= number < len(self):
            raise IndexError(f"{number}: there are {len(self)} clips")
        record = self._source[number]
        return {
            "id": record["id"].decode(),
            "label": int(record["label"]),
            "height": int(record["height"]),
            "width": int(record["width"]),
            "source_frames": np.array(record["source_frames"], np.int64),
            "times": np.array(record["times"], np.float64),
            "frames": list(record["frames"]),
            "source_sha256": record["source_sha256"].decode(),
        }

    def __reduce__(self) -> tuple[type["ClipRecords"], tuple[Path]]:
        return ClipRecords, (self._directory,)

    def __repr__(self) -> str:
        return f"ClipRecords({str(self._directory)!r})"


def _check(directory: Path) -> None:
    path = directory / "manifest.json"
    if not path.is_file():
        raise InputError(f"{directory}: no manifest.json in it; run vfs-prepare all --videos=DIR --out={directory}")
    try:
        shards = json.loads(path.read_text())["shards"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is not a manifest; run vfs-prepare finalize --out={directory} again") from None
    for shard in shards:
        file = directory / shard["shard"]
        size = file.stat().st_size if file.is_file() else None
        if size != shard["bytes"]:
            state = "is missing" if size is None else f"has {size} of {shard['bytes']} bytes"
            raise InputError(f"{file}: {state}; run vfs-prepare convert and finalize --out={directory} again")
