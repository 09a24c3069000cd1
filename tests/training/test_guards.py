"""Guards: what they let pass, what they warn about and what they end."""

import json
import logging
import os
import signal
import subprocess
import sys

import pytest

from vfs_jax.errors import InputError
from vfs_jax.training import guards


def test_non_finite_steps_end_the_run_only_in_a_row(tmp_path):
    guard = guards.NonFinite(tmp_path / "bad.json", limit=3)
    for step, finite in enumerate([False, False, True, False, False, True], start=1):
        guard.check(step, finite, [f"clip{step}"])
    guard.check(7, False, ["a"])
    guard.check(8, False, ["b"])
    assert not (tmp_path / "bad.json").exists()
    with pytest.raises(InputError, match=r"3 steps in a row up to 9 .*bad\.json"):
        guard.check(9, False, ["c", "d"])
    written = json.loads((tmp_path / "bad.json").read_text())
    assert written == [{"step": 7, "ids": ["a"]}, {"step": 8, "ids": ["b"]}, {"step": 9, "ids": ["c", "d"]}]


def test_unreadable_records_are_counted_once_and_end_the_run(caplog):
    guard = guards.Unreadable(num_records=200, share=0.01)
    assert guard.count([], 0) == 0
    assert guard.count(["a: bad", "a: bad", "b: worse"], 0) == 2
    assert guard.count(["a: bad"], 0) == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"unreadable record replaced by another one: {message}" for message in ("a: bad", "b: worse")
    ]
    guard.check(2)
    with pytest.raises(InputError, match=r"3 of 200 records are unreadable.*0\.01"):
        guard.check(3)


def test_processes_do_not_count_a_record_of_an_earlier_pass_again():
    """Each pass gives the records to other processes: in time each would have met all that is unreadable."""
    processes = [guards.Unreadable(num_records=200, share=0.01) for _ in range(2)]
    for number, reader in enumerate([0, 1, 0]):
        counts = [
            each.count(["a: bad", "b: bad"] if index == reader else [], number) for index, each in enumerate(processes)
        ]
        assert sum(counts) == 2


def test_collapse_warns_once_each_time(caplog):
    guard = guards.Collapse(below=0.1)
    with caplog.at_level(logging.WARNING):
        for step, std in enumerate([0.9, 0.05, 0.04, 0.2, 0.03]):
            guard.check(step, {"embedding_std": std})
    assert [record.getMessage()[:7] for record in caplog.records] == ["step 1:", "step 4:"]


def test_collapse_ends_the_run_where_it_is_told_to(caplog):
    guard = guards.Collapse(below=0.1, stop_below=0.5)
    guard.check(1, {"embedding_std": 0.5})
    with pytest.raises(InputError, match=r"step 2: .* 0\.499 of 1/sqrt\(d\), below stop_below=0\.5; the weights"):
        guard.check(2, {"embedding_std": 0.499})
    assert not caplog.records


def test_sigterm_is_a_request_between_steps_and_an_end_while_evaluating():
    before = signal.getsignal(signal.SIGTERM)
    with guards.Termination() as termination:
        assert not termination.asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert termination.asked
        with pytest.raises(SystemExit, match="143"), termination.at_once():
            pytest.fail("the request was there already")

    def evaluate(termination):
        with termination.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("not reached")

    with guards.Termination() as termination, pytest.raises(SystemExit, match="143"):
        evaluate(termination)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_watchdog_shows_all_stacks_and_ends_a_hung_process():
    program = """
import time
from vfs_jax.training.guards import Watchdog
def hangs():
    time.sleep(60)
with Watchdog(0.5) as dog:
    dog.alive()
    hangs()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert ended.returncode == 1
    assert "in hangs" in ended.stderr
