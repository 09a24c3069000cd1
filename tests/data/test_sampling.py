"""Frame sampling against the official code's recorded ranges, and its properties."""

import json

import numpy as np
import pytest

from vfs_jax.data.sampling import draw_span, sample_frames


def draws(num_frames, segments, number=2000, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([sample_frames(rng, num_frames, segments) for _ in range(number)])


def test_ranges_equal_the_official_ones(oracles):
    recorded = json.loads((oracles / "frame_sampling.json").read_text())
    assert len(recorded) > 10
    for case, expected in recorded.items():
        segments, num_frames = (int(part.split("=")[1]) for part in case.split())
        drawn = draws(num_frames, segments)
        distinct = [len(set(column)) for column in drawn.T]
        # Wide stretches do not show all their values in 2000 draws; up to 40 they do (each missing with p < 1e-21).
        if max(distinct + expected["distinct"]) <= 40:
            assert drawn.min(0).tolist() == expected["min"], case
            assert drawn.max(0).tolist() == expected["max"], case
            assert distinct == expected["distinct"], case
            assert sorted(set(drawn[:, -1].tolist())) == expected["values of the last segment"], case
        else:
            slack = (num_frames + 1) // segments // 40  # p < 1e-21 that 2000 draws leave so much of a stretch's edge
            np.testing.assert_allclose(drawn.min(0), expected["min"], rtol=0, atol=slack, err_msg=case)
            np.testing.assert_allclose(drawn.max(0), expected["max"], rtol=0, atol=slack, err_msg=case)


@pytest.mark.parametrize("segments", [1, 2, 3, 8])
@pytest.mark.parametrize("num_frames", [1, 2, 6, 7, 8, 15, 16, 100, 300])
def test_frames_lie_in_their_stretch(num_frames, segments):
    drawn = draws(num_frames, segments, number=50)
    assert drawn.dtype == np.int64
    assert drawn.min() >= 0
    assert drawn.max() < num_frames
    interval = (num_frames + 1) // segments
    for s in range(segments):
        if interval:
            assert set(drawn[:, s]) <= {(s * interval + k) % num_frames for k in range(interval)}
        else:
            assert set(drawn[:, s]) == {round(s * (num_frames + 1) / segments) % num_frames}  # round() is half to even


def test_a_stretch_is_drawn_uniformly():
    counts = np.bincount(draws(80, 8, number=5000)[:, 3], minlength=80)[30:40]
    # Ten equally likely frames: 500 each, standard deviation 21; five of them is the bound.
    assert counts.sum() == 5000
    assert np.abs(counts - 500).max() < 107


def test_the_number_past_the_last_frame_wraps_to_the_first():
    assert set(draws(15, 8)[:, 7]) == {14, 0}  # interval 2: frames 14 and 15, and 15 is past the end


@pytest.mark.parametrize("arguments", [(0, 8), (5, 0)])
def test_nonsense_raises(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        sample_frames(np.random.default_rng(0), *arguments)


@pytest.mark.parametrize("seconds", [0.05, 1.0, 2.5, 9.9, 20.0])
def test_a_span_is_a_part_of_that_length(seconds):
    """Against a search for every frame that may be first, with uneven times; all are drawn, alike often."""
    times = np.cumsum(np.random.default_rng(1).uniform(0.02, 0.2, size=90)) + 3.0
    firsts = [i for i, time in enumerate(times) if time + seconds <= times[-1]] or [0]
    rng = np.random.default_rng(0)
    drawn = [draw_span(rng, times, seconds) for _ in range(100 * len(firsts))]
    for first, end in drawn:
        inside = [i for i, time in enumerate(times) if times[first] <= time <= times[first] + seconds]
        assert (inside[0], inside[-1] + 1) == (first, end)
    counts = np.bincount([first for first, _ in drawn], minlength=len(firsts))
    assert np.flatnonzero(counts).tolist() == firsts
    assert np.abs(counts - 100).max() < 50 or len(firsts) == 1  # 100 each, standard deviation 10
