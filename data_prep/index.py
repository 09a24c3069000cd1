"""The index of what there is to convert: one JSON line a video, in a fixed order, each with its shard."""

import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

from data_prep.folders import VIDEO_SUFFIXES, is_video, walk_once
from vfs_jax.data.text import read_text, to_json, write_text
from vfs_jax.errors import InputError

# Enough videos that a shard's overhead does not matter, few enough that a lost one costs minutes.
_VIDEOS_PER_SHARD = 128
_FEWEST_SHARDS = 16


@dataclasses.dataclass(frozen=True)
class Entry:
    """One video to convert.

    Attributes:
        id: unique, stable, valid UTF-8.
        path: of the video file, absolute; or its name in the archive.
        label: class number.
        archive: path of the tar archive that holds the file, "" for none.
    """

    id: str
    path: str
    label: int
    archive: str = ""


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """Where the lines of one shard stand in the index file: what a worker is given instead of the index."""

    shard: int
    offset: int
    size: int
    videos: int


def index_folder(
    folder: Path, *, pass_over: Callable[[str], object] = lambda name: None
) -> tuple[list[Entry], list[str]]:
    """Find every video below a folder, by its suffix or its content.

    Args:
        folder: searched recursively, links to folders followed, each once. The id of a video is its path below it; the
            label is the number of the first folder on that path among all of them, sorted, and 0 where the videos lie
            in the folder itself.
        pass_over: called with each file that is no video, or is hidden and named like one, and each folder that cannot
            be read.

    Returns:
        The entries, and the names of the classes in the order of their labels.

    Raises:
        InputError: no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a folder of video files")
    found: list[Path] = []

    def unreadable(error: OSError) -> None:
        pass_over(f"{Path(error.filename).relative_to(folder)}/ ({error.strerror})")

    for parent, names in walk_once(folder, unreadable):
        for name in names:
            path = Path(parent, name).relative_to(folder)
            hidden = any(part.startswith(".") for part in path.parts)
            if not hidden and is_video(folder / path):
                found.append(path)
            elif not hidden or path.suffix.lower() in VIDEO_SUFFIXES:
                pass_over(_readable(path.as_posix()).replace("\n", "\\n"))
    if not found:
        raise InputError(f"{folder}: no video in it (none of {' '.join(VIDEO_SUFFIXES)}, and none by content)")
    found.sort()
    classes = sorted({_readable(path.parts[0]) if len(path.parts) > 1 else "" for path in found})
    root = folder.resolve()
    return [
        Entry(
            id=_readable(path.as_posix()),
            path=os.fspath(root / path),
            label=classes.index(_readable(path.parts[0]) if len(path.parts) > 1 else ""),
        )
        for path in found
    ], classes


def index_list(file: Path) -> tuple[list[Entry], list[str]]:
    """Read a list of videos: a line is a path, or a path, white space and a label (a whole number).

    Args:
        file: its paths are relative to its own folder, or absolute; the path as written is the video's id.

    Returns:
        The entries, and no class names.

    Raises:
        InputError: no such file, no line in it, or a line that names no file.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; give a text file with a video (and a label) on each line")
    entries, missing = [], []
    for number, line in enumerate(read_text(file, errors="surrogateescape").splitlines(), 1):
        if not line.strip():
            continue
        words = line.rsplit(maxsplit=1)
        labeled = len(words) == 2 and words[1].isdecimal()  # or the last word is part of the path
        name = (words[0] if labeled else line).strip()
        label = int(words[1]) if labeled else 0
        path = file.parent.resolve() / name
        if not path.is_file():
            missing.append(f"{file}:{number}: {name}: no such file")
        entries.append(Entry(_readable(name), os.fspath(path), label))
    if missing:
        more = f" (nor {len(missing) - 1} more of its {len(entries)} files)" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]}{more}; correct the list or take them out")
    if not entries:
        raise InputError(f"{file}: is empty; each line is a video and, if there are classes, its label")
    return entries, []


def _readable(name: str) -> str:
    r"""Return a name as valid UTF-8; bytes that are not become \xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write_index(out: Path, entries: Sequence[Entry], classes: Sequence[str], *, shards: int = 0) -> int:
    """Write OUT/index.jsonl and, where there are classes, OUT/classes.json.

    Args:
        out: made where it does not exist.
        entries: sorted here by id, or by archive and then as they come, which must be the archive's own order; dealt to
            the shards in runs of equal length.
        classes: names in the order of the labels.
        shards: how many, 0 for one per 128 videos and at least 16 (or one a video).

    Returns:
        The number of shards.

    Raises:
        InputError: two videos of one id, or another index is there already.
    """
    doubled = [name for name, count in Counter(entry.id for entry in entries).items() if count > 1]
    if doubled:
        raise InputError(f"{doubled[0]}: the id of more than one video ({len(doubled)} such ids); name each video once")
    if shards < 0:
        raise InputError(f"shards={shards}: takes a number from 1, or 0 to choose by the number of videos")
    count = len(entries)
    shards = min(count, shards or max(_FEWEST_SHARDS, -(-count // _VIDEOS_PER_SHARD)))
    ordered = sorted(entries, key=lambda entry: (entry.archive, "" if entry.archive else entry.id))
    lines = [
        to_json({**dataclasses.asdict(entry), "shard": shard}) + "\n"
        for shard in range(shards)
        for entry in ordered[count * shard // shards : count * (shard + 1) // shards]
    ]
    text = "".join(lines)
    path = out / "index.jsonl"
    if path.exists() and read_text(path) != text:
        raise InputError(f"{path}: is the index of other videos; choose another folder or delete that one")
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    if classes and classes != [""]:
        write_text(out / "classes.json", to_json(list(classes), indent=1) + "\n")
    return shards


def read_tasks(out: Path) -> list[ShardTask]:
    """List the shards of OUT/index.jsonl, in order.

    Raises:
        InputError: there is no index.
    """
    tasks: list[ShardTask] = []
    offset = 0
    with _open_index(out) as lines:
        for line in lines:
            shard = _fields(line, out)["shard"]
            if not tasks or tasks[-1].shard != shard:
                tasks.append(ShardTask(shard, offset, 0, 0))
            tasks[-1] = dataclasses.replace(tasks[-1], size=tasks[-1].size + len(line), videos=tasks[-1].videos + 1)
            offset += len(line)
    if not tasks:
        raise InputError(f"{out / 'index.jsonl'}: is empty; delete it and run vfs-prepare index again")
    return tasks


def read_entries(out: Path, task: ShardTask) -> list[Entry]:
    """Read the entries of one shard."""
    with _open_index(out) as file:
        file.seek(task.offset)
        found = [_fields(line, out) for line in file.read(task.size).splitlines()]
    return [Entry(each["id"], each["path"], each["label"], each["archive"]) for each in found]


def index_sha256(out: Path) -> str:
    """Return the checksum of the index file, which the manifest repeats."""
    with _open_index(out) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_index(out: Path) -> BufferedReader:
    path = out / "index.jsonl"
    if not path.is_file():
        raise InputError(f"{path}: no such file; run vfs-prepare index --videos=DIR --out={out} first")
    return path.open("rb")


def _fields(line: bytes, out: Path) -> dict[str, Any]:
    try:
        fields = json.loads(line)
        if {"id", "path", "label", "archive", "shard"} <= fields.keys():
            return dict(fields)
    except (ValueError, AttributeError):
        pass
    path = out / "index.jsonl"
    raise InputError(f"{path}: has a damaged line ({line[:60]!r}); delete it and run vfs-prepare index again")
