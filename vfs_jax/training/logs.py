"""Where a run's numbers go: metrics.jsonl, TensorBoard, and one progress line."""

import json
import sys
import time
from pathlib import Path
from typing import TextIO

from tensorboardX import SummaryWriter

METRICS_FILE = "metrics.jsonl"


class MetricLog:
    """Writes numbers under WORKDIR: one line a logged step in metrics.jsonl, and events for TensorBoard."""

    def __init__(self, workdir: Path, *, start_step: int):
        """Opens the files, and drops what an earlier, killed run wrote of the steps that will be taken again.

        Args:
          workdir: of the run.
          start_step: the steps taken so far; later ones are dropped from both files.
        """
        path = workdir / METRICS_FILE
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= start_step]
        part = path.with_suffix(".part")
        part.write_text("".join(kept))
        part.replace(path)
        self._file = path.open("a")
        self._tensorboard = SummaryWriter(str(workdir / "tensorboard"), purge_step=start_step + 1)

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Adds one line {"step": step, **numbers} and one TensorBoard point a number."""
        self._file.write(json.dumps({"step": step, **numbers}) + "\n")
        self._file.flush()
        for name, number in numbers.items():
            self._tensorboard.add_scalar(name, number, step)

    def close(self) -> None:
        """Flushes and closes both."""
        self._file.close()
        self._tensorboard.close()


def _whole_lines(path: Path) -> list[str]:
    """The lines of a JSON-lines file without a last one that was cut by a kill."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith("\n")]


class Progress:
    """One line on the terminal that is written over; plain lines, at most one every ten seconds, everywhere else."""

    def __init__(self, steps: int, stream: TextIO = sys.stdout):
        """Starts a line for a run of `steps` steps."""
        self._steps = steps
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._shown = float("-inf")

    def show(self, step: int, numbers: dict[str, float]) -> None:
        """Shows the numbers of a step; the last step is always shown."""
        now = time.monotonic()
        if not self._is_terminal and step < self._steps and now - self._shown < 10:
            return
        self._shown = now
        left = _duration((self._steps - step) / numbers["steps_per_second"])
        line = (
            f"step {step}/{self._steps}  loss {numbers['loss']:.4f}  lr {numbers['learning_rate']:.2e}  "
            f"std {numbers['embedding_std']:.2f}  {numbers['steps_per_second']:.3g} steps/s  "
            f"{numbers['clips_per_second']:.4g} clips/s  waited {numbers['data_wait']:.0%}  {left} left"
        )
        end = "\n" if not self._is_terminal or step == self._steps else ""
        start = "\r\x1b[K" if self._is_terminal else ""
        print(start + line, end=end, file=self._stream, flush=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"
