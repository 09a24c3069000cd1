"""The summary of a finished folder: counts, sizes, lengths of the clips, and a contact sheet."""

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from data_prep.finalize import read_lines
from data_prep.shards import RecordLine, read_sidecar
from vfs_jax.data.images import decode_jpeg
from vfs_jax.data.record_fields import ClipRecord, read_manifest
from vfs_jax.data.records import ClipRecords
from vfs_jax.errors import InputError

_BARS = 10
_TILE = 128  # pixels, height of a picture on the contact sheet
_TILES = 4  # pictures of one clip


def describe(out: Path) -> str:
    """Tell counts, sizes, rejects by reason, and a histogram of the clips' lengths.

    Args:
        out: a finalized folder.

    Returns:
        Lines of text.

    Raises:
        InputError: no manifest.
    """
    manifest = read_manifest(out)
    records: list[RecordLine] = []
    for shard in manifest["shards"]:
        sidecar = read_sidecar(out / shard["shard"])
        if sidecar is None:
            raise InputError(f"{out / shard['shard']}.json: is missing or broken; run vfs-prepare verify --out={out}")
        records += sidecar["records"]
    settings = ", ".join(f"{name} {value:g}" for name, value in manifest["settings"].items())
    frames = np.array([record["frames"] for record in records])
    seconds = np.array([record["seconds"] for record in records])
    size = manifest["bytes"]
    lines = [
        f"{out}: {manifest['records']} records + {manifest['rejects']} rejects from {manifest['videos']} videos",
        f"settings: {settings}",
        f"{len(manifest['shards'])} shards, {size / 1e6:.1f} MB, {size / manifest['records'] / 1e3:.1f} kB a clip, "
        f"{size / manifest['frames'] / 1e3:.2f} kB a frame",
        f"{manifest['frames']} frames, {seconds.sum() / 3600:.2f} hours",
    ]
    reasons = Counter(reject["reason"] for reject in read_lines(out, "rejects"))
    lines += [f"rejected {count}: {reason}" for reason, count in reasons.most_common()]
    lines += ["frames a clip:", *_histogram(frames)]
    return "\n".join(lines)


def _histogram(values: np.ndarray) -> list[str]:
    counts, edges = np.histogram(values, bins=min(_BARS, int(np.ptp(values)) + 1))
    return [
        f"{edges[bar]:8.0f} - {edges[bar + 1]:6.0f} {'#' * -(-40 * int(count) // int(counts.max())):40} {count}"
        for bar, count in enumerate(counts)
    ]


def contact_sheet(out: Path, *, clips: int = 16) -> Image.Image:
    """Draw a row of frames, from the first to the last, for each of some clips spread over the folder.

    Args:
        out: a finalized folder.
        clips: at most so many rows.

    Returns:
        An RGB picture.

    Raises:
        InputError: the folder is not whole.
    """
    records = ClipRecords(out)
    numbers = np.unique(np.linspace(0, len(records) - 1, min(clips, len(records))).round().astype(int))
    rows = [_row(records[number]) for number in numbers]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _row(clip: ClipRecord) -> Image.Image:
    count = len(clip["frames"])
    chosen = np.unique(np.linspace(0, count - 1, min(_TILES, count)).round().astype(int))
    width = max(1, round(clip["width"] * _TILE / clip["height"]))
    row = Image.new("RGB", ((width + 2) * len(chosen), _TILE + 18), "white")
    label = f"{clip['id']}   label {clip['label']}   {count} frames   {clip['width']}x{clip['height']}"
    ImageDraw.Draw(row).text((2, 2), label, fill="black")
    for column, number in enumerate(chosen):
        frame = Image.fromarray(decode_jpeg(clip["frames"][number]))
        row.paste(frame.resize((width, _TILE)), ((width + 2) * column, 16))
    return row
