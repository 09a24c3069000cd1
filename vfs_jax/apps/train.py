"""Trains VFS on prepared clips; started again with the same folder, it continues where it stopped.

  vfs-train --config=configs/vfs_r18_fine.py --workdir=DIR --config.data=RECORDS [--config.KEY=VALUE ...]

DIR gets config.json, metrics.jsonl, checkpoints/STEP, tensorboard/ and, where config.eval_every is set,
evaluation.jsonl and evaluation/STEP. All devices of the machine take part. A run over several processes, each started
by the same command, needs --processes=auto (SLURM, TPU slices, GKE, MPI) or --processes=HOST:PORT,INDEX,COUNT.

SIGTERM saves and ends with status 143.
"""

import dataclasses
from pathlib import Path

from vfs_jax.apps import cli, training
from vfs_jax.apps.programs import keep_programs
from vfs_jax.data.records import ClipRecords
from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import as_encoder
from vfs_jax.evaluation.propagation.settings import Settings, default_radius
from vfs_jax.evaluation.runs import propagation as runs
from vfs_jax.evaluation.tasks.base import write_tables
from vfs_jax.evaluation.tasks.names import TASKS
from vfs_jax.models import backbone_of
from vfs_jax.models.resnet import Variables
from vfs_jax.training.loop import Evaluate
from vfs_jax.training.options import FREE_FIELDS, TrainOptions, read_options
from vfs_jax.training.program import batch_layout
from vfs_jax.training.sharding import make_mesh
from vfs_jax.training.vfs import train_vfs

FLAGS = training.training_flags()


def run(arguments: list[str]) -> None:
    """Train as the flags say."""
    if arguments:
        raise InputError(f"{arguments[0]}: vfs-train takes no arguments, only --config, --workdir, --config.KEY=VALUE")
    config, workdir = training.start(FLAGS)
    keep_programs("vfs-train")
    options = read_options(config.to_dict())
    records = ClipRecords(options.data)
    evaluate = evaluator(options, workdir)
    batch_layout(make_mesh(), options.batch_size, {}, parts=options.accumulate)  # refused before anything is written
    lacking = records.shortfall(options.segments)
    training.claim(
        workdir,
        {**config.to_dict(), "data_found": records.checksum},
        # The same records may lie elsewhere than at the first run: what counts is their checksum.
        free=[*FREE_FIELDS, "data"],
        announcement=(
            f"training ResNet-{options.depth} on {len(records)} clips of {options.data} for {options.steps} steps of "
            f"{options.batch_size} clips, {options.segments} frames each"
        ),
        warning=f"vfs-train: WARNING: {lacking}" if lacking else "",
    )
    train_vfs(options, workdir, records, evaluate=evaluate)


def evaluator(options: TrainOptions, workdir: Path) -> Evaluate | None:
    """Make the evaluation within a run, of masks in a folder of DAVIS layout; None where it is off.

    Args:
        options: its eval_* fields say what is evaluated.
        workdir: gets evaluation/STEP/masks and the tables beside them.
    """
    if not options.eval_every:
        return None
    task = TASKS["davis"]()
    wanted = [name for name in options.eval_sequences.split(",") if name]
    sequences = [
        sequence.cut(options.eval_max_frames or None)
        for sequence in task.open(options.eval_data, split=options.eval_split, sequences=wanted)
    ]
    settings = Settings(short_side=options.eval_short_side, radius=default_radius(options.depth))
    evaluated = {name: getattr(options, name) for name in ("eval_data", "eval_split", "eval_max_frames")}

    def evaluate(variables: Variables, step: int) -> dict[str, float]:
        folder = workdir / "evaluation" / str(step)
        training.claim_evaluation(folder, {**evaluated, **dataclasses.asdict(settings)})
        for sequence in sequences:
            if not runs.finished(task, [folder], sequence):
                runs.propagate_sequence(task, as_encoder(backbone_of(variables)), sequence, folder, settings)
        scores = [task.score(folder / task.folder, sequence) for sequence in sequences]
        write_tables(folder, task, scores)
        return task.summary(scores)

    return evaluate


def main() -> None:
    """Run the command."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
