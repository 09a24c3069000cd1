"""What a run costs: timings that are whole whatever happens while they are written."""

import resource

import pytest

from vfs_jax.evaluation.runs.costs import append_timing, read_cost


def test_a_full_disk_leaves_timings_whole(tmp_path):
    """A limit on the size of files, as a full disk: the line is refused, and written when there is room."""
    timing = {"frames": 4, "seconds": 2.0, "peak_bytes": 3_000_000}
    append_timing(tmp_path, "ant", **timing)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "timings.csv").stat().st_size + 8, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            append_timing(tmp_path, "bee", **timing)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    append_timing(tmp_path, "bee", **timing)
    assert (tmp_path / "timings.csv").read_text().splitlines()[1:] == ["ant,4,2.000,3.0", "bee,4,2.000,3.0"]
    assert read_cost(tmp_path, None).seconds_per_frame == 0.5
