"""The logs of a run: JSON lines, TensorBoard, and one progress line."""

import json
import sys
import time
from pathlib import Path
from typing import TextIO

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from vfs_jax.data.text import to_json, write_text

Numbers = dict[str, float]


class JsonLines:
    """A file with one line a step: {"step": 20, "loss": 1.5, ...}; what is not finite is null.

    Attributes:
        steps: those that are in the file.
    """

    def __init__(self, path: Path, *, start_step: int):
        """Open the file, and drop what an earlier, killed run wrote of the steps that will be taken again.

        Args:
            path: of the file, whose folder exists.
            start_step: the steps taken so far; lines of later ones are dropped.
        """
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        found = {step: line.decode() + "\n" for line in lines if (step := _step_of(line)) is not None}
        kept = {step: line for step, line in found.items() if step <= start_step}
        write_text(path, "".join(kept.values()))
        self.steps = set(kept)
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, numbers: Numbers) -> None:
        """Add a line and flush it."""
        self._file.write(to_json({"step": step, **numbers}) + "\n")
        self._file.flush()
        self.steps.add(step)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _step_of(line: bytes) -> int | None:
    """Return a line's step; None of a line that a kill has cut, or that a power cut has filled with zeros."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return None


class TensorBoard:
    """A file of events, written by this thread: a kill loses nothing, and a full disk is an error like any other."""

    def __init__(self, folder: Path, *, start_step: int):
        """Open a new file.

        Args:
            folder: made where it does not exist.
            start_step: the steps taken so far; TensorBoard is told to drop points of later ones, from earlier files.
        """
        folder.mkdir(exist_ok=True)
        self._file = EventsWriter(str(folder / "events"), filename_suffix=f".{start_step}")
        session = SessionLog(status=SessionLog.SessionStatus.Value("START"))
        self._file.write_event(Event(wall_time=time.time(), step=start_step + 1, session_log=session))

    def write(self, step: int, numbers: Numbers) -> None:
        """Add a point to each curve and flush them."""
        points = [Summary.Value(tag=name, simple_value=number) for name, number in numbers.items()]
        self._file.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))
        self._file.flush()

    def close(self) -> None:
        """Flush and close the file."""
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
        self._tensorboard = TensorBoard(workdir / "tensorboard", start_step=start_step)

    @property
    def evaluated(self) -> set[int]:
        """The steps whose evaluation is written."""
        return self._evaluation.steps

    def metrics(self, step: int, numbers: Numbers) -> None:
        """Write the numbers of a training step."""
        self._metrics.write(step, numbers)
        self._tensorboard.write(step, numbers)

    def evaluation(self, step: int, numbers: Numbers) -> None:
        """Write the scores of the weights after a step."""
        self._evaluation.write(step, numbers)
        self._tensorboard.write(step, {f"evaluation/{name}": number for name, number in numbers.items()})

    def close(self) -> None:
        """Flush and close all."""
        self._metrics.close()
        self._evaluation.close()
        self._tensorboard.close()


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
            f"{numbers[f'{self._unit}_per_second']:.4g} {self._unit}/s  "
            f"idle {numbers['device_idle']:.0%} (records {numbers['idle_for_records']:.0%}, "
            f"transfer {numbers['idle_for_transfer']:.0%}, host {numbers['idle_for_host']:.0%})  "
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
