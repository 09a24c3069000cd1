"""Overlay videos: one's own video with labels drawn over its frames."""

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from vfs_jax.data.images import read_index_mask
from vfs_jax.data.text import read_text
from vfs_jax.data.video_files import DecodedFrame, Video, VideoWriter
from vfs_jax.evaluation.report.overlays import color_of, draw_over


def write_video(path: Path, frames: Iterator[DecodedFrame], video: Video) -> None:
    """Write frames as an MP4 without sound, whole or not at all; they are shown when those of the video are.

    Args:
        path: the file.
        frames: RGB, at least one; drawn from as they are written.
        video: gives the rate, the size and the shape of the pixels.
    """
    temporary = path.with_name(f".{path.name}")
    with VideoWriter(temporary, video.size, video.rate, pixel_aspect=video.pixel_aspect) as writer:
        for frame in frames:
            writer.write(frame.image, frame.time, frame.end)
    temporary.replace(path)


def write_overlay(video: Video, out: Path, bones: Sequence[tuple[int, int]] = ()) -> None:
    """Write OUT/overlay.mp4: a video with the results of `runs.own_video.carry` over its frames.

    Args:
        video: what they are of.
        out: holds masks/00000.png, ... or points.csv; as many frames are drawn as have results.
        bones: pairs of points that are joined by a line.
    """
    frames = video.timed_frames()
    drawn = _draw_points(out, frames, bones) if (out / "points.csv").exists() else _draw_masks(out, frames)
    write_video(out / "overlay.mp4", drawn, video)


def _draw_masks(out: Path, frames: Iterator[DecodedFrame]) -> Iterator[DecodedFrame]:
    """Yield the frames with their masks over them."""
    for number, frame in enumerate(frames):
        path = out / "masks" / f"{number:05d}.png"
        if not path.exists():
            return
        yield frame._replace(image=draw_over(frame.image, read_index_mask(path)))


def _draw_points(out: Path, frames: Iterator[DecodedFrame], bones: Sequence[tuple[int, int]]) -> Iterator[DecodedFrame]:
    """Yield the frames with their visible points and bones."""
    with io.StringIO(read_text(out / "points.csv")) as file:
        by_frame = itertools.groupby(csv.DictReader(file), key=lambda row: row["frame"])
        for (_, rows), frame in zip(by_frame, frames, strict=False):
            places = [(float(row["x"]), float(row["y"])) if row["visible"] == "1" else (np.nan, np.nan) for row in rows]
            points, shown = np.array(places), frame.image.copy()
            for index, (a, b) in enumerate(bones):
                if not np.isnan(points[[a, b]]).any():
                    begin, end = (tuple(round(float(value)) for value in points[joint]) for joint in (a, b))
                    cv2.line(shown, begin, end, color_of(index)[:3], max(2, shown.shape[1] // 300))
            yield frame._replace(image=draw_over(shown, points))
