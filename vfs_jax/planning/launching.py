"""The commands that start a run on a topology, by the files of launch/."""

import shlex
from collections.abc import Sequence

from vfs_jax.planning.topologies import Topology


def launch_commands(topology: Topology, flags: Sequence[str]) -> list[str]:
    """Return the commands, to be called from a checkout; names in capitals are to be filled in.

    Args:
        topology: where the run is to be.
        flags: of vfs-train; --workdir and --config.data are added where they lack.

    >>> from vfs_jax.planning.topologies import find_topology
    >>> for line in launch_commands(find_topology("h100:4x8"), ["--config=configs/vfs_r18_fine.py"]):
    ...     print(line)
    sbatch --nodes=4 launch/slurm.sbatch vfs-train --config=configs/vfs_r18_fine.py --workdir=DIR --config.data=RECORDS
    >>> launch_commands(find_topology("v6e:2x4"), [])[0]
    'TPU=NAME ZONE=ZONE RUNTIME=v2-alpha-tpuv6e bash launch/tpu_vm.sh create v6e-8'
    """
    given = [*flags]
    for flag, value in (("--workdir", "DIR"), ("--config.data", "RECORDS")):
        if not any(each.startswith(f"{flag}=") for each in flags):
            given.append(f"{flag}={value}")
    train = shlex.join(["vfs-train", *given])
    if topology.chip.platform == "tpu":
        place, runtime = "TPU=NAME ZONE=ZONE", f"RUNTIME={topology.chip.runtime}"
        return [
            f"{place} {runtime} bash launch/tpu_vm.sh create {topology.accelerator_type}",
            f"{place} bash launch/tpu_vm.sh install",
            f"{place} bash launch/tpu_vm.sh run {train}",
        ]
    hosts, gpus = topology.shape
    if hosts == 1:
        return [f"ACCELERATOR=gpu bash launch/local.sh --devices {gpus} {train}"]
    fewer = "" if gpus == 8 else f" --ntasks-per-node={gpus} --gpus-per-node={gpus}"
    return [f"sbatch --nodes={hosts}{fewer} launch/slurm.sbatch {train}"]
