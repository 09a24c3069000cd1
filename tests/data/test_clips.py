"""Batches of clips: a function of (seed, step), whoever loads them, and only the sampled frames are decoded."""

import itertools
import threading

import cv2
import numpy as np
import pytest

from vfs_jax.data.clips import clip_batches
from vfs_jax.data.images import decode_jpeg
from vfs_jax.errors import InputError

OPTIONS = {"batch_size": 4, "segments": 4, "image_size": 16, "seed": 3}


def jpeg(value, height=24, width=32):
    return cv2.imencode(".jpg", np.full((height, width, 3), value, np.uint8))[1].tobytes()


def clips(number, frames=12):
    """Clips whose frames are of one gray: 10 * clip + frame."""
    return [{"id": f"clip{i}", "frames": [jpeg(10 * i + f) for f in range(frames)]} for i in range(number)]


@pytest.fixture(scope="module")
def records():
    return clips(7)


def take(records, number, **options):
    batches = clip_batches(records, **{**OPTIONS, **options})
    return list(itertools.islice(batches, number))


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert batch["id"] == other["id"]
        np.testing.assert_array_equal(batch["views"], other["views"])


def test_views_are_the_halves_of_the_sampled_frames(records):
    for batch in take(records, 5):
        views = batch["views"]
        assert views.shape == (4, 2, 2, 16, 16, 3)
        assert views.dtype == np.uint8
        for record_id, clip in zip(batch["id"], views, strict=True):
            grays = clip.reshape(4, -1)
            assert np.ptp(grays, axis=1).max() == 0  # a crop of one gray is of that gray
            frames = grays[:, 0].astype(int) - 10 * int(record_id.removeprefix("clip"))
            # (12 + 1) // 4 = 3: one frame of each three
            assert all(3 * s <= frame < 3 * s + 3 for s, frame in enumerate(frames))


def test_every_pass_visits_every_record_once_in_another_order(records):
    ids = [record_id for batch in take(records, 14) for record_id in batch["id"]]  # 56 positions: 8 passes of 7
    passes = [tuple(ids[i : i + 7]) for i in range(0, 56, 7)]
    assert all(sorted(each) == [f"clip{i}" for i in range(7)] for each in passes)
    assert len(set(passes)) > 5


def test_another_seed_gives_other_batches(records):
    assert [b["id"] for b in take(records, 4)] != [b["id"] for b in take(records, 4, seed=4)]


def test_a_later_start_gives_the_later_batches(records):
    # Step 1 lies across the edge of two passes: 7 records, 4 a step.
    assert_same(take(records, 6)[2:], take(records, 4, start_step=2))


def test_processes_load_the_parts_of_the_same_batches(records):
    whole = take(records, 5)
    parts = [take(records, 5, process_index=i, process_count=2) for i in range(2)]
    joined = [
        {"id": a["id"] + b["id"], "views": np.concatenate([a["views"], b["views"]])}
        for a, b in zip(*parts, strict=True)
    ]
    assert_same(whole, joined)


@pytest.mark.slow
def test_worker_processes_change_nothing(records):
    assert_same(take(records, 5), take(records, 5, num_workers=2))


def test_only_sampled_frames_are_decoded(records, monkeypatch):
    decoders = []  # loaders of other tests may still run in threads of their own
    monkeypatch.setattr(
        "vfs_jax.data.clips.decode_jpeg",
        lambda _: decoders.append(threading.get_ident()) or np.zeros((24, 32, 3), np.uint8),
    )
    from vfs_jax.data.clips import ClipBatches

    ClipBatches(records, 4, 4, 16, 0.2, 0, 0, 0, 1)[0]
    assert decoders.count(threading.get_ident()) == 4 * 4


class Broken(list):
    """Records of which one cannot be read and one holds no JPEGs."""

    def __getitem__(self, index):
        if index == 2:
            raise OSError("bad block")
        record = super().__getitem__(index)
        return {**record, "frames": [b"no jpeg"] * 12} if index == 5 else record


