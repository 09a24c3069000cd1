"""Trains the SiamFC head of a box tracker on frozen res5 features; started again with the same folder, it continues.

  vfs-train-tracker --config=configs/siamfc.py --workdir=DIR --config.data=GOT-10k --config.weights=WEIGHTS

WEIGHTS are those of the backbone: a folder of vfs-train, one of its checkpoints, a .pth file or random:SEED. DATA is a
folder of the GOT-10k layout (its split "train"), or of OTB's with --config.layout=otb. DIR gets config.json,
metrics.jsonl, tensorboard/ and checkpoints/STEP, which vfs-eval-tracker, vfs-track and vfs-convert read. SIGTERM saves
and ends with status 143.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from vfs_jax.apps import cli
from vfs_jax.claims import claim_folder, with_versions
from vfs_jax.data.box_datasets import BoxSequence, open_got10k, open_otb
from vfs_jax.data.pairs import PairSettings
from vfs_jax.errors import InputError
from vfs_jax.models.weights.resolve import resolve
from vfs_jax.training.tracker_head import HeadOptions, train_head

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file of configs/.", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints and logs go.", flag_values=FLAGS)
flags.mark_flags_as_required(["config", "workdir"], flag_values=FLAGS)

# What may change when a run is continued, since the numbers that it computes do not depend on it.
_FREE = ("checkpoint_every", "keep_checkpoints", "log_every", "num_workers", "watchdog_seconds")


def run(arguments: list[str]) -> None:
    """Train as the flags say."""
    if arguments:
        raise InputError(
            f"{arguments[0]}: vfs-train-tracker takes no arguments, only --config, --workdir, --config.KEY="
        )
    config, workdir = _CONFIG.value, Path(str(_WORKDIR.value))
    options = head_options(config.to_dict())
    sequences = open_sequences(config.data, config.layout, config.split)
    backbone, about = resolve(config.weights, config.depth)
    whole = with_versions({**config.to_dict(), "weights_found": about})
    # The same weights may lie elsewhere than at the first run: what counts is their checksum.
    claim_folder(workdir, whole, free=[*_FREE, "weights", "weights_found.weights"])
    print(
        f"training the tracking head on {len(sequences)} sequences of {config.data} for {options.epochs} epochs of "
        f"{options.batch_size} pairs a step, over {config.weights} (ResNet-{config.depth}, frozen), on "
        f"{jax.device_count()} {jax.default_backend()} device(s); checkpoints and logs in {workdir}",
        flush=True,
    )
    train_head(options, workdir, sequences, backbone)
    print(f"wrote {workdir / 'checkpoints'}; use it as --config.weights={workdir}")


def head_options(config: dict[str, Any]) -> HeadOptions:
    """Return the part of a configuration that says how the head is trained."""
    names = {field.name for field in dataclasses.fields(HeadOptions)}
    chosen = {name: value for name, value in config.items() if name in names}
    return HeadOptions(**{**chosen, "pairs": PairSettings(**config["pairs"])})


def open_sequences(data: str, layout: str, split: str) -> list[BoxSequence]:
    """Return the sequences to train on.

    Args:
        data: the folder.
        layout: "got10k" or "otb".
        split: of GOT-10k.

    Raises:
        InputError: they cannot be read, or the layout is another one.
    """
    if layout not in ("got10k", "otb"):
        raise InputError(f"--config.layout={layout}: take got10k or otb")
    return open_got10k(data, split) if layout == "got10k" else open_otb(data)


def main() -> None:
    """Run the command."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
