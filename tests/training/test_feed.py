"""Batches arrive in their order, a bounded number ahead; errors come at their turn and the thread ends."""

import itertools
import threading
import time

import pytest

from vfs_jax.errors import InputError
from vfs_jax.training.feed import AHEAD, Feed


def batch(number):
    return {"x": number, "id": [f"clip{number}"], "unreadable": []}


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("feed")]


def test_batches_come_in_order_and_no_more_of_them_than_said_are_ahead():
    taken, too_far, placed = 0, [], threading.Semaphore(0)

    def batches():
        for number in range(20):
            if number + 1 > taken + AHEAD:
                too_far.append(number)
            yield batch(number)

    def place(each):
        placed.release()
        return {"x": -each["x"]}

    feed = Feed(batches(), place)
    for _ in range(AHEAD):  # nobody has asked for one
        assert placed.acquire(timeout=60)
    came = []
    for _ in range(20):
        taken += 1
        came.append(next(feed))
    feed.close()
    assert [each.arrays["x"] for each in came] == [-number for number in range(20)]
    assert [each.ids for each in came] == [[f"clip{number}"] for number in range(20)]
    assert all(a.loaded <= a.placed <= b.loaded for a, b in itertools.pairwise(came))
    assert not too_far
    assert not threads()


@pytest.mark.parametrize("where", ["load", "place"])
def test_an_error_is_raised_at_the_turn_of_its_batch(where):
    def batches():
        yield batch(0)
        yield batch(1)
        if where == "load":
            raise InputError("clip2: damaged")
        yield batch(2)

    def place(each):
        if each["x"] == 2:
            raise InputError("clip2: damaged")
        return each

    feed = Feed(batches(), place)
    assert [next(feed).ids, next(feed).ids] == [["clip0"], ["clip1"]]
    with pytest.raises(InputError, match="clip2: damaged"):
        next(feed)
    feed.close()
    assert not threads()


def test_closing_waits_for_the_batch_under_way_and_loads_no_other():
    loaded, begun = [], threading.Event()

    def batches():
        for number in itertools.count():
            begun.set()
            time.sleep(0.05)
            loaded.append(number)
            yield batch(number)

    feed = Feed(batches(), dict)
    begun.wait()
    feed.close()
    assert len(loaded) == 1
    assert not threads()
