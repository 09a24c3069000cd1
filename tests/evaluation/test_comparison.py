"""Differences between runs and their confidence intervals."""

import numpy as np
import pytest

from vfs_jax.evaluation.metrics.davis import ObjectScore
from vfs_jax.evaluation.runs.comparison import Difference, paired_difference
from vfs_jax.evaluation.tasks.base import SequenceScore
from vfs_jax.evaluation.tasks.masks import Davis


def run(values):
    """One object a sequence whose J and F are the same in every frame."""
    objects = [ObjectScore(str(n), 1, np.full(3, v), np.full(3, v)) for n, v in enumerate(values)]
    return [SequenceScore(each.sequence, each.region[0], each.region, [], [each]) for each in objects]


def test_paired_interval():
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.2, 0.8, 30)  # sequences differ far more than the runs
    better = hard + rng.normal(0.05, 0.02, 30)
    found = paired_difference(Davis(), run(better), run(hard))
    assert found.value == pytest.approx((better - hard).mean())
    # The standard error of the mean of the 30 differences; the interval is about 1.96 of it to either side. The
    # bootstrap's own noise (1000 draws, n - 1 against n) is within a fifth of it.
    error = (better - hard).std(ddof=1) / np.sqrt(30)
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.4 * error)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.4 * error)
    assert found.low > 0
    assert paired_difference(Davis(), run(hard), run(hard)) == Difference(0, 0, 0)


def test_other_sequences_raise():
    with pytest.raises(ValueError, match="different sequences"):
        paired_difference(Davis(), run([0.5]), run([0.5, 0.6]))


def test_in_words():
    assert str(Difference(0.031, 0.01, 0.052)) == "+3.1 [+1.0, +5.2]"
