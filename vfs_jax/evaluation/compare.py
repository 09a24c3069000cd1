"""Whether one encoder is better than another: paired bootstrap over sequences."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vfs_jax.evaluation.task import SequenceScore, Task

_RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much a run scores above another one: the value, and the bounds of its 95% confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """In percent: +3.1 [1.0, 5.2]."""
        return f"{100 * self.value:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


def paired_difference(
    task: Task, scores: Sequence[SequenceScore], baseline: Sequence[SequenceScore], *, seed: int = 0
) -> Difference:
    """The difference in the task's first column, with the interval that resampled sequences give.

    The same sequences are drawn for both runs (with replacement, as many as there are, 1000 times), so that what makes
    a sequence hard for both cancels; the interval runs from the 2.5th to the 97.5th percentile.

    Args:
      task: that was scored.
      scores: of the run.
      baseline: of the run it is compared with, the same sequences in the same order.
      seed: of the drawing.

    Returns:
      the difference and its interval, shares.

    Raises:
      ValueError: the runs are of different sequences.
    """
    if [score.name for score in scores] != [score.name for score in baseline]:
        raise ValueError("the runs are of different sequences")
    column = task.columns[0]

    def difference(indices: Sequence[int] | np.ndarray) -> float:
        first, second = ([run[index] for index in indices] for run in (scores, baseline))
        return task.summary(first)[column] - task.summary(second)[column]

    rng = np.random.default_rng(seed)
    drawn = [difference(rng.integers(0, len(scores), len(scores))) for _ in range(_RESAMPLES)]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return Difference(difference(range(len(scores))), float(low), float(high))
