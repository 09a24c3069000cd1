"""Kinetics-400/600/700 as CVDF lays it out: annotation tables, video files or tar archives of them, replacements."""

import csv
import dataclasses
import io
import os
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import tqdm

from data_prep.folders import VIDEO_SUFFIXES, walk_once
from data_prep.index import Entry
from data_prep.sources import list_archive
from vfs_jax.data.text import read_text
from vfs_jax.errors import InputError

# A file is known by the eleven characters of a YouTube id that its name starts with.
_ID_LENGTH = 11
_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")


@dataclasses.dataclass(frozen=True)
class KineticsIndex:
    """What is to be converted, and what does not fit together.

    Attributes:
        entries: videos that are both in the table and on the disk.
        classes: sorted names; a label is a number in this list.
        not_on_disk: lines of the table (youtube id, start, end) without a file.
        not_in_table: files without a line in the table.
        doubled: files beside another one of the same line, which was taken instead.
    """

    entries: list[Entry]
    classes: list[str]
    not_on_disk: list[str]
    not_in_table: list[str]
    doubled: list[str]


@dataclasses.dataclass(frozen=True)
class _File:
    path: str  # absolute, or the member's name
    archive: str
    replacement: bool

    @property
    def stem(self) -> str:
        return PurePosixPath(self.path).stem

    @property
    def shown(self) -> str:
        return f"{self.archive}:{self.path}" if self.archive else self.path


def index_kinetics(folder: Path, split: str) -> KineticsIndex:
    """Match a split's table with the files of a Kinetics folder.

    Args:
        folder: holds annotations/SPLIT.txt, annotations/SPLIT.csv, SPLIT.csv or one *SPLIT*.csv; videos, or tar
            archives of videos, below any folder named SPLIT; and replacements of corrupted ones below any folder whose
            name starts with "replacement", which are preferred.
        split: "train", "val" ("validate") or "test".

    Returns:
        The index, and all that does not fit.

    Raises:
        InputError: no folder, no table, a table of other columns, a line in it twice, an archive that cannot be read,
            or no file of any line.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder that holds annotations and videos")
    if not split:
        raise InputError("split=: is empty; it is train, val or test")
    table = _find_table(folder, split)
    rows = _read_table(table)
    classes = sorted({row["label"] for row in rows})
    labels = {name: number for number, name in enumerate(classes)}
    by_id: dict[str, list[_File]] = defaultdict(list)
    files_in_order = list(_find_files(folder.resolve(), split))
    for file in files_in_order:
        by_id[file.stem[:_ID_LENGTH]].append(file)
    lines_of_id = Counter(row["youtube_id"] for row in rows)

    entries, not_on_disk, doubled, used = [], [], [], set()
    for row in rows:
        youtube_id = row["youtube_id"]
        name = f"{youtube_id}_{int(row['time_start']):06d}_{int(row['time_end']):06d}"
        files = by_id.get(youtube_id, [])
        if lines_of_id[youtube_id] > 1:  # then the times in the name decide
            files = [file for file in files if file.stem == name]
        used.update(files)
        if not files:
            not_on_disk.append(name)
            continue
        chosen, *others = sorted(files, key=lambda file: (not file.replacement, file.stem != name))
        doubled += [file.shown for file in others]
        entries.append(Entry(id=name, path=chosen.path, label=labels[row["label"]], archive=chosen.archive))
    not_in_table = [file.shown for file in files_in_order if file not in used]
    if not entries:
        raise InputError(
            f"{folder}: holds none of the {len(rows)} videos in {table}; unpack or link them below {split}/"
        )
    order = {(file.archive, file.path): number for number, file in enumerate(files_in_order)}
    entries.sort(key=lambda entry: order[entry.archive, entry.path])
    return KineticsIndex(entries, classes, sorted(not_on_disk), sorted(not_in_table), sorted(doubled))


def _find_table(folder: Path, split: str) -> Path:
    # Of Kinetics-600 CVDF calls the .txt complete and the .csv not.
    for name in (f"annotations/{split}.txt", f"annotations/{split}.csv", f"{split}.csv"):
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for path in folder.glob(f"**/*{split}*.csv") if path.name[0] != ".")
    if len(found) != 1:
        several = f"; there are {', '.join(str(path) for path in found[:3])}" if found else ""
        raise InputError(
            f"{folder / 'annotations' / f'{split}.csv'}: no such file{several}; put the split's table there"
        )
    return found[0]


def _read_table(path: Path) -> list[dict[str, str]]:
    with io.StringIO(read_text(path)) as file:
        reader = csv.DictReader(file)
        missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: has no column {', '.join(missing)}; it takes {','.join(_COLUMNS)}")
        rows, seen = [], set()
        for row in reader:
            key = row["youtube_id"], row["time_start"], row["time_end"]
            if not (
                all(row[column] for column in _COLUMNS)
                and row["time_start"].isdecimal()
                and row["time_end"].isdecimal()
            ):
                raise InputError(f"{path}:{reader.line_num}: is not {','.join(_COLUMNS)}")
            if key in seen:
                raise InputError(f"{path}:{reader.line_num}: {'_'.join(key)} is in the table twice; delete one line")
            seen.add(key)
            rows.append(row)
    return rows


def _find_files(folder: Path, split: str) -> Iterator[_File]:
    archives: list[tuple[Path, bool]] = []

    def stop(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror}; mend that and run again")

    for parent, names in walk_once(folder, stop):
        parts = parent.relative_to(folder).parts
        replacement = any(part.startswith("replacement") for part in parts)
        if not (replacement or split in parts):
            continue
        for name in names:
            path = parent / name
            if name.startswith("."):
                continue
            if path.suffix.lower() in VIDEO_SUFFIXES:
                yield _File(os.fspath(path), "", replacement)
            elif name.endswith((".tar", ".tar.gz", ".tgz")):
                archives.append((path, replacement or name.startswith("replacement")))
    yield from _find_in_archives(archives)


def _find_in_archives(archives: Sequence[tuple[Path, bool]]) -> Iterator[_File]:
    def members(archive: Path) -> list[str]:
        try:
            return list_archive(archive)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise InputError(f"{archive}: cannot be read to its end ({error}); download it again") from None

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # decompression leaves Python to the others
        listed = pool.map(members, [archive for archive, _ in archives])
        bar = tqdm.tqdm(
            zip(archives, listed, strict=True), total=len(archives), desc="list archives", disable=not archives
        )
        for (archive, replacement), names in bar:
            for name in names:
                if PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES:
                    yield _File(name, os.fspath(archive), replacement)
