"""The check of a finished folder against its manifest: checksums of everything, and the content of sampled clips."""

import contextlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tqdm
from array_record.python import array_record_module

from data_prep.index import index_sha256
from data_prep.record import parse
from data_prep.shards import DATASET, RecordLine, fault, read_sidecar
from vfs_jax.data.images import decode_jpeg
from vfs_jax.data.record_fields import ClipRecord, Manifest, ShardLine, read_manifest
from vfs_jax.data.text import read_text


def verify(out: Path, *, sample: int = 100) -> list[str]:
    """Check every shard of OUT/manifest.json.

    Args:
        out: a finalized folder.
        sample: how many clips to decode, spread evenly; -1 for all of them.

    Returns:
        The faults, one line each: missing, truncated, damaged and extra shards, the clips that damage reaches, clips
        that do not decode to what their record says. Empty where all is well.

    Raises:
        InputError: no manifest.
    """
    manifest = read_manifest(out)
    faults = []
    if index_sha256(out) != manifest["index_sha256"]:
        faults.append(f"{out / 'index.jsonl'}: is not the index that the manifest was made from")
    faults += _metadata_faults(out, manifest)
    every = 1 if sample < 0 else max(1, manifest["records"] // sample) if sample else 0
    position, tasks = 0, []
    for shard in manifest["shards"]:
        tasks.append((out / shard["shard"], shard, -position % every if every else 0, every))
        position += shard["count"]
    # Threads use all cores: reading, checksums and decoding let go of the interpreter.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        done = pool.map(lambda task: _shard_faults(*task), tasks)
        for found in tqdm.tqdm(done, total=len(tasks), desc="verify", unit="shard"):
            faults += found
    listed = {shard["shard"] for shard in manifest["shards"]}
    pattern = re.compile(rf"{DATASET}-.*array_record-\d+-of-\d+")
    faults += [
        f"{file}: is not in the manifest; delete it"
        for file in sorted(out.iterdir())
        if pattern.fullmatch(file.name) and file.name not in listed
    ]
    return faults


def _shard_faults(path: Path, expected: ShardLine, first: int, every: int) -> list[str]:
    found = fault(path, expected)
    if found:
        return [found, *_damaged_clips(path)]
    return list(_check_clips(path, first=first, every=every)) if every else []


def _metadata_faults(out: Path, manifest: Manifest) -> Iterator[str]:
    """Compare the files that TFDS reads beside the shards, and the lists of rejects and warnings, with the manifest."""
    if not (out / "features.json").is_file():
        yield f"{out / 'features.json'}: is missing"
    path = out / "dataset_info.json"
    try:
        lengths = [int(length) for length in json.loads(read_text(path))["splits"][0]["shardLengths"]]
    except (OSError, ValueError, LookupError, TypeError):
        yield f"{path}: is missing or broken"
    else:
        if lengths != [shard["count"] for shard in manifest["shards"]]:
            yield f"{path}: lists other numbers of clips than the manifest"
    for name, count in (("rejects", manifest["rejects"]), ("warnings", manifest.get("warnings", 0))):
        path = out / f"{name}.jsonl"
        listed = len(read_text(path).splitlines()) if path.is_file() else 0
        if listed != count:
            yield f"{path}: lists {listed} {name}, the manifest {count}"


def _damaged_clips(path: Path) -> list[str]:
    """Name the clips of a damaged shard whose bytes are no longer those that were written."""
    sidecar = read_sidecar(path)
    if sidecar is None or not path.is_file():
        return []
    reader = array_record_module.ArrayRecordReader(os.fspath(path))
    faults = []
    for number, record in enumerate(sidecar["records"]):
        try:
            whole = zlib.crc32(reader.read([number])[0]) == record["crc32"]
        except RuntimeError:
            whole = False
        if not whole:
            faults.append(f"{path}: clip {record['id']} is damaged")
    with contextlib.suppress(RuntimeError):  # close repeats what is wrong with the file
        reader.close()
    return faults


def _check_clips(path: Path, *, first: int, every: int) -> Iterator[str]:
    sidecar = read_sidecar(path)
    if sidecar is None:
        yield f"{path}.json: is missing or broken; the records themselves are whole"
        return
    reader = array_record_module.ArrayRecordReader(os.fspath(path))
    try:
        for number in range(first, sidecar["count"], every):
            data = reader.read([number])[0]
            found = _clip_fault(parse(data), sidecar["records"][number])
            if found:
                yield f"{path}: clip {sidecar['records'][number]['id']} {found}"
    finally:
        reader.close()


def _clip_fault(clip: ClipRecord, record: RecordLine) -> str | None:
    if clip["id"] != record["id"]:
        return f"is in the record of {clip['id']}"
    counts = {len(clip["frames"]), len(clip["times"]), len(clip["source_frames"]), record["frames"]}
    if len(counts) > 1:
        return f"has {len(clip['frames'])} frames, {len(clip['times'])} times, {record['frames']} expected"
    if np.any(np.diff(clip["times"]) <= 0):
        return "has times that do not increase"
    for number, frame in enumerate(clip["frames"]):
        try:
            size = decode_jpeg(frame).shape[:2]
        except ValueError:
            return f"has a frame that does not decode ({number})"
        if size != (clip["height"], clip["width"]):
            return f"has a frame of another size ({number})"
    return None
