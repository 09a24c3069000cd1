"""Trains the SiamFC head of a box tracker on frozen res5 features; started again with the same folder, it continues.

  vfs-train-tracker --config=configs/siamfc.py --workdir=DIR --config.data=GOT-10k --config.weights=WEIGHTS

WEIGHTS are those of the backbone: a folder of vfs-train, one of its checkpoints, a file of weights or random:SEED. DATA
is a folder of the GOT-10k layout (its split "train"), or of OTB's with --config.layout=otb. DIR gets config.json,
metrics.jsonl, tensorboard/ and checkpoints/STEP, which vfs-eval-tracker, vfs-track and vfs-convert read, and, where
config.eval_every is set, evaluation.jsonl and evaluation/STEP: tracks through config.eval_data, a folder of OTB's
layout. All devices of the machine take part; --processes, and SIGTERM, are as in vfs-train.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from vfs_jax.apps import cli, training
from vfs_jax.apps.programs import keep_programs
from vfs_jax.claims import checksum
from vfs_jax.data.box_datasets import BoxSequence, open_got10k, open_otb
from vfs_jax.data.pairs import PairSettings
from vfs_jax.errors import InputError
from vfs_jax.evaluation.runs.tracking import track_sequences
from vfs_jax.evaluation.tasks.base import write_tables
from vfs_jax.evaluation.tasks.boxes import Otb
from vfs_jax.evaluation.tracking.siamfc import TrackerSettings
from vfs_jax.models.resnet import Variables
from vfs_jax.models.weights.resolve import only_resnet, resolve
from vfs_jax.training.loop import Evaluate
from vfs_jax.training.options import LOOP_FIELDS
from vfs_jax.training.program import batch_layout
from vfs_jax.training.sharding import make_mesh
from vfs_jax.training.tracker_head import HeadOptions, train_head

FLAGS = training.training_flags()


def run(arguments: list[str]) -> None:
    """Train as the flags say."""
    if arguments:
        raise InputError(
            f"{arguments[0]}: vfs-train-tracker takes no arguments, only --config, --workdir, --config.KEY="
        )
    config, workdir = training.start(FLAGS)
    keep_programs("vfs-train-tracker")
    options = head_options(config.to_dict())
    sequences = open_sequences(config.data, config.layout, config.split)
    network, backbone, about = resolve(config.weights, config.depth)
    only_resnet(config.weights, network)
    evaluate = evaluator(options, workdir)
    batch_layout(make_mesh(), options.batch_size, {})  # refused before anything is written
    training.claim(
        workdir,
        {**config.to_dict(), "weights_found": about, "data_found": _checksum(sequences)},
        # The same data and weights may lie elsewhere than at the first run: what counts is their checksum.
        free=[*LOOP_FIELDS, "data", "weights", "weights_found.weights"],
        announcement=(
            f"training the tracking head on {len(sequences)} sequences of {config.data} for {options.epochs} epochs of "
            f"{options.batch_size} pairs a step, over {config.weights} ({network.name}, frozen)"
        ),
    )
    train_head(options, workdir, sequences, backbone, evaluate=evaluate)
    if jax.process_index() == 0:
        print(f"wrote {workdir / 'checkpoints'}; use it as --config.weights={workdir}")


def head_options(config: Mapping[str, Any]) -> HeadOptions:
    """Pick the part of a configuration that says how the head is trained."""
    names = {field.name for field in dataclasses.fields(HeadOptions)}
    chosen = {name: value for name, value in config.items() if name in names}
    return HeadOptions(**{**chosen, "pairs": PairSettings(**config["pairs"])})


def open_sequences(data: str, layout: str, split: str) -> list[BoxSequence]:
    """Open the sequences to train on.

    Args:
        data: the folder.
        layout: "got10k" or "otb".
        split: of GOT-10k.

    Raises:
        InputError: they cannot be read, or the layout is another one.
    """
    if layout not in ("got10k", "otb"):
        raise InputError(f"layout={layout}: take got10k or otb")
    return open_got10k(data, split) if layout == "got10k" else open_otb(data)


def _checksum(sequences: Sequence[BoxSequence]) -> str:
    """Return the checksum of names, frame counts, boxes and covers; the pictures themselves take too long to read."""
    return checksum(part for each in sequences for part in (each.name, len(each), each.boxes, each.cover))


def evaluator(options: HeadOptions, workdir: Path) -> Evaluate | None:
    """Make the evaluation within a run, of tracks in a folder of OTB's layout; None where it is off.

    Args:
        options: its eval_* fields say what is evaluated.
        workdir: gets evaluation/STEP/boxes and the tables beside them.
    """
    if not options.eval_every:
        return None
    task = Otb()
    wanted = [name for name in options.eval_sequences.split(",") if name]
    sequences = [
        sequence.cut(options.eval_max_frames or None)
        for sequence in task.open(options.eval_data, split="otb100", sequences=wanted)
    ]
    pairs = options.pairs
    settings = TrackerSettings(
        out_scale=options.out_scale,
        exemplar_size=pairs.exemplar_size,
        search_size=pairs.search_size,
        context=pairs.context,
    )
    evaluated = {name: getattr(options, name) for name in ("eval_data", "eval_max_frames")}

    def evaluate(variables: Variables, step: int) -> dict[str, float]:
        folder = workdir / "evaluation" / str(step)
        training.claim_evaluation(folder, {**evaluated, **dataclasses.asdict(settings)})
        results = folder / task.folder
        left = [sequence for sequence in sequences if not task.output(results, sequence).exists()]
        track_sequences(task, variables, left, results, settings=settings)
        scores = [task.score(results, sequence) for sequence in sequences]
        write_tables(folder, task, scores)
        return task.summary(scores)

    return evaluate


def main() -> None:
    """Run the command."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
