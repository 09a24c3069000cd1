"""Pairs for the tracking head: which frames are fit, how two are drawn, how they are cut; batches by seed and step."""

import cv2
import numpy as np
import pytest

from vfs_jax.data.box_datasets import BoxSequence
from vfs_jax.data.pairs import PairBatches, PairSettings, center_crop, cut_patch, kept_frames, pair_batches, sample_pair
from vfs_jax.errors import InputError

SMALL = PairSettings(exemplar_size=40, search_size=96, crop_margin=4)


@pytest.fixture
def sequences(tmp_path):
    """Five sequences of three frames, each of a color of its own."""
    found = []
    for number in range(5):
        files = []
        for t in range(3):
            files.append(tmp_path / f"{number}_{t}.png")
            cv2.imwrite(str(files[-1]), np.full((100, 120, 3), 40 * number + 10 * t, np.uint8))
        found.append(BoxSequence(str(number), tuple(files), np.tile([30.0, 30, 40, 30], (3, 1))))
    return found


def test_frames_that_are_fit(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((400, 1200, 3), np.uint8))
    rows = [
        ((40, 40), 8, True),
        ((19, 40), 8, False),  # a side below 20
        ((501, 150), 8, False),  # above 500
        ((150, 201), 8, False),  # more than half of the height
        ((101, 25), 8, False),  # aspect above 4
        ((100, 25), 8, True),
        ((25, 101), 8, False),
        ((40, 40), 2, False),  # at most 0.3 of the greatest cover
        ((40, 40), 3, True),
    ]
    boxes = np.array([(5.0, 5.0, *size) for size, _, _ in rows])
    cover = np.array([cover for _, cover, _ in rows])
    sequence = BoxSequence("a", (tmp_path / "0.png",) * len(rows), boxes, cover=cover)
    assert kept_frames(sequence).tolist() == [index for index, row in enumerate(rows) if row[2]]


def test_two_frames():
    rng = np.random.default_rng(0)
    kept = np.array([0, 50, 120, 130])
    drawn = {sample_pair(rng, kept, 100) for _ in range(300)}
    assert drawn == {(0, 50), (50, 120), (50, 130), (120, 130)}
    assert sample_pair(rng, np.array([0, 500]), 100) == (0, 500)  # of two the gap is ignored
    first, second = sample_pair(rng, np.array([0, 500, 1000]), 100)
    assert first == second


def test_patches():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (100, 120, 3), dtype=np.uint8)
    shapes = [cut_patch(rng, image, np.array([30.0, 30, 40, 30]), PairSettings(), exemplar=e).shape for e in (1, 0)]
    assert shapes == [(120, 120, 3), (239, 239, 3)]
    patch = np.arange(9 * 9 * 3, dtype=np.uint8).reshape(9, 9, 3)
    np.testing.assert_array_equal(center_crop(patch, 5), patch[2:7, 2:7])
    small = center_crop(patch, 13)
    np.testing.assert_array_equal(small[2:11, 2:11], patch)
    np.testing.assert_array_equal(small[0, 0], np.round(patch.mean((0, 1))))


def test_batches_follow_from_seed_and_step(sequences):
    def batches(start=0, **changes):
        options = {"batch_size": 2, "seed": 3, "start_step": start, "settings": SMALL} | changes
        return pair_batches(sequences, **options)

    whole = batches()
    expected = [next(whole) for _ in range(5)]
    assert expected[0]["exemplar"].shape == (2, 40, 40, 3)
    assert expected[0]["search"].shape == (2, 88, 88, 3)
    for name, values in next(batches(3)).items():
        np.testing.assert_array_equal(values, expected[3][name])
    halves = [next(batches(process_index=index, process_count=2))["search"] for index in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(halves), expected[0]["search"])
    # An epoch is two batches of two: four sequences, each once; the fifth is left out.
    for epoch in (0, 1):
        colors = np.concatenate([batch["search"][:, 44, 44, 0] for batch in expected[2 * epoch : 2 * epoch + 2]])
        assert len(set(colors // 40)) == 4
    # Fewer than a batch are repeated.
    filled = next(batches(batch_size=12))["search"][:, 44, 44, 0] // 40
    assert {np.sum(filled == number) for number in range(5)} == {2, 3}


def test_what_cannot_be_read_is_replaced_and_told(sequences, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    mixed = [BoxSequence("broken", (broken,) * 3, sequences[0].boxes), *sequences[1:]]
    batch, again = (PairBatches(mixed, 10, 0, 0, 0, 1, SMALL)[0] for _ in range(2))
    assert len(batch["id"]) == 10
    assert set(batch["id"]) <= {"1", "2", "3", "4"}
    assert batch["unreadable"]
    assert all(message.startswith(f"broken: {broken}") for message in batch["unreadable"])
    assert again["id"] == batch["id"]
    np.testing.assert_array_equal(again["search"], batch["search"])
    with pytest.raises(InputError, match="sequences cannot be read; verify the data"):
        PairBatches([mixed[0]] * 3, 2, 0, 0, 0, 1, SMALL)[0]


def test_what_is_not_fit_is_replaced_or_named(sequences):
    tiny = [BoxSequence(s.name, s.frames, s.boxes * (1, 1, 0.1, 0.1)) for s in sequences]
    batch = PairBatches([sequences[0], *tiny[1:]], 8, 0, 0, 0, 1, SMALL)[0]
    assert set(batch["search"][:, 44, 44, 0] // 40) == {0}
    with pytest.raises(InputError, match="no sequence has two frames that are fit"):
        PairBatches(tiny, 2, 0, 0, 0, 1, SMALL)[0]
    with pytest.raises(InputError, match="no sequences"):
        pair_batches([], batch_size=2, seed=0)
    with pytest.raises(InputError, match="multiple of the 2 processes"):
        pair_batches(sequences, batch_size=3, seed=0, process_count=2)
