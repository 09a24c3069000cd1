"""The operators' benchmark runs, at toy size."""

import json

import operators
import pytest
from operator_cases import FULL, Case, circle_operations


@pytest.mark.long
def test_benchmark_runs(tmp_path):
    report = operators.main([f"--out={tmp_path}", "--toy", "--repeats=2", f"--keep={tmp_path}/kept.json"])
    assert json.loads((tmp_path / "operators.json").read_text())["cases"].keys() == {"R18", "R50"}
    for case in report["cases"].values():
        assert case["largest_difference"] < 1e-5  # ours and the official way, float32 both
        assert case["stream"]["memory_above_inputs"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"operators.json", "kept.json", "growth.png", "speed.png"}
    kept = {entry["name"]: entry["figure"] for entry in json.loads((tmp_path / "kept.json").read_text())}
    assert len(kept) == 4
    assert kept["propagate_next, R18 float32: vfs_jax"] == pytest.approx(
        report["cases"]["R18"]["stream"]["median_s"], 1e-3
    )


def test_operations_in_circles():
    """The floor's count, on grids where it can be counted by hand."""
    assert circle_operations(Case("", 1, 1.0, 4, 5, 0)) == 2 * 20  # only itself
    # Radius 1.2 reaches the four neighbors: 2 * (4 * 4 + 3 * 5) ordered neighbor pairs on 4x5, and itself.
    assert circle_operations(Case("", 3, 1.2, 4, 5, 1)) == 2 * 3 * 2 * (20 + 2 * 31)
    assert circle_operations(FULL[0]) == pytest.approx(26.3e9, rel=2e-3)
    assert circle_operations(FULL[1]) == pytest.approx(224.8e9, rel=2e-3)
