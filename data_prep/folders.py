"""Files below a folder, links followed, each found once; and which of them are videos, by name or by content."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

VIDEO_SUFFIXES = (
    *(".264", ".265", ".3g2", ".3gp", ".amv", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265"),
    *(".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mpv", ".mts", ".mxf", ".nut", ".obu", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm"),
    *(".wmv", ".y4m"),
)
# Sound alone, and downloads that have not ended, look like videos inside.
_NO_VIDEO = (".crdownload", ".download", ".m4a", ".m4b", ".mka", ".part", ".weba", ".wma", ".ytdl")
_BEGINNINGS = (
    *(b"\x1a\x45\xdf\xa3", b"FLV\x01", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"\x06\x0e\x2b\x34"),  # mkv, flv, asf, mxf
    *(b"GIF87a", b"GIF89a", b"YUV4MPEG2", b"DKIF", b".RMF", b"nut/multimedia container"),
    *(b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"),  # MPEG: program and video streams
    *(b"\x00\x00\x00\x01\x67", b"\x00\x00\x00\x01\x09", b"\x00\x00\x00\x01\x40\x01"),  # h264, hevc
)
# MP4 files of sound and of still pictures, by the brand in their first box.
_OTHER_BRANDS = (b"M4A ", b"M4B ", b"avif", b"heic", b"heix", b"mif1")


def walk_once(folder: Path, on_error: Callable[[OSError], object]) -> Iterator[tuple[Path, list[str]]]:
    """Walk a folder and all below it; links to folders are followed, each folder is visited once.

    Args:
        folder: where to begin.
        on_error: called with what the system says of a folder that cannot be read.

    Yields:
        Each folder and the names of the files in it, sorted. Of a folder that lies below and is also linked, the place
        where it lies.
    """
    visited, waiting = set(), [folder]
    while waiting:
        for parent, folders, files in os.walk(waiting.pop(0), onerror=on_error):
            status = os.stat(parent)
            if (status.st_dev, status.st_ino) in visited:
                folders.clear()
                continue
            visited.add((status.st_dev, status.st_ino))
            folders.sort()
            waiting += [Path(parent, name) for name in folders if os.path.islink(os.path.join(parent, name))]
            yield Path(parent), sorted(files)


def is_video(path: Path) -> bool:
    """Return whether a file is a video by its suffix, or else by its first bytes."""
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return True
    if suffix in _NO_VIDEO or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    if head[4:8] == b"ftyp":
        return head[8:12] not in _OTHER_BRANDS
    if head.startswith(b"OggS"):
        return b"theora" in head or b"OVP80" in head
    packets = [head[start : start + 2 * step + 1 : step] for start, step in ((0, 188), (4, 192))]  # MPEG-TS
    return head.startswith(_BEGINNINGS) or head[:4] + head[8:12] == b"RIFFAVI " or b"GGG" in packets
