"""What the training commands share: their flags, joining the other processes, and the claim of the workdir."""

import shutil
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from vfs_jax.claims import claim_folder, with_versions
from vfs_jax.distributed import from_first, join
from vfs_jax.errors import InputError


def training_flags() -> flags.FlagValues:
    """Define --config, --workdir and --processes."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "The experiment, a file of configs/.", flag_values=values)
    flags.DEFINE_string("workdir", None, "Where checkpoints and logs go.", flag_values=values)
    flags.DEFINE_string(
        "processes", "", "auto, or HOST:PORT,INDEX,COUNT, in a run over several processes.", flag_values=values
    )
    flags.mark_flags_as_required(["config", "workdir"], flag_values=values)
    return values


def start(values: flags.FlagValues) -> tuple[ConfigDict, Path]:
    """Join the processes of the run; to be called before anything asks for a device.

    Args:
        values: the flags, from `training_flags`.

    Returns:
        The configuration and the workdir.

    Raises:
        InputError: --processes is none of what it may be.
    """
    join(str(values["processes"].value))
    return values["config"].value, Path(str(values["workdir"].value))


def claim(
    workdir: Path, config: Mapping[str, object], *, free: Collection[str], announcement: str, warning: str = ""
) -> None:
    """Let process 0 claim the workdir for a configuration and tell what is going to happen.

    Args:
        workdir: made where it does not exist.
        config: the whole configuration.
        free: keys that may differ from the run that is continued.
        announcement: what is going to happen; where it runs and where results go is added.
        warning: a line for stderr, where there is one.

    Raises:
        InputError: the workdir holds a run of another configuration.
    """

    def work() -> str:
        claim_folder(workdir, with_versions(config), free=free)
        print(
            f"{announcement}, on {jax.device_count()} {jax.default_backend()} device(s), {jax.process_count()} "
            f"process(es); checkpoints and logs in {workdir}",
            flush=True,
        )
        if warning:
            print(warning, file=sys.stderr, flush=True)
        return ""

    from_first("claim the workdir", work)


def claim_evaluation(folder: Path, settings: Mapping[str, object]) -> None:
    """Claim the folder of an evaluation within a run, and empty it where one of other settings was interrupted there.

    A run may be continued with other eval_* options.

    Args:
        folder: WORKDIR/evaluation/STEP.
        settings: all that decides its results, but for the weights.
    """
    try:
        claim_folder(folder, settings)
    except InputError:
        shutil.rmtree(folder)
        claim_folder(folder, settings)
