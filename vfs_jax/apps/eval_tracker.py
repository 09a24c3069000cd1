"""Evaluates box tracking with SiamFC on a network's res5 features.

  vfs-eval-tracker --config=configs/otb.py --workdir=DIR --config.data=OTB --config.weights=WEIGHTS

The configs otb, got10k, lasot and uav123 name the data sets. WEIGHTS is a folder of vfs-train-tracker or vfs-train, one
of its checkpoints, a file of weights or random:SEED; where they hold no tracking head the features themselves are
correlated. DIR gets boxes/SEQUENCE.txt and boxes/times/SEQUENCE_time.txt (or the got10k toolkit's other layout),
global.csv, per_sequence.csv, success_plots.png, precision_plots.png, config.json and report.html, and with
--config.attributes per_attribute.csv. Started again with the same configuration it goes on with the sequences that are
not finished.

Several WEIGHTS, comma-separated, are evaluated one after the other, each in a folder of its own under DIR, with one
report and one plot.
"""

from functools import partial
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from vfs_jax.apps import cli
from vfs_jax.apps.programs import keep_programs
from vfs_jax.claims import with_versions
from vfs_jax.errors import InputError
from vfs_jax.evaluation.report.assembly import write_report
from vfs_jax.evaluation.report.plots import write_plots
from vfs_jax.evaluation.runs.tracking import evaluate_tracking
from vfs_jax.evaluation.tasks.attributes import AttributeScore, read_attributes, score_attributes, write_attributes
from vfs_jax.evaluation.tasks.boxes import BOX_TASKS, Otb
from vfs_jax.evaluation.tracking.siamfc import TrackerSettings
from vfs_jax.models.weights.resolve import resolve_several

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file of configs/.", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the results go.", flag_values=FLAGS)
flags.mark_flags_as_required(["config", "workdir"], flag_values=FLAGS)

# What may change when a run is continued: it decides neither boxes nor which sequences count.
_FREE = ("sequences_per_device", "attributes", "attribute_names")


def run(arguments: list[str]) -> None:
    """Evaluate as the flags say."""
    if arguments:
        raise InputError(
            f"{arguments[0]}: vfs-eval-tracker takes no arguments, only --config, --workdir, --config.KEY=..."
        )
    config, workdir = _CONFIG.value, Path(str(_WORKDIR.value))
    keep_programs("vfs-eval-tracker")
    if config.task not in BOX_TASKS:
        raise InputError(f"task={config.task}: there are {', '.join(BOX_TASKS)}")
    task = BOX_TASKS[config.task]()
    opened = task.open(config.data, split=config.split, sequences=cli.names(config.sequences))
    if config.max_frames is not None and config.max_frames < 1:
        raise InputError(f"max_frames={config.max_frames}: must be at least 1")
    sequences = [sequence.cut(config.max_frames) for sequence in opened]
    attributes = {}
    if config.attributes:
        names = [sequence.name for sequence in sequences]
        attributes = read_attributes(Path(config.attributes), names, config.attribute_names)
    runs = evaluate_tracking(
        task,
        sequences,
        # All weights are read before anything is written, so that a wrong name costs no hour.
        resolve_several(config.weights, config.depth, heads=True),
        workdir,
        tracker=TrackerSettings(**config.tracker),
        data=config.data,
        config=config.to_dict(),
        free=_FREE,
        sequences_per_device=config.sequences_per_device,
        log=partial(print, flush=True),
    )
    if not all(run.scores for run in runs):
        print(f"wrote the boxes; {config.data} has first boxes alone for split {config.split}, so there is no score")
        return
    for each in runs if attributes else []:
        by_attribute = score_attributes(task, each.scores, attributes)
        write_attributes(each.results.parent / "per_attribute.csv", task, by_attribute)
        print(f"\n{each.name} by attribute\n{_attribute_lines(task, by_attribute)}")
    settings = with_versions({**config.to_dict(), **config.tracker.to_dict()})
    write_report(
        workdir / "report.html",
        task,
        runs,
        sequences,
        title=f"Box tracking on {Path(config.data).resolve().name}, {config.split}",
        settings=cli.shown(settings, hidden=("weights", "published", "tracker")),
        published=config.published,
        pictures=write_plots(workdir, task, {each.name: each.scores for each in runs}),
        attributes=attributes,
    )
    print(f"\nwrote {workdir / 'report.html'} and the tables and plots beside it")


def _attribute_lines(task: Otb, scores: list[AttributeScore]) -> str:
    width = max(len(score.name) for score in scores)
    values = (" ".join(f"{column} {100 * score.values[column]:5.1f}" for column in task.columns) for score in scores)
    lines = zip(scores, values, strict=True)
    return "\n".join(f"{score.name:{width}} ({score.sequences:>3}) {numbers}" for score, numbers in lines)


def main() -> None:
    """Run the command."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
