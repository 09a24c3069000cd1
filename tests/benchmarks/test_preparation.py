"""The preparation benchmark runs, on toy videos; its numbers mean nothing here."""

import cv2
import numpy as np
import preparation
import preparation_choices
import pytest


@pytest.mark.long
def test_benchmark_runs(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
        for frame in range(5):
            writer.write(np.full((48, 64, 3), 20 * frame, np.uint8))
        writer.release()
    text = preparation.report(tmp_path, repeat=1, workers=[1], short_side=32, quality=90, price=0.04)
    assert "| bare loop |" in text
    assert "| vfs-prepare --workers=1 |" in text
    assert "| the same through grain |" in text


def test_on_paper():
    lines = preparation.on_paper(frames_per_cpu_second=1000, bytes_per_frame=10_000, price=0.05)
    assert "0.72 TB of records, 20 core-hours" in lines[0]
    assert lines[-1] == "| 256 | 0.1 | 1.00 |"


def test_choices(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "a.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for frame in range(20):
        writer.write(np.full((48, 64, 3), 10 * frame, np.uint8))
    writer.release()
    decoders = preparation_choices.compare_decoders(tmp_path, repeat=1)
    assert decoders[0].startswith("| frames a CPU-second | OpenCV |")
    assert decoders[-2].startswith("| a.mp4 | ")
    assert "frames)" not in decoders[-2]  # all decode the same number
    rates = preparation_choices.compare_rates(tmp_path, [0, 5, 1], short_side=32, quality=90)
    assert len(rates) == 5
    assert "| 100% | 300 |" in rates[2]
    assert rates[4].endswith("| 1 | 1.00 (1.00 to 1.00) |")  # no choice is left at one frame a second


def test_drawn_times_are_those_of_the_paper():
    """300 frames, 8 segments: the interval is 37 frames, so segment s begins at 37 s and ends before 37 (s + 1)."""
    frames = preparation_choices.drawn_times(30) * 30
    for segment in range(8):
        assert frames[:, segment].min() == pytest.approx(37 * segment)
        assert frames[:, segment].max() == pytest.approx(37 * segment + 36)
