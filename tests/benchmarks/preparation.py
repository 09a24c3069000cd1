"""How fast vfs-prepare is, against a bare loop of the same decoder and encoder, and what Kinetics-400 would take.

  python tests/benchmarks/preparation.py --videos=DIR [--repeat=2] [--workers=1,2] [--price=0.04]

Prints Markdown tables. Frames a CPU-second hold on a busy machine too; frames a second need an idle one. The work is
done on REPEAT and on twice REPEAT copies of the videos and the difference is given, so that starting up does not count.
"""

import argparse
import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import grain
from array_record.python import array_record_module
from kept import keep

from data_prep.index import index_folder
from vfs_jax.data.record_fields import ClipRecord, read_manifest
from vfs_jax.data.records import ClipRecords

KINETICS_CLIPS = 240_000
KINETICS_FRAMES = 300  # ten seconds at 30 frames a second


@dataclasses.dataclass(frozen=True)
class Cost:
    """What some work took: clips, frames, seconds on the clock and on the CPU, MiB of all its processes together."""

    clips: int
    frames: int
    seconds: float
    cpu_seconds: float
    memory: float

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(
            self.clips - other.clips,
            self.frames - other.frames,
            self.seconds - other.seconds,
            self.cpu_seconds - other.cpu_seconds,
            max(self.memory, other.memory),
        )


def bare_loop(paths: Sequence[Path], short_side: int, quality: int) -> tuple[int, int]:
    """Decodes, resizes and encodes every frame and keeps nothing; returns clips and frames."""
    cv2.setNumThreads(1)
    frames = 0
    for path in paths:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        while True:
            decoded, image = capture.read()
            if not decoded:
                break
            height, width = image.shape[:2]
            scale = short_side / min(height, width)
            size = int(width * scale + 0.5), int(height * scale + 0.5)
            if scale != 1:
                image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            frames += 1
    return len(paths), frames


