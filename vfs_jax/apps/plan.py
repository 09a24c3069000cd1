"""Plans a run on accelerators that are not there, before they are rented.

  vfs-plan --config=configs/vfs_r18_fine.py --topology=v5e:2x4 [--config.KEY=VALUE ...] [--json=FILE] [--fast]
  vfs-plan --config=configs/davis.py --topology=v5e:2x2 [--frame=480x854] ...

Topologies are slices of TPUs (v4:2x2x4, v5e:4x8, v5p:2x2x1, v6e:2x4 ...) and hosts of GPUs (a100:8, h100:8, h100:4x8,
h200:8). Says whether the step fits, what it computes, moves and exchanges a chip, how long it takes at least and what
binds, what the hosts must decode and read, and how to launch it; of each figure, whether it is compiled, counted,
measured or from a data sheet. --json writes the same as JSON; - writes it to stdout in place of the text.

The compilers need no accelerator: pip install 'vfs_jax[plan]' for TPUs, 'vfs_jax[cuda]' for GPUs (which are counted
where it lacks). A compilation takes minutes; what it told is kept in the cache folder of the user. --fast counts from
the traced program, in seconds. Cores are counted by the images that one core of this machine decodes a second, of
config.data where there are records, or --images_per_core.
"""

import dataclasses
import math
import re
import sys
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from vfs_jax.apps import cli
from vfs_jax.data.records import ClipRecords
from vfs_jax.data.text import to_json, write_text
from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import name_encoders
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.protocols import settings_of
from vfs_jax.planning.evaluation import EvaluationPlan, plan_evaluation
from vfs_jax.planning.host_input import InputRate, measure_input
from vfs_jax.planning.topologies import Topology, find_topology
from vfs_jax.planning.training import TrainingPlan, plan_training
from vfs_jax.planning.words import tell_evaluation, tell_training
from vfs_jax.training.options import TrainOptions, read_options

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file of configs/.", flag_values=FLAGS)
_TOPOLOGY = flags.DEFINE_string("topology", None, "Where it is to run, as v5e:4x8 or h100:8.", flag_values=FLAGS)
_JSON = flags.DEFINE_string("json", "", "File for the plan as JSON; - for stdout.", flag_values=FLAGS)
_FAST = flags.DEFINE_bool("fast", False, "Count from the traced program, compile nothing.", flag_values=FLAGS)
_IMAGES_PER_CORE = flags.DEFINE_float(
    "images_per_core", None, "That a core decodes a second; measured here where it is not given.", flag_values=FLAGS
)
_FRAME = flags.DEFINE_string(
    "frame", "480x854", "Height and width of the frames, where labels are propagated.", flag_values=FLAGS
)
flags.mark_flags_as_required(["config", "topology"], flag_values=FLAGS)


def run(arguments: list[str]) -> None:
    """Plan as the flags say."""
    if arguments:
        raise InputError(f"{arguments[0]}: vfs-plan takes no arguments, only flags, see --help")
    jax.config.update("jax_platforms", "cpu")  # no accelerator of this machine is touched
    topology = find_topology(str(_TOPOLOGY.value))
    if _JSON.value not in ("", "-") and not (folder := Path(_JSON.value).resolve().parent).is_dir():
        raise InputError(f"json={_JSON.value}: {folder} is no folder")
    config = _CONFIG.value
    plan: TrainingPlan | EvaluationPlan
    if "segments" in config:
        plan = _plan_training(read_options(config.to_dict()), topology)
        told = tell_training(plan)
    elif "num_context" in config:
        plan = _plan_evaluation(config, topology)
        told = tell_evaluation(plan)
    else:
        raise InputError("config: neither trains VFS nor propagates labels; take configs/vfs_r18_fine.py, davis.py ...")
    text = to_json(dataclasses.asdict(plan), indent=2)
    print(text if _JSON.value == "-" else told, flush=True)
    if _JSON.value not in ("", "-"):
        try:
            write_text(_JSON.value, text + "\n")
        except OSError as error:
            raise InputError(f"json={_JSON.value}: cannot be written ({error.strerror})") from None


def _plan_training(options: TrainOptions, topology: Topology) -> TrainingPlan:
    overrides = [argument for argument in sys.argv[1:] if argument.startswith("--config.")]
    given = [f"--config={_config_name()}", *overrides]
    plan = plan_training(options, topology, _rate(options), flags=given, compiled=not _FAST.value)
    if not (_FAST.value or plan.cache):
        print("counted, not compiled: no CUDA plugin of JAX here; pip install 'vfs_jax[cuda]'", file=sys.stderr)
    return plan


def _plan_evaluation(config: ConfigDict, topology: Topology) -> EvaluationPlan:
    size = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", str(_FRAME.value))
    if size is None:
        raise InputError(f"frame={_FRAME.value}: write HEIGHTxWIDTH, as in 480x854")
    named = name_encoders(weights=config.weights, encoder=config.encoder, features=config.features, depth=config.depth)
    if len(named) > 1:
        raise InputError(f"weights={config.weights}: plans one encoder at a time")
    names = [field.name for field in dataclasses.fields(Settings)]
    overrides: dict[str, Any] = {name: config[name] for name in names if config[name] is not None}
    settings = settings_of(config.protocol, config.task, named[0].encoder, **overrides)
    return plan_evaluation(
        named[0].encoder,
        settings,
        topology,
        (int(size[1]), int(size[2])),
        config=_config_name(),
        compiled=not _FAST.value,
    )


def _config_name() -> str:
    """Return what --config was given, with its variants."""
    at = next(place for place, argument in enumerate(sys.argv) if re.match(r"--?config(=|$)", argument))
    _, equals, value = sys.argv[at].partition("=")
    return value if equals else sys.argv[at + 1]


def _rate(options: TrainOptions) -> InputRate:
    """Find out what an image costs a host."""
    if _IMAGES_PER_CORE.value is not None and not 0 < _IMAGES_PER_CORE.value < math.inf:
        raise InputError(f"images_per_core={_IMAGES_PER_CORE.value:g}: must be a number above 0")
    records = ClipRecords(options.data) if options.data else None
    rate = measure_input(
        segments=options.segments,
        image_size=options.image_size,
        min_area=options.min_area,
        records=records,
        seconds=2.0 if _IMAGES_PER_CORE.value is None else 0.0,
    )
    if _IMAGES_PER_CORE.value is not None:
        rate = dataclasses.replace(rate, images_per_core=_IMAGES_PER_CORE.value, source="given")
    return rate


def main() -> None:
    """Run the command."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
