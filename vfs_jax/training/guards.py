"""Guards of a run that nobody watches: they skip, warn, save or end it when something goes wrong."""

import contextlib
import faulthandler
import logging
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Self

from vfs_jax.data.text import to_json, write_text
from vfs_jax.errors import InputError

_LOG = logging.getLogger(__name__)


class NonFinite:
    """Counts steps whose loss or gradient was not finite (the step itself leaves the state as it was).

    Args:
        path: gets the record ids of the batches, when the run is ended.
        limit: so many such steps in a row end the run.
    """

    def __init__(self, path: Path, limit: int):
        self._path = path
        self._limit = limit
        self._batches: list[dict[str, object]] = []

    def check(self, step: int, finite: bool, ids: list[str]) -> None:
        """Take note of one step.

        Raises:
            InputError: it was the last of `limit` in a row; their ids are on disk.
        """
        if finite:
            self._batches.clear()
            return
        self._batches.append({"step": step, "ids": ids})
        _LOG.warning("step %d: loss or gradient is not finite; the update is skipped", step)
        if len(self._batches) >= self._limit:
            write_text(self._path, to_json(self._batches, indent=1) + "\n")
            raise InputError(
                f"{self._limit} steps in a row up to {step} had no finite loss or gradient; look at their records, "
                f"listed in {self._path}, or lower learning_rate"
            )


class Unreadable:
    """Counts the records that could not be read in one pass over the data.

    A pass gives each record to one process, so that the counts of all add up; the next pass may give it to another.

    Args:
        num_records: of the data set.
        share: of the data set that may be unreadable before the run ends.
    """

    def __init__(self, num_records: int, share: float):
        self._num_records = num_records
        self._share = share
        self._named: set[str] = set()
        self._pass, self._in_pass = 0, set[str]()

    def count(self, messages: Iterable[str], number: int) -> int:
        """Take note of what a batch had to replace ("id: why") and return the number of different records in its pass.

        Args:
            messages: of the batch.
            number: of the pass.
        """
        if number != self._pass:
            self._pass, self._in_pass = number, set()
        for message in messages:
            record = message.partition(": ")[0]
            self._in_pass.add(record)
            if record not in self._named:
                self._named.add(record)
                _LOG.warning("unreadable record replaced by another one: %s", message)
        return len(self._in_pass)

    def check(self, total: int) -> None:
        """Look at the sum of the counts of all processes, so that all end at the same step.

        Raises:
            InputError: more of the data set than allowed is unreadable.
        """
        if total > self._share * self._num_records:
            raise InputError(
                f"{total} of {self._num_records} records are unreadable, more than the share "
                f"max_unreadable={self._share:g}; the log names them; verify the data"
            )


class Collapse:
    """Warns once whenever the embedding's standard deviation falls below a threshold, and ends the run below another.

    Args:
        below: it warns.
        stop_below: it ends the run; 0 for never.
    """

    def __init__(self, below: float, stop_below: float = 0.0):
        self._below = below
        self._stop_below = stop_below
        self._warned = False

    def check(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take note of the "embedding_std" of one step.

        Raises:
            InputError: it ends the run.
        """
        embedding_std = numbers["embedding_std"]
        if embedding_std < self._stop_below:
            raise InputError(
                f"step {step}: the embedding's standard deviation is {embedding_std:.3f} of 1/sqrt(d), below "
                f"stop_below={self._stop_below:g}; the weights from before are in the newest checkpoint"
            )
        if embedding_std >= self._below:
            self._warned = False
        elif not self._warned:
            self._warned = True
            _LOG.warning(
                "step %d: the embedding's standard deviation is %.3f of 1/sqrt(d), below %g: it may be collapsing to "
                "one point; lower learning_rate, or raise batch_size",
                *(step, embedding_std, self._below),
            )


class Watchdog:
    """Ends the process, with all stacks on stderr, where nothing came to an end for too long.

    A hung collective or file system never returns to Python, so the timer is a thread of C. A run that is ended can be
    started again by its scheduler; a hung one cannot.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds

    def __enter__(self) -> Self:
        self.alive()
        return self

    def alive(self) -> None:
        """Start the time anew."""
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=2)

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()


class Termination:
    """Turns SIGTERM, which schedulers send some time before they kill, into a request to stop at the next step.

    Attributes:
        asked: whether the signal has come.
    """

    STATUS = 128 + signal.SIGTERM

    def __init__(self) -> None:
        self.asked = False
        self._at_once = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Let the signal end the process in what runs within, because all that matters is saved."""
        self._at_once = True
        if self.asked:
            sys.exit(self.STATUS)
        yield
        self._at_once = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if self._at_once:
            sys.exit(self.STATUS)
