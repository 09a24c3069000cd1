"""The files of videos: on the disk, or unpacked from an archive that is read from its start to its end."""

import itertools
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.index import Entry
from vfs_jax.data.video_files import VideoError


def open_videos(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Path | VideoError]]:
    """Give a file for each video, or the reason why there is none.

    An archive is passed once for each run of neighbors in it; one video at a time lies unpacked, among the temporary
    files.

    Args:
        entries: of one shard.

    Yields:
        Each entry once, archives in the order of their members. A file from an archive is gone at the next step.
    """
    for archive, group in itertools.groupby(entries, key=lambda entry: entry.archive):
        if archive:
            yield from _unpack(Path(archive), list(group))
        else:
            yield from ((entry, Path(entry.path)) for entry in group)


def _unpack(archive: Path, entries: Sequence[Entry]) -> Iterator[tuple[Entry, Path | VideoError]]:
    wanted = {entry.path: entry for entry in entries}
    reason = f"is not in {archive} any more"
    with tempfile.TemporaryDirectory(prefix="vfs_prepare_") as folder:
        file = Path(folder, "video")
        try:
            with tarfile.open(archive, "r|*") as members:
                for member in members:
                    content = members.extractfile(member) if member.isfile() and member.name in wanted else None
                    if content is None:
                        continue
                    with file.open("wb") as target:
                        shutil.copyfileobj(content, target, 1 << 20)
                    yield wanted.pop(member.name), file
                    if not wanted:
                        return
        except (tarfile.TarError, EOFError, OSError) as error:
            reason = f"{archive} cannot be read to its end: {error}"
    for entry in wanted.values():
        yield entry, VideoError(reason)


def list_archive(archive: Path) -> list[str]:
    """Name the files in a tar archive, compressed or not, in their order."""
    with tarfile.open(archive, "r|*") as members:
        return [member.name for member in members if member.isfile()]
