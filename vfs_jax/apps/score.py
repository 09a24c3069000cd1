"""Scores results that lie in a folder, whoever made them.

  vfs-score davis --results=DIR --data=DIR --split=val --out=DIR

reads RESULTS/SEQUENCE/00000.png (or RESULTS/masks/SEQUENCE/00000.png) and the true masks of the DAVIS folder DATA,
prints the table and writes OUT/global.csv and OUT/per_object.csv with the columns of the official tool, at full
precision.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from absl import flags
from tqdm import tqdm

from vfs_jax.apps import cli
from vfs_jax.data.video_labels import open_davis
from vfs_jax.errors import InputError
from vfs_jax.evaluation.metrics import davis
from vfs_jax.evaluation.results import check_davis_results, masks_folder, score_davis

FLAGS = flags.FlagValues()
_RESULTS = flags.DEFINE_string("results", None, "Folder of results, a folder a sequence.", flag_values=FLAGS)
_DATA = flags.DEFINE_string("data", None, "Folder of the data set, in its own layout.", flag_values=FLAGS)
_SPLIT = flags.DEFINE_string("split", "val", "Which list of sequences.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder for the tables.", flag_values=FLAGS)
_YEAR = flags.DEFINE_enum("year", "2017", ["2016", "2017"], "Of DAVIS: 2016 merges the objects.", flag_values=FLAGS)
flags.mark_flags_as_required(["results", "data", "out"], flag_values=FLAGS)


def run(arguments: list[str]) -> None:
    """Scores one task's results."""
    tasks = {"davis": _score_davis}
    if len(arguments) != 1 or arguments[0] not in tasks:
        raise InputError(f"{' '.join(arguments) or 'no task'}: give one task, {' or '.join(tasks)}")
    tasks[arguments[0]]()


def _score_davis() -> None:
    data, out = Path(str(_DATA.value)), Path(str(_OUT.value))
    sequences = open_davis(data, _SPLIT.value, year=int(_YEAR.value))
    results = masks_folder(str(_RESULTS.value))
    check_davis_results(results, sequences)
    print(f"scoring {results} against {len(sequences)} sequences of {data} ({_SPLIT.value}, DAVIS {_YEAR.value})")
    with ThreadPoolExecutor() as pool:
        each = pool.map(lambda sequence: score_davis(results, sequence), sequences)
        scores = [score for found in tqdm(each, total=len(sequences), unit="video") for score in found]
    out.mkdir(parents=True, exist_ok=True)
    davis.write_tables(out, scores)
    print(davis.format_table(scores))
    print(f"wrote {out / 'global.csv'} and {out / 'per_object.csv'}")


def main() -> None:
    """The console script."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