def test_unreadable_records_are_named_and_replaced_alike(records):
    first = take(Broken(records), 7)
    named = {message for batch in first for message in batch["unreadable"]}
    assert named == {"record 2: bad block", "clip5: a frame is not a decodable JPEG"}
    assert all(record_id not in ("clip2", "clip5") for batch in first for record_id in batch["id"])
    assert_same(first[3:], take(Broken(records), 4, start_step=3))
    # What can be read comes as without the broken ones.
    for batch, whole in zip(first, take(records, 7), strict=True):
        for row, record_id in enumerate(whole["id"]):
            if record_id not in ("clip2", "clip5"):
                assert batch["id"][row] == record_id
                np.testing.assert_array_equal(batch["views"][row], whole["views"][row])


def test_nothing_readable_ends_with_one_line():
    with pytest.raises(InputError, match="10 records in a row cannot be read"):
        take([{"id": "a", "frames": [b""]}], 1, batch_size=1)


@pytest.mark.parametrize(
    ("number", "options", "message"),
    [
        (0, {}, "no clips to train on"),
        (2, {"segments": 3}, "segments=3: must be even"),
        (2, {"process_count": 3}, "batch_size=4: must be a positive multiple of the 3 processes"),
    ],
)
def test_bad_input_is_named(number, options, message):
    with pytest.raises(InputError, match=message):
        clip_batches(clips(number, frames=2), **{**OPTIONS, **options})


def test_frames_are_decoded_as_rgb():
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 2] = 255  # red, as OpenCV orders channels
    red = decode_jpeg(cv2.imencode(".jpg", image)[1].tobytes())
    assert red[8, 8, 0] > 250
    assert red[8, 8, 1:].max() < 5


def test_clips_of_a_real_video_vary(real_data):
    capture = cv2.VideoCapture(str(real_data / "kinetics_like" / "carphone_pristine.mp4"))
    frames = [cv2.imencode(".jpg", capture.read()[1])[1].tobytes() for _ in range(40)]
    capture.release()
    (batch,) = take([{"id": "carphone", "frames": frames}], 1, batch_size=2, segments=8, image_size=32)
    assert batch["views"].shape == (2, 2, 4, 32, 32, 3)
    flat = batch["views"].reshape(16, -1).astype(float)
    assert flat.std(1).min() > 5  # pictures, not flat colors
    assert all(np.abs(a - b).mean() > 1 for a, b in itertools.combinations(flat, 2))  # no two crops are alike


def times_of(clips):
    """Give every clip ten frames a second."""
    return [{**clip, "times": np.arange(len(clip["frames"])) / 10} for clip in clips]


def test_frames_of_a_span_lie_near_each_other():
    drawn = []
    for batch in take(times_of(clips(5, frames=40)), 20, span_seconds=0.7, segments=2):
        for record_id, clip in zip(batch["id"], batch["views"], strict=True):
            drawn.append(clip.reshape(2, -1)[:, 0].astype(int) - 10 * int(record_id.removeprefix("clip")))
    first, second = np.array(drawn).T
    # Eight frames in a span: 4 in either half; the number past the last wraps to the first.
    assert set(second - first) <= set(range(-3, 8))
    assert len(set(first)) > 20  # all over the clip
    whole = [
        clip.reshape(2, -1)[:, 0].astype(int)
        for batch in take(clips(1, frames=40), 20, segments=2, batch_size=1)
        for clip in batch["views"]
    ]
    assert np.ptp(whole, axis=1).max() > 20


def test_a_share_of_the_clips_shows_the_same_frames_twice():
    batches = take(clips(3, frames=24), 100, same_frames=0.25)
    grays = np.concatenate([batch["views"][..., 0, 0, 0] for batch in batches])  # [400, 2, 2]
    same = (grays[:, 0] == grays[:, 1]).all(axis=1)
    assert 65 < same.sum() < 135  # 100 expected, standard deviation 8.7
    for batch, plain in zip(take(clips(3), 3, same_frames=0.0), take(clips(3), 3), strict=True):
        np.testing.assert_array_equal(batch["views"], plain["views"])
