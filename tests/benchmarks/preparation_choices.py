"""What the choices of vfs-prepare rest on: the decoder, and the rate of the frames that are kept.

  python tests/benchmarks/preparation_choices.py --videos=DIR [--rates=0,15,10,5,2,1]

Prints Markdown tables. Decoders that are not installed are left out (pip install decord2). Every figure of a decoder
is of whole clips, from the first frame to the last, on one thread, by CPU time.
"""

import argparse
import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from data_prep.decoding import ClipOptions, decode_clips
from data_prep.index import index_folder
from vfs_jax.data.sampling import sample_frames
from vfs_jax.data.video_files import VideoFile

SEGMENTS = 8  # frames of a clip that a step of the R18 recipe sees
KINETICS_SECONDS, KINETICS_RATE = 10, 30


def decode_with_opencv(path: str) -> int:
    """Decodes a clip to BGR arrays; returns the number of frames, as do the others."""
    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    frames = 0
    while capture.read()[0]:
        frames += 1
    capture.release()
    return frames


def decode_with_pyav(path: str) -> int:
    """See decode_with_opencv; PyAV as vfs-prepare calls it."""
    return sum(1 for _ in VideoFile(Path(path)).frames())


def decode_with_decord(path: str) -> int:
    """See decode_with_opencv; decord2 is the fork that is maintained, under the old import name."""
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    return sum(1 for _ in range(len(reader)) if reader.next().asnumpy().size)


DECODERS: dict[str, tuple[str, Callable[[str], int]]] = {
    "OpenCV": ("cv2", decode_with_opencv),
    "PyAV": ("av", decode_with_pyav),
    "decord2": ("decord", decode_with_decord),
}


def compare_decoders(videos: Path, *, repeat: int) -> list[str]:
    """A table of frames a CPU-second, a row a clip; the best of some passes each."""
    chosen = {name: decode for name, (module, decode) in DECODERS.items() if importlib.util.find_spec(module)}
    lines = [
        f"| frames a CPU-second | {' | '.join(chosen)} |",
        f"| --- |{' --- |' * len(chosen)}",
    ]
    total = dict.fromkeys(chosen, 0.0)
    frames = 0
    for entry in index_folder(videos)[0]:
        rates = []
        counts = set()
        for name, decode in chosen.items():
            seconds = np.inf
            for _ in range(repeat):
                started = time.process_time()
                count = decode(entry.path)
                seconds = min(seconds, time.process_time() - started)
            total[name] += seconds
            counts.add(count)
            rates.append(f"{count / seconds:.0f}" if len(counts) == 1 else f"{count / seconds:.0f} ({count} frames)")
        frames += max(counts)
        lines.append(f"| {entry.id} | {' | '.join(rates)} |")
    return [*lines, f"| all, by time | {' | '.join(f'{frames / seconds:.0f}' for seconds in total.values())} |"]


def compare_rates(videos: Path, rates: Sequence[float], *, short_side: int, quality: int) -> list[str]:
    """A table of bytes, and of what the paper's sampling draws from clips of ten seconds, a row a rate of frames."""
    lines = [
        "| --fps | kB a second of video | of every frame's | frames of 10 s | last s drawn | "
        "different draws of a frame | s between neighbors, mean (least to most) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    whole = None
    for rate in rates:
        size = seconds = 0.0
        for entry in index_folder(videos)[0]:
            options = ClipOptions(short_side=short_side, fps=rate, quality=quality)
            for clip in decode_clips(Path(entry.path), entry.id, entry.label, options, warn=print):
                size += sum(map(len, clip["frames"]))
                seconds += clip["times"][-1] + (clip["times"][-1] / max(1, len(clip["times"]) - 1))
        whole = whole or size
        draws = drawn_times(rate or KINETICS_RATE)
        gaps = np.diff(draws, axis=1)
        gaps = gaps[gaps >= 0]  # without the wrap to frame 0
        lines.append(
            f"| {f'{rate:g}' if rate else f'every frame ({KINETICS_RATE})'} | {size / seconds / 1e3:.0f} "
            f"| {size / whole:.0%} | {int(KINETICS_SECONDS * (rate or KINETICS_RATE))} "
            f"| {draws.max():.2f} | {np.mean([len(np.unique(column)) for column in draws.T]):.0f} "
            f"| {gaps.mean():.2f} ({gaps.min():.2f} to {gaps.max():.2f}) |"
        )
    return lines


def drawn_times(rate: float, draws: int = 4000) -> np.ndarray:
    """Times of the frames that training draws from a clip of ten seconds, float [draws, SEGMENTS], seconds."""
    rng = np.random.default_rng(0)
    frames = int(KINETICS_SECONDS * rate)
    return np.stack([sample_frames(rng, frames, SEGMENTS) for _ in range(draws)]) / rate


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--rates", default="0,15,10,5,2,1")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--short_side", type=int, default=256)
    parser.add_argument("--quality", type=int, default=90)
    given = parser.parse_args()
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    print(*compare_decoders(given.videos, repeat=given.repeat), sep="\n")
    rates = [float(rate) for rate in given.rates.split(",")]
    print("", *compare_rates(given.videos, rates, short_side=given.short_side, quality=given.quality), sep="\n")


if __name__ == "__main__":
    main()
