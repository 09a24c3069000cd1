"""The benchmark of scoring runs, at toy size, with a stand-in for the official tool."""

import json

import pytest
import scoring
from small import write_davis

# A package of the official one's name and interface, whose numbers are those that a perfect result gets.
STAND_IN = """
class DAVISEvaluation:
    def __init__(self, davis_root, task, gt_set):
        assert (task, gt_set) == ("semi-supervised", "val")

    def evaluate(self, results):
        return {m: {"M": [1, 1], "R": [1, 1], "D": [0, 0], "M_per_object": {"ant_1": 1, "bee_1": 1}} for m in "JF"}
"""


def test_benchmark_runs(tmp_path):
    data = write_davis(tmp_path / "data")
    (tmp_path / "official/davis2017").mkdir(parents=True)
    (tmp_path / "official/davis2017/evaluation.py").write_text(STAND_IN)
    masks = f"--results={data / 'Annotations/480p'}"
    flags = f"--data={data}", f"--official={tmp_path / 'official'}", f"--out={tmp_path / 'out'}", "--rounds=1"
    found = scoring.main([*flags, masks, f"--keep={tmp_path / 'kept.json'}"])
    kept = json.loads((tmp_path / "kept.json").read_text())
    number = len([*data.glob("Annotations/480p/*/*.png")])
    names = [f"scoring {number} masks: {tool}" for tool in ("vfs-score", "the official tool")]
    assert [entry["name"] for entry in kept] == names
    assert json.loads((tmp_path / "out/scoring.json").read_text()) == found
    assert (found["objects"], found["largest_difference"]) == (2, 0)
    ratio = found["official"]["process_s"] / found["ours"]["process_s"]
    assert found["times_as_fast"]["process_s"] == pytest.approx(ratio)
    # Bent by some six pixels in 64x96 the masks are far from the truth.
    assert 0.3 < scoring.main([*flags])["largest_difference"] <= 1
