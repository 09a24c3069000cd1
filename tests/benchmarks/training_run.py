"""How fast vfs-train is from records to steps, and what the devices wait for, by its own log.

  python tests/benchmarks/training_run.py --folder=DIR [--depth=18 --clips=64 --frames=8 --size=224 --steps=400]

Makes videos and records in DIR, once, trains on them by vfs-train in a process of its own, and prints Markdown: images
a second and the idle shares of the last half of the steps. --json=FILE gets them too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from kept import keep


def make_records(folder: Path, *, videos: int = 64, frames: int = 48, height: int = 256, width: int = 340) -> Path:
    """Records of made-up videos in FOLDER/records, unless they are there: moving textures, some 20 kB a frame."""
    records = folder / "records"
    if (records / "manifest.json").exists():
        return records
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(videos):
        coarse, fine = (rng.integers(0, 256, (side, 2 * side, 3), dtype=np.uint8) for side in (8, 128))
        wide = cv2.resize(coarse, (2 * width, height), interpolation=cv2.INTER_CUBIC)
        wide = cv2.addWeighted(wide, 0.8, cv2.resize(fine, (2 * width, height), interpolation=cv2.INTER_CUBIC), 0.2, 0)
        path = str(folder / "videos" / f"made{number}.mp4")
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), 24, (width, height))
        for frame in range(frames):
            writer.write(np.ascontiguousarray(wide[:, 4 * frame : 4 * frame + width]))
        writer.release()
    command = [sys.executable, "-m", "vfs_jax.apps.prepare", "all", f"--videos={folder / 'videos'}", f"--out={records}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return records


def measure_run(
    folder: Path, *, depth: int, clips: int, frames: int, size: int, steps: int, workers: int, dtype: str
) -> dict[str, float]:
    """Trains by vfs-train on made-up records: the means of its log's figures over the last half of the steps."""
    every = max(1, steps // 8)
    workdir = folder / f"run-{depth}-{clips}x{frames}-{os.getpid()}"
    options = {"data": make_records(folder), "batch_size": clips, "segments": frames, "image_size": size}
    options |= {"steps": steps, "log_every": every, "num_workers": workers, "dtype": dtype}
    command = [sys.executable, "-m", "vfs_jax.apps.train", f"--config=configs/vfs_r{depth}_fine.py"]
    command += [f"--workdir={workdir}", *(f"--config.{name}={value}" for name, value in options.items())]
    subprocess.run(command, check=True)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["step"] > steps // 2]
    names = ("steps_per_second", "device_idle", "idle_for_records", "idle_for_transfer", "idle_for_host")
    figures = {name: statistics.fmean(line[name] for line in lines) for name in names}
    return {"images_per_second": figures["steps_per_second"] * clips * frames, **figures}


def run_report(figures: Mapping[str, float], *, depth: int, clips: int, frames: int, **sizes: Any) -> str:
    """What `measure_run` gave of these sizes: a table."""
    lines = [
        f"vfs-train, ResNet-{depth}, {clips} clips of {frames} frames, {sizes['size']} px, {sizes['dtype']}, "
        f"{sizes['workers']} workers, {os.cpu_count()} CPUs; the last half of {sizes['steps']} steps.",
        "",
        "| figure | value |",
        "| --- | --- |",
        *(f"| {name} | {value:.4g} |" for name, value in figures.items()),
    ]
    return "\n".join(lines)


def main() -> None:
    """Reads the flags and prints a report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"depth": 18, "clips": 64, "frames": 8, "size": 224, "steps": 400, "workers": os.cpu_count()}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="JSON file to add the figures to")
    flags = vars(parser.parse_args())
    folder, file, kept = (flags.pop(name) for name in ("folder", "json", "keep"))
    figures = measure_run(folder, **flags)
    print(run_report(figures, **flags))
    if file:
        file.write_text(json.dumps(figures) + "\n")
    name = "vfs-train, ResNet-{depth}, {clips} clips of {frames} frames, {size} px, {dtype}".format(**flags)
    keep(kept, {f"{name}: from records": (figures["images_per_second"], "images/s")})


if __name__ == "__main__":
    main()
