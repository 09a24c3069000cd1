"""The logs of a run: JSON lines, TensorBoard, and one progress line."""

import json
import sys
import time
from pathlib import Path
from typing import TextIO

from tensorboardX import SummaryWriter

Numbers = dict[str, float]


class JsonLines:
    """A file with one line a step: {"step": 20, "loss": 1.5, ...}.

    Attributes:
        steps: those that are in the file.
    """

    def __init__(self, path: Path, *, start_step: int):
        """Open the file, and drop what an earlier, killed run wrote of the steps that will be taken again.

        Args:
            path: of the file, whose folder exists.
            start_step: the steps taken so far; lines of later ones are dropped.
        """
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        # A kill may have cut the last line.
        found = {json.loads(line)["step"]: line for line in lines if line.endswith("\n")}
        kept = {step: line for step, line in found.items() if step <= start_step}
        part = path.with_suffix(".part")
        part.write_text("".join(kept.values()))
        part.replace(path)
        self.steps = set(kept)
        self._file = path.open("a")

    def write(self, step: int, numbers: Numbers) -> None:
        """Add a line and flush it."""
        self._file.write(json.dumps({"step": step, **numbers}) + "\n")
        self._file.flush()
        self.steps.add(step)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RunLog:
    """The numbers of a run in files: WORKDIR/metrics.jsonl, evaluation.jsonl, and both under WORKDIR/tensorboard.

    Attributes:
        evaluated: the steps that are evaluated already.
    """

    def __init__(self, workdir: Path, *, start_step: int):
        """Open the files; see `JsonLines`."""
        self._metrics = JsonLines(workdir / "metrics.jsonl", start_step=start_step)
        self._evaluation = JsonLines(workdir / "evaluation.jsonl", start_step=start_step)
        self._tensorboard = SummaryWriter(str(workdir / "tensorboard"), purge_step=start_step + 1)

    @property
    def evaluated(self) -> set[int]:
        """The steps whose evaluation is written."""
        return self._evaluation.steps

    def metrics(self, step: int, numbers: Numbers) -> None:
        """Write the numbers of a training step."""
        self._metrics.write(step, numbers)
        self._points(step, numbers)

    def evaluation(self, step: int, numbers: Numbers) -> None:
        """Write the scores of the weights after a step."""
        self._evaluation.write(step, numbers)
        self._points(step, {f"evaluation/{name}": number for name, number in numbers.items()})

    def close(self) -> None:
        """Flush and close all."""
        self._metrics.close()
        self._evaluation.close()
        self._tensorboard.close()

    def _points(self, step: int, numbers: Numbers) -> None:
        for name, number in numbers.items():
            self._tensorboard.add_scalar(name, number, step)


class Progress:
    """One line on the terminal that is written over; plain lines, at most one every ten seconds, everywhere else."""

    def __init__(self, steps: int, *, unit: str, detail: str, stream: TextIO | None = None):
        """Start the line.

        Args:
            steps: of the whole run.
            unit: of the speed: the numbers have its UNIT_per_second.
            detail: what else to show, a format string of the numbers.
            stream: where to; stdout when None.
        """
        self._steps = steps
        self._unit = unit
        self._detail = detail
        self._stream = stream or sys.stdout
        self._is_terminal = self._stream.isatty()
        self._shown = float("-inf")

    def show(self, step: int, numbers: Numbers) -> None:
        """Show the numbers of a step; the last step is always shown."""
        now = time.monotonic()
        if not self._is_terminal and step < self._steps and now - self._shown < 10:
            return
        self._shown = now
        line = (
            f"step {step}/{self._steps}  loss {numbers['loss']:.4f}  lr {numbers['learning_rate']:.2e}  "
            f"{self._detail.format_map(numbers)}  {numbers['steps_per_second']:.3g} steps/s  "
            f"{numbers[f'{self._unit}_per_second']:.4g} {self._unit}/s  waited {numbers['data_wait']:.0%}  "
            f"{duration((self._steps - step) / numbers['steps_per_second'])} left"
        )
        end = "\n" if not self._is_terminal or step == self._steps else ""
        print(("\r\x1b[K" if self._is_terminal else "") + line, end=end, file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """Write a time span for people.

    >>> duration(75.2), duration(3 * 3600 + 120), duration(100 * 3600)
    ('1m15s', '3h02m', '4d04h')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02d}h"
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
