"""Frames read ahead: in order, in whole batches, not too many at a time, and what cannot be read is raised."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from small import layout_on

from vfs_jax.errors import InputError
from vfs_jax.evaluation.runs.frames_ahead import FramesAhead

SIZE = (6, 8)


class Video:
    """Frame n is full of n; notes which were read."""

    name, size, has_ground_truth = "video", SIZE, False

    def __init__(self, length, broken=None):
        self.length, self.broken, self.read = length, broken, []

    def __len__(self):
        return self.length

    def frame(self, index):
        self.read.append(index)
        if index == self.broken:
            raise InputError(f"{index:05d}.jpg: cannot be read as an image; copy it again")
        return np.full((*SIZE, 3), index, np.uint8)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(3) as pool:
        yield pool


@pytest.mark.parametrize(("length", "batch"), [(1, 4), (9, 4), (8, 4), (5, 1), (30, 16)])
def test_batches_in_order_and_filled_up(pool, length, batch):
    numbers = []
    for frames, of_batch in FramesAhead(pool, Video(length), layout_on(SIZE, SIZE), batch):
        assert frames.shape == (batch, *SIZE, 3)
        shown = [*of_batch, *[of_batch[-1]] * (batch - len(of_batch))]
        np.testing.assert_array_equal(frames[:, 0, 0, 0], shown)
        assert (frames == frames[:, :1, :1, :1]).all()
        numbers += of_batch
    assert numbers == list(range(length))


def test_memory_is_bounded(pool):
    """Two batches, or eight frames, and the batch that is used."""
    for batch, most in ((4, 12), (1, 9), (16, 48)):
        video = Video(100)
        for frames, numbers in FramesAhead(pool, video, layout_on(SIZE, SIZE), batch):
            assert len(video.read) <= numbers[0] + most
            del frames


def test_what_cannot_be_read_is_raised_with_its_batch(pool):
    batches = iter(FramesAhead(pool, Video(20, broken=9), layout_on(SIZE, SIZE), 4))
    assert [next(batches).numbers[-1] for _ in range(2)] == [3, 7]
    with pytest.raises(InputError, match=r"^00009\.jpg: cannot be read"):
        next(batches)
