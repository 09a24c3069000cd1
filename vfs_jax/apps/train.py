"""Trains VFS on prepared clips, and continues where it stopped when started again.

vfs-train --config=configs/vfs_r18_fine.py --workdir=DIR --config.data=RECORDS [--config.KEY=VALUE ...]
"""

from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from vfs_jax.apps import cli
from vfs_jax.data.records import ClipRecords
from vfs_jax.training.loop import train
from vfs_jax.training.options import FREE_FIELDS, read_options

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file("config", None, "the experiment, a file of configs/", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", None, "where checkpoints and logs go", flag_values=FLAGS)
flags.mark_flags_as_required(["config", "workdir"], flag_values=FLAGS)


def run(arguments: list[str]) -> None:
    """Trains as the flags say."""
    del arguments
    config, workdir = _CONFIG.value, Path(str(_WORKDIR.value))
    options = read_options(config.to_dict())
    records = ClipRecords(options.data)
    cli.claim_folder(workdir, config, free=FREE_FIELDS)
    print(
        f"training ResNet-{options.depth} on {len(records)} clips of {options.data} for {options.steps} steps of "
        f"{options.batch_size} clips, {options.segments} frames each, on {jax.device_count()} {jax.default_backend()} "
        f"device(s); checkpoints and logs in {workdir}",
        flush=True,
    )
    train(options, workdir, records)


def main() -> None:
    """The console script."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
