"""Scores results that lie in a folder, whoever made them.

  vfs-score davis --results=DIR --data=DIR --split=val --out=DIR

reads RESULTS/SEQUENCE/00000.png (or RESULTS/masks/SEQUENCE/00000.png) and the true masks of the DAVIS folder DATA,
prints the table and writes OUT/global.csv and OUT/per_object.csv with the columns of the official tool, at full
precision. The other tasks likewise, with OUT/per_sequence.csv: vip (masks of classes), jhmdb (RESULTS/CLASS/CLIP.npy:
(x, y) in pixels, the first at 0, [t, joints, 2]; the splits are 1, 2 and 3), tapvid (RESULTS/VIDEO.npz: tracks
[points, t, 2] in pixels of a 256x256 picture, from its corner, and occluded [points, t]).

  vfs-score masks --results=DIR --data=DIR --out=DIR [--all_frames]

scores any two folders of index masks, SEQUENCE/NAME.png or, as SA-V has them, SEQUENCE/OBJECT/NAME.png: the frames of
which DATA has a mask, each object from the frame at which it enters, under its own label (1 to 255, with gaps). The
frame at which an object enters and the last frame are left out, as on DAVIS, but for --all_frames.

  vfs-score otb --results=DIR --data=OTB [--split=otb50] --out=DIR

scores boxes: RESULTS/SEQUENCE.txt, a row "left,top,width,height" a frame as in the data set's own files; lasot and
uav123 likewise, got10k RESULTS/NAME/NAME_001.txt (the layouts of the got10k toolkit). OUT gets the success and
precision plots too.

In a folder that vfs-eval wrote, its config.json says which split, year, sequences and frames it evaluated, by which
rules and at which size: flags that are not given are taken from there.
"""

import json
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from absl import flags
from tqdm import tqdm

from vfs_jax.apps import cli
from vfs_jax.data.copies import copy_sequences
from vfs_jax.data.text import read_text
from vfs_jax.errors import InputError
from vfs_jax.evaluation.tasks.base import ScoredTask, format_table, results_folder, write_tables
from vfs_jax.evaluation.tasks.boxes import BOX_TASKS, Got10k, Otb, read_speed
from vfs_jax.evaluation.tasks.mask_folders import MaskFolders
from vfs_jax.evaluation.tasks.masks import Davis, Vip
from vfs_jax.evaluation.tasks.results import unscored

FLAGS = flags.FlagValues()
_RESULTS = flags.DEFINE_string("results", None, "Folder of results, a folder a sequence.", flag_values=FLAGS)
_DATA = flags.DEFINE_string("data", None, "Folder of the data set, in its own layout.", flag_values=FLAGS)
_SPLIT = flags.DEFINE_string("split", None, "Which list of sequences; val if not known.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder for the tables.", flag_values=FLAGS)
_YEAR = flags.DEFINE_enum("year", None, ["2016", "2017"], "Of DAVIS: 2016 merges the objects.", flag_values=FLAGS)
_ALL_FRAMES = flags.DEFINE_bool(
    "all_frames", False, "Of masks: score the frame at which an object enters and the last one too.", flag_values=FLAGS
)
flags.mark_flags_as_required(["results", "data", "out"], flag_values=FLAGS)


def run(arguments: list[str]) -> None:
    """Score one task's results."""
    tasks: dict[str, Callable[..., ScoredTask[Any]]] = {task.name: task for task in (Davis, MaskFolders, Vip)}
    tasks |= BOX_TASKS
    if set(arguments) - set(tasks):
        from vfs_jax.evaluation.tasks.names import TASKS  # imports JAX, which takes longer than scoring masks

        tasks |= TASKS
    if len(arguments) != 1 or arguments[0] not in tasks:
        raise InputError(f"{' '.join(arguments) or 'no task'}: give one task, {' or '.join(tasks)}")
    data, out = str(_DATA.value), Path(str(_OUT.value))
    alone = arguments[0] == MaskFolders.name  # two folders of masks: nothing else is known, or asked for, of them
    known = {} if alone else _evaluated(Path(str(_RESULTS.value)), arguments[0])
    if alone and _SPLIT.value:
        raise InputError(f"split={_SPLIT.value}: folders of masks have no lists of sequences; leave it out")
    year = int(_YEAR.value or known.get("year", 2017))
    options: dict[str, dict[str, object]] = {"davis": {"year": year}, "masks": {"all_frames": _ALL_FRAMES.value}}
    options |= {name: {"rules": known.get("rules", "vfs")} for name in ("jhmdb", "vip")}
    task = tasks[arguments[0]](**options.get(arguments[0], {}))
    results = results_folder(str(_RESULTS.value), task)
    split = "" if alone else _SPLIT.value or known.get("split", "val")
    listed = known.get("sequences", "")  # of vfs-eval; what Python calls write is a list
    chosen = listed if isinstance(listed, list) else cli.names(listed)
    opened = task.open(data, split=split, sequences=[] if _SPLIT.value else chosen)
    sequences = [sequence.cut(known.get("max_frames")) for sequence in opened]
    sequences = copy_sequences(sequences, known.get("copies", "none"))
    for sequence in sequences:
        if not sequence.has_ground_truth:
            raise InputError(
                f"{data}: holds no ground truth of {sequence.name} past first labels; there is nothing to score"
            )
        if not task.output(results, sequence).exists():
            raise InputError(f"{task.output(results, sequence)}: is missing; every sequence of the split needs results")
    print(f"scoring {results} against {len(sequences)} sequences of {data}" + (f" ({split})" if split else ""))
    known_files = [task.output(results, sequence) for sequence in sequences]
    if isinstance(task, Got10k):
        known_files += [task.times(results, sequence) for sequence in sequences]
    beside = unscored(results, known_files)
    if beside:
        more = f" and {len(beside) - 1} more" if beside[1:] else ""
        print(f"WARNING: {beside[0]}{more}: belongs to no sequence and is not scored")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        each = pool.map(lambda sequence: task.score(results, sequence), sequences)
        scores = list(tqdm(each, total=len(sequences), unit="video"))
    write_tables(out, task, scores)
    print(format_table(task, scores))
    if isinstance(task, Otb):
        from vfs_jax.evaluation.report.plots import write_plots  # imports Matplotlib

        write_plots(out, task, {results.resolve().name: scores})
        speed = read_speed(task, results, sequences)
        print("" if math.isnan(speed) else f"{speed:.1f} frames/s, as the files of times say\n", end="")
    print(f"wrote {out / 'global.csv'} and {out / task.table}")


def _evaluated(results: Path, task: str) -> dict[str, Any]:
    """Read the configuration that vfs-eval left in a folder of results; empty where there is none."""
    path = results / "config.json"
    if not path.is_file():
        return {}
    text = read_text(path)
    try:
        config = json.loads(text)
    except json.JSONDecodeError:
        raise InputError(f"{path}: is not JSON; delete it, or evaluate again") from None
    if not isinstance(config, dict) or "task" not in config:
        return {}
    if config["task"] != task:
        raise InputError(f"{path}: these are results of {config['task']}, not of {task}")
    return config


def main() -> None:
    """Run the command."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
