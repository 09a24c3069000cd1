"""The end of a conversion: the manifest, once every video of the index is a record, or several, or a reject."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import tensorflow_datasets as tfds

from data_prep.index import ShardTask, index_sha256, read_entries, read_tasks
from data_prep.shards import DATASET, Reject, Sidecar, fault, read_sidecar, shard_name
from vfs_jax.data.record_fields import FEATURES, Manifest, ShardLine
from vfs_jax.data.text import read_text, to_json, write_text
from vfs_jax.errors import InputError

VERSION = "1.0.0"
_SHORT = 100  # frames; training draws fewer of a clip


def finalize(out: Path) -> Manifest:
    """Write OUT/manifest.json, OUT/rejects.jsonl, OUT/warnings.jsonl and the metadata that TFDS reads.

    Args:
        out: folder of the index and of all its shards.

    Returns:
        The manifest.

    Raises:
        InputError: a shard is missing, or records and rejects together are not the index; the message names videos.
    """
    tasks = read_tasks(out)
    shards: list[ShardLine] = []
    rejects: list[Reject] = []
    warnings: list[Reject] = []
    settings: list[Mapping[str, float]] = []
    short_clips: Counter[int] = Counter()
    missing: list[ShardTask] = []
    for task in tasks:
        path = out / shard_name(task.shard, len(tasks))
        sidecar = read_sidecar(path)
        if sidecar is None or fault(path, sidecar, content=False):
            missing.append(task)
            continue
        _check_ids(out, task, path, sidecar)
        settings.append(sidecar["settings"])
        shards.append(
            {
                "shard": sidecar["shard"],
                "count": sidecar["count"],
                "bytes": sidecar["bytes"],
                "sha256": sidecar["sha256"],
                "frames": sum(record["frames"] for record in sidecar["records"]),
                "rejects": len(sidecar["rejects"]),
            }
        )
        short_clips.update(record["frames"] for record in sidecar["records"] if record["frames"] < _SHORT)
        rejects += sidecar["rejects"]
        warnings += sidecar.get("warnings", [])
    if missing:
        videos = sum(task.videos for task in missing)
        first = read_entries(out, missing[0])[0].id
        numbers = ", ".join(str(task.shard) for task in missing[:10]) + (" ..." if len(missing) > 10 else "")
        raise InputError(
            f"{out}: {len(missing)} of {len(tasks)} shards are missing ({numbers}), {videos} videos from {first} on; "
            f"run vfs-prepare convert --out={out} again"
        )
    different = next((other for other in settings if other != settings[0]), None)
    if different is not None:
        raise InputError(f"{out}: shards of different settings, {settings[0]} and {different}; run convert again")
    manifest: Manifest = {
        "version": VERSION,
        "settings": settings[0],
        "index_sha256": index_sha256(out),
        "videos": sum(task.videos for task in tasks),
        "records": sum(shard["count"] for shard in shards),
        "rejects": len(rejects),
        "warnings": len(warnings),
        "short_clips": {str(length): count for length, count in sorted(short_clips.items())},
        "not_on_disk": _not_on_disk(out),
        "frames": sum(shard["frames"] for shard in shards),
        "bytes": sum(shard["bytes"] for shard in shards),
        "shards": shards,
    }
    for name, lines in (("rejects", rejects), ("warnings", warnings)):
        write_text(out / f"{name}.jsonl", "".join(to_json(line) + "\n" for line in lines))
    _write_tfds_metadata(out, shards)
    write_text(out / "manifest.json", to_json(manifest, indent=1) + "\n")  # last: it says that all is there
    return manifest


def _not_on_disk(out: Path) -> int:
    path = out / "not_on_disk.txt"  # index writes it where a table says what there should be
    return len(read_text(path).splitlines()) if path.exists() else 0


def shortfall(out: Path, *, videos: int, rejects: int = 0, warnings: int = 0) -> list[str]:
    """Say what the records lack: a model trained on an eighth of the videos looks like one that trained badly.

    Args:
        out: folder of the index.
        videos: in the index.
        rejects: of them.
        warnings: of them.

    Returns:
        Up to three lines, none where nothing is amiss.
    """
    lines, missing = [], _not_on_disk(out)
    if missing:
        total = missing + videos
        lines.append(
            f"{missing} of {total} videos of the table are not on the disk ({missing / total:.1%}); "
            f"{out / 'not_on_disk.txt'} names them"
        )
    if rejects:
        lines.append(
            f"{rejects} videos or clips of {videos} videos were rejected ({rejects / videos:.1%}); "
            f"{out / 'rejects.jsonl'} says why"
        )
    if warnings:
        first = read_lines(out, "warnings")[0]
        lines.append(
            f"{warnings} of {videos} videos decode in part ({first['video']}: {first['reason']}); "
            f"{out / 'warnings.jsonl'} says which"
        )
    return lines


def _check_ids(out: Path, task: ShardTask, path: Path, sidecar: Sidecar) -> None:
    listed = {entry.id for entry in read_entries(out, task)}
    lines = [*sidecar["records"], *sidecar["rejects"]]
    accounted = {line["video"] for line in lines}
    doubled = {name for name, count in Counter(line["id"] for line in lines).items() if count > 1}
    faults = {"missing": listed - accounted, "not in the index": accounted - listed, "twice": doubled}
    named = "; ".join(f"{fault}: {', '.join(sorted(ids))}" for fault, ids in faults.items() if ids)
    if named:
        raise InputError(f"{path}: does not match the index ({named}); run vfs-prepare convert --out={out} again")


def _write_tfds_metadata(out: Path, shards: list[ShardLine]) -> None:
    split = tfds.core.SplitInfo(
        name="train",
        shard_lengths=[shard["count"] for shard in shards],
        num_bytes=sum(shard["bytes"] for shard in shards),
    )
    tfds.folder_dataset.write_metadata(
        data_dir=out,
        features=FEATURES,
        split_infos=[split],
        version=VERSION,
        filename_template=tfds.core.ShardedFileTemplate(
            data_dir=out, dataset_name=DATASET, split="train", filetype_suffix="array_record"
        ),
        check_data=False,
        description="Video clips as JPEG frames, one record a clip.",
    )


def read_lines(out: Path, name: str) -> list[Reject]:
    """Read OUT/rejects.jsonl or OUT/warnings.jsonl: id, video, path and reason of each."""
    path = out / f"{name}.jsonl"
    lines = read_text(path).splitlines()
    try:
        found: list[Reject] = [json.loads(line) for line in lines]
        whole = all(each.keys() >= Reject.__required_keys__ for each in found)
    except (ValueError, AttributeError):
        whole = False
    if not whole:
        raise InputError(f"{path}: has a damaged line; run vfs-prepare finalize --out={out} again")
    return found
