"""The guards within real runs: what is not finite, collapsed, unreadable or hung."""

import json
import logging

import pytest
from child_runs import finish, start
from train_clips import OPTIONS, clips, train_small

from vfs_jax.errors import InputError

# Eight devices here. The first update throws the weights out of all bounds.
BROKEN = OPTIONS | {"steps": 9, "learning_rate": 1e30, "max_bad_steps": 3, "checkpoint_every": 100}


def with_a_broken_record():
    records = clips()
    records[2]["frames"] = [b"no JPEG"] * 6
    return records


def test_a_run_that_goes_astray_warns_skips_counts_and_ends_with_the_records_on_disk(tmp_path, caplog):
    options = BROKEN | {"max_unreadable": 0.5, "collapse_below": 5.0}
    with caplog.at_level(logging.WARNING), pytest.raises(InputError, match=r"3 steps in a row up to 4 .*nonfinite-0"):
        train_small(options, tmp_path, with_a_broken_record())
    batches = json.loads((tmp_path / "nonfinite-0.json").read_text())
    assert [batch["step"] for batch in batches] == [2, 3, 4]
    known = {clip["id"] for clip in clips()} - {"clip2"}
    assert all(len(batch["ids"]) == 8 and set(batch["ids"]) <= known for batch in batches)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines] == [0, 1, 2]
    assert [line["unreadable"] for line in lines] == [1, 1, 1]
    messages = [record.getMessage() for record in caplog.records]
    assert "unreadable record replaced by another one: clip2: a frame is not a decodable JPEG" in messages
    assert any(message.startswith("step 1: the embedding's standard deviation is") for message in messages)
    assert sum("is not finite; the update is skipped" in message for message in messages) == 3
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))  # nothing that is astray is kept


def test_too_many_unreadable_records_end_the_run(tmp_path):
    with pytest.raises(InputError, match=r"1 of 5 records are unreadable, more than the share max_unreadable=0\.1"):
        train_small(BROKEN | {"max_unreadable": 0.1}, tmp_path, with_a_broken_record())


@pytest.mark.slow
def test_a_hung_evaluation_ends_the_process_with_its_stacks(tmp_path):
    changes = ["eval_every=1", 'eval_data="forever"', "watchdog_seconds=8"]
    process = start("train_clips.py", tmp_path, 1, *changes)
    process.wait(timeout=300)  # the evaluation waits for a line that never comes
    status, printed = finish(process)
    assert status == 1
    assert "Timeout (0:00:08)!" in printed
    assert "in evaluate" in printed
    assert (tmp_path / "checkpoints" / "1" / "manifest.json").exists()  # saved before it was evaluated
