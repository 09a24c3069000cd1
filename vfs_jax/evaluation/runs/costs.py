"""What a run costs: parameters, seconds a frame, memory."""

import contextlib
import csv
import dataclasses
import io
import math
import resource
from pathlib import Path

import jax

from vfs_jax.data.text import read_text, write_text

_HEADER = ["Sequence", "Frames", "Seconds", "PeakMemoryMB"]


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of one run over all its sequences.

    Attributes:
        parameters: of the network; None where they are not known.
        seconds_per_frame: from files to files, without compilation only where the programs were compiled before.
        peak_memory_mb: the most that was held while a sequence was propagated: of a GPU's or TPU's memory where there
            is one, else the resident memory of the process, the interpreter and its libraries included; 10^6 bytes.
    """

    parameters: int | None
    seconds_per_frame: float
    peak_memory_mb: float

    def row(self) -> dict[str, object]:
        """Return it by the columns of tables."""
        return {
            "Parameters": self.parameters,
            "SecondsPerFrame": self.seconds_per_frame,
            "PeakMemoryMB": self.peak_memory_mb,
        }


def reset_peak_memory() -> None:
    """Let `peak_memory` count from now, where the system can."""
    with contextlib.suppress(OSError):  # not Linux, or not allowed: the peak is that of the whole process then
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: jax.Device) -> int:
    """Return the peak of a device's memory, or of the process where the device has none of its own, in bytes."""
    stats = device.memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def append_timing(folder: Path, sequence: str, *, frames: int, seconds: float, peak_bytes: int) -> None:
    """Append a finished sequence to a run's timings."""
    number = jax.process_index()  # each process of a run writes a file of its own
    path = folder / ("timings.csv" if number == 0 else f"timings-{number}.csv")
    lines = [[sequence, frames, f"{seconds:.3f}", f"{peak_bytes / 1e6:.1f}"]]
    with io.StringIO() as file:
        csv.writer(file, lineterminator="\n").writerows(lines if path.exists() else [_HEADER, *lines])
        write_text(path, (read_text(path) if path.exists() else "") + file.getvalue())


def read_cost(folder: Path, parameters: int | None) -> Cost:
    """Read what a run cost from the timings of its sequences."""
    timings: dict[str, tuple[int, float, float]] = {}  # a sequence that was propagated again counts once
    for path in sorted(folder.glob("timings*.csv")):
        with io.StringIO(read_text(path)) as file:
            for row in csv.DictReader(file):
                memory = float(row.get("PeakMemoryMB") or math.nan)
                timings[row["Sequence"]] = int(row["Frames"]), float(row["Seconds"]), memory
    frames, seconds, peaks = zip(*timings.values(), strict=True)
    return Cost(parameters, sum(seconds) / sum(frames), max(peaks))
