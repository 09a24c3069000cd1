"""Evaluates a network's features by label propagation.

  vfs-eval --config=configs/davis.py --workdir=DIR --config.data=DAVIS --config.weights=WEIGHTS

The configs davis, vip, jhmdb, tapvid and youtube_vos name the tasks. WEIGHTS is a training folder, one of its
checkpoints, a file of weights or random:SEED. DIR gets the results (masks/SEQUENCE/00000.png, joints/CLASS/CLIP.npy,
tracks/VIDEO.npz), global.csv, a table of details (per_object.csv or per_sequence.csv), timings.csv, config.json,
report.html and figures/*.png. Started again with the same configuration it goes on with the sequences that are not
finished.

Several WEIGHTS, comma-separated, are evaluated one after the other, each in a folder of its own under DIR, with one
table (DIR/table.csv), one report (DIR/report.html) and the differences from the first with their confidence intervals
(DIR/differences.csv). So are several settings, which share one pass of the network: --config.all_blocks=True takes the
features of every block, --config.sweep="topk=5,10;temperature=0.05,0.07" all combinations of these values.

All devices of the machine take part, each with a video of its own. A run over several processes that share DIR, each
started by the same command, needs --processes=auto (SLURM, TPU slices, GKE, MPI) or --processes=HOST:PORT,INDEX,COUNT.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from vfs_jax.apps import cli
from vfs_jax.apps.programs import keep_programs
from vfs_jax.claims import with_versions
from vfs_jax.data.copies import copy_sequences
from vfs_jax.distributed import join
from vfs_jax.errors import InputError
from vfs_jax.evaluation.data_sets import check_stored, make_task
from vfs_jax.evaluation.encoders import NamedEncoder, name_encoders
from vfs_jax.evaluation.propagation.settings import Settings, Variant, variants
from vfs_jax.evaluation.protocols import settings_of
from vfs_jax.evaluation.report.assembly import write_report
from vfs_jax.evaluation.report.matches import Inspector
from vfs_jax.evaluation.runs.comparison import Run
from vfs_jax.evaluation.runs.evaluation import evaluate_propagation

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file of configs/.", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the results go.", flag_values=FLAGS)
_PROCESSES = flags.DEFINE_string(
    "processes", "", "auto, or HOST:PORT,INDEX,COUNT, in a run over several processes.", flag_values=FLAGS
)
flags.mark_flags_as_required(["config", "workdir"], flag_values=FLAGS)

_REPORT_FIELDS = ("inspect", "inspect_frame", "inspect_point")  # they decide what is shown, not what is computed
_TASK_FIELDS = ("year", "occlusion_threshold", "rules")  # of the tasks whose configs have them


def run(arguments: list[str]) -> None:
    """Evaluate as the flags say."""
    if arguments:
        raise InputError(
            f"{arguments[0]}: vfs-eval takes no arguments, only --config, --workdir and --config.KEY=VALUE"
        )
    config, workdir = _CONFIG.value, Path(str(_WORKDIR.value))
    join(str(_PROCESSES.value))  # before anything asks for a device
    keep_programs("vfs-eval")
    fields = {name: config[name] for name in _TASK_FIELDS if name in config}
    task = make_task(config.task, config.protocol, **fields)
    opened = task.open(config.data, split=config.split, sequences=cli.names(config.sequences))
    if config.max_frames is not None and config.max_frames < 1:
        raise InputError(f"max_frames={config.max_frames}: must be at least 1")
    sequences = [sequence.cut(config.max_frames) for sequence in opened]
    inspector = Inspector(config.inspect, config.inspect_frame, config.inspect_point)
    # All weights are read before anything is written, so that a wrong name costs no hour.
    named = name_encoders(weights=config.weights, encoder=config.encoder, features=config.features, depth=config.depth)
    overrides = _overrides(config)
    encoders = [(each, _variants(config, overrides, each)) for each in named]
    sequences = copy_sequences(sequences, encoders[0][1][0].settings.copies)
    for each, swept in encoders:
        check_stored(each, sequences, swept[0].settings)
    several = sum(len(swept) for _, swept in encoders) > 1
    # What differs from the protocol, apart from what every protocol leaves open.
    whole = {**config.to_dict(), "overridden": sorted({*overrides} - {"output", "dtype", "precision", "batch_frames"})}
    shown = {name: value for name, value in {**whole, **_common(encoders)}.items() if value is not None}

    def report(folder: Path, runs: Sequence[Run], notes: Sequence[str]) -> None:
        write_report(
            folder / "report.html",
            task,
            runs,
            sequences,
            title=f"Label propagation on {Path(config.data).resolve().name}, {config.split}".removesuffix(", "),
            settings=cli.shown(with_versions(shown), hidden=("weights", "published")),
            published=config.published,
            notes=notes,
            inspector=inspector if len(runs) > 1 or not several else None,
        )

    evaluate_propagation(
        task,
        sequences,
        encoders,
        workdir,
        data=config.data,
        config=whole,
        free=_REPORT_FIELDS,
        max_sizes=config.max_sizes,
        report=report,
        log=partial(print, flush=True),
    )
    if jax.process_index() > 0:
        return
    if any(sequence.has_ground_truth for sequence in sequences):
        print(f"\nwrote {workdir / 'report.html'} and the tables beside it")
    else:
        print(f"wrote the results; {config.data} has first labels alone for split {config.split}, so there is no score")


def _variants(config: ConfigDict, overrides: Mapping[str, Any], named: NamedEncoder) -> list[Variant]:
    """Return the settings of a config for an encoder, with what is swept."""
    encoder = named.encoder
    if config.output is not None and config.output not in encoder.outputs:
        known = ", ".join(encoder.outputs)
        raise InputError(f"output={config.output}: {named.name} has no such output; there are {known}")
    settings = settings_of(config.protocol, config.task, encoder, **overrides)
    return variants(settings, config.sweep, outputs=encoder.blocks if config.all_blocks else ())


def _overrides(config: ConfigDict) -> dict[str, Any]:
    """Return the fields of a protocol's settings that a config sets."""
    names = [field.name for field in dataclasses.fields(Settings)]
    return {name: config[name] for name in names if config[name] is not None}


def _common(encoders: Sequence[tuple[NamedEncoder, Sequence[Variant]]]) -> dict[str, object]:
    """Return the settings that all runs share."""
    every = [dataclasses.asdict(variant.settings) for _, variants in encoders for variant in variants]
    return {name: value for name, value in every[0].items() if all(each[name] == value for each in every)}


def main() -> None:
    """Run the command."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
