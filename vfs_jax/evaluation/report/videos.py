"""Overlay videos: one's own video with the propagated labels drawn over it."""

import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from vfs_jax.data.images import read_index_mask
from vfs_jax.data.video_files import VideoWriter, open_video
from vfs_jax.evaluation.report.overlays import LABEL_COLORS, draw_over


def write_overlay(video: Path, out: Path, bones: Sequence[tuple[int, int]] = ()) -> None:
    """Write OUT/overlay.mp4, without sound: a video with the results of `runs.own_video.carry` over its frames.

    Args:
        video: a file, or a folder of frames.
        out: holds masks/00000.png, ... or points.csv; as many frames are drawn as have results.
        bones: pairs of points that are joined by a line.
    """
    rate, _, frames = open_video(video)
    drawn = _draw_points(out, frames, bones) if (out / "points.csv").exists() else _draw_masks(out, frames)
    first = next(drawn)
    temporary = out / ".overlay.mp4"
    with VideoWriter(temporary, (first.shape[0], first.shape[1]), rate) as writer:
        writer.write(first)
        for frame in drawn:
            writer.write(frame)
    temporary.replace(out / "overlay.mp4")


def _draw_masks(out: Path, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the frames with their masks over them."""
    for number, frame in enumerate(frames):
        path = out / "masks" / f"{number:05d}.png"
        if not path.exists():
            return
        yield draw_over(frame, read_index_mask(path))


def _draw_points(out: Path, frames: Iterator[np.ndarray], bones: Sequence[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Yield the frames with their visible points and bones."""
    with (out / "points.csv").open(newline="") as file:
        found = itertools.groupby(csv.DictReader(file), key=lambda row: row["frame"])
        for (_, rows), frame in zip(found, frames, strict=False):
            places = [(float(row["x"]), float(row["y"])) if row["visible"] == "1" else (np.nan, np.nan) for row in rows]
            points, shown = np.array(places), frame.copy()
            for index, (a, b) in enumerate(bones):
                if not np.isnan(points[[a, b]]).any():
                    begin, end = (tuple(round(float(value)) for value in points[joint]) for joint in (a, b))
                    color = LABEL_COLORS[index % len(LABEL_COLORS)].tolist()
                    cv2.line(shown, begin, end, color, max(2, shown.shape[1] // 300))
            yield draw_over(shown, points)
