"""The got10k toolkit's experiment runs the tracker as it is, and scores its boxes as we do (skips without it)."""

import json

import cv2
import numpy as np
import pytest

from vfs_jax.data.box_datasets import open_otb
from vfs_jax.evaluation import SiamFCTracker
from vfs_jax.evaluation.tasks.boxes import Otb

pytest.importorskip("got10k", reason="the got10k toolkit is not installed (pip install got10k)")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")


def test_the_toolkits_experiment(variables, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    from got10k.datasets import OTB
    from got10k.experiments import ExperimentOTB

    rng = np.random.default_rng(0)
    for name in ("Crossing", "Deer"):
        folder = tmp_path / "otb" / name
        (folder / "img").mkdir(parents=True)
        for t in range(4):
            frame = rng.integers(0, 90, (60, 80, 3), dtype=np.uint8)
            frame[20 + t : 36 + t, 30 + 2 * t : 46 + 2 * t] = 200
            cv2.imwrite(str(folder / "img" / f"{t + 1:04d}.jpg"), frame)
        (folder / "groundtruth_rect.txt").write_text("".join(f"{31 + 2 * t},{21 + t},16,16\n" for t in range(4)))

    experiment = ExperimentOTB.__new__(ExperimentOTB)  # its constructor would download the 98 other sequences
    experiment.dataset = OTB(str(tmp_path / "otb"), 2015, download=False)
    experiment.result_dir, experiment.report_dir = str(tmp_path / "results"), str(tmp_path / "reports")
    experiment.nbins_iou, experiment.nbins_ce = 21, 51
    tracker = SiamFCTracker(variables, exemplar_size=40, search_size=79)
    experiment.run(tracker)
    overall = experiment.report([tracker.name])[tracker.name]["overall"]

    task, sequences = Otb(), open_otb(tmp_path / "otb")
    scores = [task.score(tmp_path / "results" / "SiamFC", sequence) for sequence in sequences]
    mean = task.curves(scores)
    np.testing.assert_allclose(mean.success_curve, overall["success_curve"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(mean.precision_curve, overall["precision_curve"], rtol=0, atol=1e-12)
    assert overall["speed_fps"] > 0
    saved = json.loads((tmp_path / "reports/SiamFC/performance.json").read_text())["SiamFC"]["seq_wise"]
    assert {name: each["success_score"] for name, each in saved.items()} == pytest.approx(
        {score.name: score.value for score in scores}, abs=1e-12
    )
