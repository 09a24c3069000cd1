"""The preparation benchmark runs, on toy videos; its numbers mean nothing here."""

import cv2
import numpy as np
import preparation
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
    assert "| grain |" in text


def test_on_paper():
    lines = preparation.on_paper(frames_per_cpu_second=1000, bytes_per_frame=10_000, price=0.05)
    assert "0.72 TB of records, 20 core-hours" in lines[0]
    assert lines[-1] == "| 256 | 0.1 | 1.00 |"
