"""The log tells what the devices wait for: records, the transfer of a batch, the loop itself, or nothing."""

import time

import pytest
from child_runs import lines
from train_clips import OPTIONS, clips, train_small

from vfs_jax.training.feed import Feed
from vfs_jax.training.idle import IdleWatch, Milestones, idle_time

SLOW = 0.15  # seconds; far more than threads wait for each other on a busy machine


class Later:
    """An array that is there from some time on."""

    def __init__(self, ready):
        self.ready = ready

    def block_until_ready(self):
        time.sleep(max(0.0, self.ready - time.monotonic()))
        return self


def drive(*, load=0.0, put=0.0, copy=0.0, host=0.0, step=0.0, steps=6):
    """A loop over a made-up device, with parts that take so many seconds each: the idle seconds, and all."""

    def batches():
        for _ in range(steps):
            time.sleep(load)
            yield {"id": [], "unreadable": []}

    def place(_):
        time.sleep(put)
        return {"views": Later(time.monotonic() + copy)}

    start, watch, feed = time.monotonic(), IdleWatch(), Feed(batches(), place)
    idle, free, pending = dict.fromkeys(("records", "transfer", "host"), 0.0), 0.0, None

    def finish():
        for cause, seconds in pending.result().idle.items():
            idle[cause] += seconds
        time.sleep(host)

    for batch in feed:
        free = max(time.monotonic(), free, batch.arrays["views"].ready) + step
        watched = watch.add(batch.loaded, batch.placed, batch.arrays, Later(free))
        if pending:
            finish()
        pending = watched
    finish()
    watch.close()
    feed.close()
    return idle, time.monotonic() - start


@pytest.mark.parametrize(
    ("slow", "cause"),
    [
        ({"load": SLOW}, "records"),
        ({"put": SLOW}, "transfer"),
        ({"copy": 3 * SLOW}, "transfer"),  # several copies are under way at a time
        ({"host": SLOW}, "host"),
    ],
)
def test_what_is_slow_is_what_the_devices_wait_for(slow, cause):
    idle, _ = drive(**slow)
    assert idle[cause] > sum(idle.values()) / 2
    assert idle[cause] > 2 * SLOW


def test_slow_steps_leave_no_device_idle_while_the_rest_keeps_up():
    idle, seconds = drive(load=SLOW / 5, put=SLOW / 5, copy=SLOW / 5, host=SLOW / 5, step=SLOW)
    assert sum(idle.values()) < seconds / 2


def test_idle_time_ends_where_the_step_has_all_it_needs():
    late = Milestones(loaded=3.0, placed=5.0, dispatched=6.0, arrived=10.0)
    assert idle_time(2.0, late) == {"records": 1.0, "transfer": 2.0 + 4.0, "host": 1.0}
    assert idle_time(4.0, late) == {"records": 0.0, "transfer": 1.0 + 4.0, "host": 1.0}
    assert idle_time(5.5, late) == {"records": 0.0, "transfer": 4.0, "host": 0.5}
    assert idle_time(10.0, late) == {"records": 0.0, "transfer": 0.0, "host": 0.0}


@pytest.mark.slow
def test_the_loop_logs_it(tmp_path):
    class Slow(list):
        def __getitem__(self, index):
            time.sleep(SLOW / 4)  # eight clips a batch, two or more at a time
            return super().__getitem__(index)

    def evaluate(*_):
        time.sleep(2 * SLOW)  # counts neither as idle nor for the speed
        return {"J": 1.0}

    options = OPTIONS | {"steps": 16, "checkpoint_every": 100, "eval_every": 8, "eval_data": "somewhere"}
    train_small(options, tmp_path, Slow(clips()), evaluate=evaluate)
    causes = ("idle_for_records", "idle_for_transfer", "idle_for_host")
    for line in lines(tmp_path):
        assert 0 <= line["device_idle"] <= 1
        assert line["device_idle"] == pytest.approx(sum(line[cause] for cause in causes))
    # The first ones were loaded while the step was compiled, some while the eighth was saved.
    waited = {cause: sum(line[cause] for line in lines(tmp_path)[10:]) for cause in causes}
    assert waited["idle_for_records"] == max(waited.values())