def measure(command: Sequence[str], count: Callable[[str], tuple[int, int]]) -> Cost:
    """Runs a command and adds up its processes; count gives clips and frames from what it printed."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        memory = 0.0
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            memory = max(memory, _memory(process.pid))
            time.sleep(0.25)  # looking takes time of the process that is looked at
        output.seek(0)
        printed = output.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with status {process.returncode}")
    return Cost(*count(printed), seconds, usage.ru_utime + usage.ru_stime, memory)


def _memory(pid: int) -> float:
    """MiB of a process and its descendants, pages that several share counted once (Pss)."""
    total = 0.0
    with contextlib.suppress(OSError):  # it ends while it is looked at
        if size := re.search(r"Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text()):
            total += int(size[1]) / 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(_memory(int(child)) for child in (task / "children").read_text().split())
    return total


def measure_bare(folder: Path, short_side: int, quality: int) -> Cost:
    """The bare loop, in a process of its own."""
    flags = [f"--bare={folder}", f"--short_side={short_side}", f"--quality={quality}"]

    def count(printed: str) -> tuple[int, int]:
        clips, frames = printed.split()
        return int(clips), int(frames)

    return measure([sys.executable, __file__, *flags], count)


def measure_prepare(folder: Path, out: Path, short_side: int, quality: int, workers: int) -> Cost:
    """vfs-prepare convert; index and finalize stay outside."""
    prepare = [sys.executable, "-m", "vfs_jax.apps.prepare"]
    index = [*prepare, "index", f"--videos={folder}", f"--out={out}", f"--shards={workers}"]
    subprocess.run(index, check=True, stdout=subprocess.DEVNULL)

    def count(_: str) -> tuple[int, int]:
        subprocess.run([*prepare, "finalize", f"--out={out}"], check=True, stdout=subprocess.DEVNULL)
        manifest = read_manifest(out)
        return manifest["records"], manifest["frames"]

    flags = [f"--out={out}", f"--short_side={short_side}", f"--quality={quality}", f"--workers={workers}"]
    return measure([*prepare, "convert", *flags], count)


def reading(out: Path) -> dict[str, float]:
    """Records a second, each read once: all bytes, and the eight frames of a training step, plain and through grain."""
    records = ClipRecords(out)
    passes = max(1, 200 // len(records))

    def bare() -> None:
        for shard in read_manifest(out)["shards"]:
            reader = array_record_module.ArrayRecordReader(str(out / shard["shard"]))
            for number in list(range(shard["count"])) * passes:
                reader.read([number])
            reader.close()

    def sampled(record: ClipRecord) -> list[bytes]:
        frames = record["frames"]
        return [frames[number] for number in range(0, len(frames), max(1, len(frames) // 8))]

    def plain() -> None:
        for number in list(range(len(records))) * passes:
            sampled(records[number])

    def through_grain() -> None:
        for _ in grain.MapDataset.source(records).shuffle(seed=0).repeat(passes).map(sampled).to_iter_dataset():
            pass

    rates = {}
    ways = (("array_record, whole", bare), ("ClipRecords, 8 frames", plain), ("the same through grain", through_grain))
    for name, work in ways:
        work()  # files come from memory then
        started = time.perf_counter()
        work()
        rates[name] = passes * len(records) / (time.perf_counter() - started)
    return rates


def report(
    videos: Path,
    *,
    repeat: int,
    workers: Sequence[int],
    short_side: int,
    quality: int,
    price: float,
    kept: Path | None = None,
) -> str:
    """Measures everything, keeps the rates, and lays it all out as Markdown."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folders = [_copies(videos, work / str(count), count) for count in (repeat, 2 * repeat)]
        bare = _difference(lambda folder: measure_bare(folder, short_side, quality), folders)
        rows = [("bare loop", bare, 1)]
        for count in workers:

            def prepare(folder: Path, count: int = count) -> Cost:
                return measure_prepare(folder, work / f"out{count}-{folder.name}", short_side, quality, count)

            rows.append((f"vfs-prepare --workers={count}", _difference(prepare, folders), count))
        out = work / f"out{workers[0]}-{folders[1].name}"
        manifest, rates = read_manifest(out), reading(out)
    keep(kept, {f"preparation: {title}": (cost.frames / cost.cpu_seconds, "frames a CPU s") for title, cost, _ in rows})
    lines = [
        "| | frames/s | frames/CPU-s | of the bare loop | clips/s | MiB a worker |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for title, cost, processes in rows:
        share = (cost.frames / cost.cpu_seconds) / (bare.frames / bare.cpu_seconds)
        lines.append(
            f"| {title} | {cost.frames / cost.seconds:.0f} | {cost.frames / cost.cpu_seconds:.0f} | {share:.0%} "
            f"| {cost.clips / cost.seconds:.2f} | {cost.memory / processes:.0f} |"
        )
    size = manifest["bytes"] / manifest["frames"]
    clips = f"{folders[0].name}x and {folders[1].name}x {len(list(videos.iterdir()))} files in a shard a worker"
    lines += ["", f"The most memory of both runs ({clips})."]
    lines += ["", f"{size / 1e3:.1f} kB a frame, {manifest['bytes'] / manifest['records'] / 1e6:.2f} MB a clip", ""]
    lines += ["| reading | records/s |", "| --- | --- |", *(f"| {name} | {rate:.0f} |" for name, rate in rates.items())]
    per_core = rows[1][1].frames / rows[1][1].cpu_seconds
    lines += ["", *on_paper(per_core, size, price)]
    return "\n".join(lines)


def on_paper(frames_per_cpu_second: float, bytes_per_frame: float, price: float) -> list[str]:
    """What Kinetics-400 would take at a measured rate, were cores all that counts; price is for a core and an hour."""
    hours = KINETICS_CLIPS * KINETICS_FRAMES / frames_per_cpu_second / 3600
    lines = [
        f"Kinetics-400 on paper: {KINETICS_CLIPS} clips of {KINETICS_FRAMES} frames, "
        f"{KINETICS_CLIPS * KINETICS_FRAMES * bytes_per_frame / 1e12:.2f} TB of records, {hours:.0f} core-hours",
        "",
        "| cores | hours | at a price |",
        "| --- | --- | --- |",
    ]
    return lines + [f"| {cores} | {hours / cores:.1f} | {hours * price:.2f} |" for cores in (1, 16, 256)]


def _copies(videos: Path, folder: Path, count: int) -> Path:
    folder.mkdir()
    for entry in index_folder(videos)[0]:
        for number in range(count):
            (folder / f"{number}_{Path(entry.path).name}").symlink_to(entry.path)
    return folder


def _difference(work: Callable[[Path], Cost], folders: Sequence[Path]) -> Cost:
    once, twice = (work(folder) for folder in folders)
    return twice - once


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--bare", type=Path, help="runs the bare loop alone")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--short_side", type=int, default=256)
    parser.add_argument("--quality", type=int, default=90)
    parser.add_argument("--keep", type=Path, help="JSON file to add the figures to")
    parser.add_argument("--price", type=float, default=0.04, help="of a core for an hour")
    given = parser.parse_args()
    if given.bare:
        print(*bare_loop([Path(entry.path) for entry in index_folder(given.bare)[0]], given.short_side, given.quality))
        return
    workers = [int(count) for count in given.workers.split(",")]
    print(
        report(
            given.videos,
            repeat=given.repeat,
            workers=workers,
            short_side=given.short_side,
            quality=given.quality,
            price=given.price,
            kept=given.keep,
        )
    )


if __name__ == "__main__":
    main()
