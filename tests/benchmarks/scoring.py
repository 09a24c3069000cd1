"""Masks a second of vfs-score against the official tool on the same folder and cores, and how far their numbers differ.

  python tests/benchmarks/scoring.py --data=DAVIS [--results=DIR] [--official=DIR] --out=DIR

DAVIS is a folder of that layout, with the ground truth of ImageSets/2017/val.txt. RESULTS is a folder of masks for it;
without it the ground truth is bent and scored. OFFICIAL is a checkout of github davis2017-evaluation, which
needs scikit-image, SciPy and tqdm; without it ours is measured alone. Each tool runs in processes of its own, with all
cores, by turns; the seconds of the whole process, and of its scoring without imports, go to scoring.json.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from kept import keep

from vfs_jax.data.images import read_index_mask, write_index_mask
from vfs_jax.data.mask_datasets import open_davis
from vfs_jax.evaluation.metrics.davis import COLUMNS

# Each runs in a process of its own with DATA, RESULTS and TABLES as arguments, and prints its seconds without imports.
_OFFICIAL = """
import csv, sys, time
from davis2017.evaluation import DAVISEvaluation
begin = time.perf_counter()
found = DAVISEvaluation(davis_root=sys.argv[1], task="semi-supervised", gt_set="val").evaluate(sys.argv[2])
seconds = time.perf_counter() - begin
J, F = found["J"], found["F"]
with open(sys.argv[3] + "/per_object.csv", "w") as file:
    writer = csv.writer(file)
    writer.writerow(["Sequence", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"])
    writer.writerows(zip(J["M_per_object"], J["M"], J["R"], J["D"], F["M"], F["R"], F["D"]))
print(seconds)
"""
_OURS = """
import sys, time
from vfs_jax.apps import score
data, results, out = sys.argv[1:]
score.FLAGS(["vfs-score", f"--data={data}", f"--results={results}", f"--out={out}"])
begin = time.perf_counter()
score.run(["davis"])
print(time.perf_counter() - begin)
"""


def bend(mask: np.ndarray, seed: int) -> np.ndarray:
    """Move a mask's pixels along a smooth random field, by some six pixels."""
    height, width = mask.shape
    coarse = np.random.default_rng(seed).normal(0, 6, (8, 14, 2)).astype(np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    rows, cols = np.mgrid[:height, :width].astype(np.float32)
    border = cv2.BORDER_REPLICATE
    return cv2.remap(mask, cols + field[..., 0], rows + field[..., 1], cv2.INTER_NEAREST, borderMode=border)


def write_bent(data: Path, out: Path) -> None:
    """Bend the masks of a data set into results."""
    for sequence in open_davis(data):
        (out / sequence.name).mkdir(parents=True)
        for index, path in enumerate(sequence.masks):
            write_index_mask(out / sequence.name / path.name, bend(np.array(read_index_mask(path)), index))


def run(program: str, *arguments: Path, path: Path | None = None) -> tuple[float, float]:
    """Run a program in a process of its own; returns its seconds, and those that it says it scored for."""
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else None
    command = [sys.executable, "-c", program, *map(str, arguments)]
    begin = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return time.perf_counter() - begin, float(done.stdout.splitlines()[-1])


def read_rows(file: Path) -> dict[str, list[float]]:
    """Read the statistics of every object."""
    with file.open() as lines:
        return {row["Sequence"]: [float(row[column]) for column in COLUMNS[1:]] for row in csv.DictReader(lines)}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measures all; returns what was written to scoring.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the DAVIS layout")
    parser.add_argument("--results", type=Path, help="folder of masks; the bent ground truth where it is not given")
    parser.add_argument("--official", type=Path, help="checkout of davis2017-evaluation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, help="folder for scoring.json")
    parser.add_argument("--keep", type=Path, help="JSON file to add the figures to")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "official": []}
    with tempfile.TemporaryDirectory() as name:
        folder, results = Path(name), options.results
        if results is None:
            results = folder / "results"
            write_bent(options.data, results)
        for tool in times:
            (folder / tool).mkdir()
        for _ in range(options.rounds):
            times["ours"].append(run(_OURS, options.data, results, folder / "ours"))
            if options.official:
                arguments_ = options.data, results, folder / "official"
                times["official"].append(run(_OFFICIAL, *arguments_, path=options.official))
        masks = sum(1 for _ in results.rglob("*.png"))
        rows = {tool: read_rows(folder / tool / "per_object.csv") for tool, runs in times.items() if runs}
    report: dict[str, Any] = {"cores": os.cpu_count(), "objects": len(rows["ours"]), "masks": masks}
    for tool in rows:
        whole, alone = (statistics.median(values) for values in zip(*times[tool], strict=True))
        report[tool] = {"process_s": whole, "scoring_s": alone}
    if options.official:
        ours, official = (np.array([rows[tool][name] for name in rows["ours"]]) for tool in ("ours", "official"))
        assert rows["ours"].keys() == rows["official"].keys()
        report["times_as_fast"] = {key: report["official"][key] / report["ours"][key] for key in report["ours"]}
        report["largest_difference"] = float(np.nanmax(np.abs(ours - official)))
    (options.out / "scoring.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    named = {"ours": "vfs-score", "official": "the official tool"}
    keep(options.keep, {f"scoring {masks} masks: {named[tool]}": (report[tool]["process_s"], "s") for tool in rows})
    return report


if __name__ == "__main__":
    main()
