"""Check whether a run would start, before it waits in a queue: devices, network, storage, records, memory, plan.

  python launch/preflight.py --config=configs/vfs_r50_fine.py --workdir=DIR --config.data=RECORDS [--processes=...]

takes the flags of vfs-train and starts in its place, under launch/local.sh, launch/slurm.sbatch and the others too.
Process 0 prints a line a check; the status is 1 where one failed. In DIR it leaves nothing behind. The plan is what
`vfs-plan --fast` says of these devices, to be held beside the lines above it.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vfs_jax.apps import cli, train, training
from vfs_jax.data.images import decode_jpeg
from vfs_jax.data.records import ClipRecords
from vfs_jax.distributed import meet
from vfs_jax.errors import InputError
from vfs_jax.planning.host_input import measure_input
from vfs_jax.planning.topologies import topology_here
from vfs_jax.planning.training import assemble, count_step
from vfs_jax.training.options import TrainOptions, read_options
from vfs_jax.training.program import Program
from vfs_jax.training.sharding import batch_sharding, make_mesh, replicated
from vfs_jax.training.vfs import make_program

MIB = 2**20


def devices() -> str:
    """Check that all processes have the same number of devices of one kind."""
    kinds = {device.device_kind for device in jax.devices()}
    per_process = [sum(d.process_index == i for d in jax.devices()) for i in range(jax.process_count())]
    if len(kinds) > 1 or len(set(per_process)) > 1:
        raise InputError(f"the processes differ: {per_process} devices, of kinds {sorted(kinds)}")
    return f"{jax.device_count()} x {kinds.pop()} in {jax.process_count()} process(es)"


def all_reduce(mib: int = 64, repeat: int = 3) -> str:
    """Check that a sum over all devices comes out right, and time it: gradients are summed in the same way.

    Args:
        mib: size of a device's part, in MiB.
        repeat: sums that are timed.
    """
    mesh = make_mesh()
    rows = np.full((jax.local_device_count(), mib * MIB // 4), 1.0, np.float32)
    numbers = jax.make_array_from_process_local_data(batch_sharding(mesh), rows)
    add = jax.jit(lambda x: jnp.sum(x, axis=0), out_shardings=replicated(mesh))
    total = jax.block_until_ready(add(numbers))
    start = time.perf_counter()
    for _ in range(repeat):
        jax.block_until_ready(add(numbers))
    seconds = (time.perf_counter() - start) / repeat
    got = float(np.asarray(total.addressable_data(0))[0])
    if got != mesh.size:
        raise InputError(f"the sum of {mesh.size} ones came out as {got}")
    return f"{mib} MiB in {1000 * seconds:.1f} ms, {mib / 1024 / seconds:.2f} GiB/s"


def storage(workdir: Path, mib: int = 64) -> str:
    """Check that the next process sees a file that this one writes, as it must see checkpoints.

    Args:
        workdir: of the run; made where it does not exist.
        mib: size of the file, in MiB.
    """
    here, count = jax.process_index(), jax.process_count()
    path, neighbor = (workdir / f".preflight-{index}" for index in (here, (here + 1) % count))
    content, problem = os.urandom(MIB) * mib, None
    start = time.perf_counter()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # all meet below, also where some could not write
        problem = error
    seconds = time.perf_counter() - start
    meet("preflight written", 600)
    seen = neighbor.is_file() and neighbor.stat().st_size == len(content)
    meet("preflight read", 600)
    path.unlink(missing_ok=True)
    if problem:
        raise problem
    if not seen:
        raise InputError(f"{neighbor}: what another process wrote is not here; give a folder that all processes see")
    return f"{mib} MiB written, synced and seen by the others, {mib / seconds:.0f} MiB/s"


def records(options: TrainOptions) -> str:
    """Check that the manifest holds, its shards have the sizes it says, and a clip decodes."""
    clips = ClipRecords(options.data)
    clip = clips[len(clips) // 2]
    height, width, _ = decode_jpeg(clip["frames"][0]).shape
    epochs = options.steps * options.batch_size / len(clips)
    return f"{len(clips)} clips, the middle one of {len(clip['frames'])} frames {width}x{height}; {epochs:.4g} passes"


def memory(program: Program) -> str:
    """Check that a device holds the compiled step: state, batch, result and what is in between."""
    needs = program.lower().compile().memory_analysis()
    if needs is None:
        return "the compiler does not tell what a step needs"
    total = needs.argument_size_in_bytes + needs.output_size_in_bytes - needs.alias_size_in_bytes
    total += needs.temp_size_in_bytes
    text = f"a step needs {total / MIB:.0f} MiB a device ({needs.temp_size_in_bytes / MIB:.0f} MiB of them in between)"
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if limit is None:
        return f"{text}; the device does not tell how much it has"
    if total > limit:
        raise InputError(f"{text}, and there are {limit / MIB:.0f}; raise accumulate, or set remat=True")
    return f"{text}, of {limit / MIB:.0f}"


def plan(options: TrainOptions) -> str:
    """Count what a step needs, and what it takes of a host to feed the devices as fast as they could ever go."""
    topology = topology_here(jax.devices())
    facts = count_step(options, topology.chip.platform if topology else "", jax.device_count())
    text = f"counted, a step needs {facts.memory_bytes / MIB:.0f} MiB a device"
    if topology is None:
        return f"{text}; there is no data sheet of {jax.devices()[0].device_kind} to tell how long it takes"
    rate = measure_input(
        segments=options.segments,
        image_size=options.image_size,
        min_area=options.min_area,
        records=ClipRecords(options.data),
    )
    told = assemble(options, topology, rate, facts, flags=["--config="])
    return (
        f"{text} and at least {1000 * told.step_seconds_bound:.1f} ms on {topology.name} ({told.binds} binds); for it "
        f"a host decodes {told.images_per_second_per_host:.0f} images/s, {told.cores_per_host} cores at "
        f"{rate.images_per_core:.0f} images/s measured here, of the {os.cpu_count()} that there are"
    )


def run(_: list[str]) -> None:
    """Make all checks, also after one has failed."""
    config, workdir = training.start(train.FLAGS)
    options = read_options(config.to_dict())
    checks: dict[str, Callable[[], str]] = {
        "devices": devices,
        "all-reduce": all_reduce,
        "storage": lambda: storage(workdir),
        "records": lambda: records(options),
        "memory": lambda: memory(make_program(options, make_mesh())),
        "plan": lambda: plan(options),
    }
    failed = []
    for name, check in checks.items():
        meet(f"preflight {name}", 600)
        try:
            verdict, said = "ok  ", check()
        except (InputError, OSError) as error:
            failed.append(name)
            verdict, said = "FAIL", str(error)
        if jax.process_index() == 0 or verdict == "FAIL":
            print(f"{verdict} {name}: {said}", flush=True)
    if failed:
        raise InputError(f"process {jax.process_index()}: {', '.join(failed)} failed")


if __name__ == "__main__":
    cli.main(run, train.FLAGS, __doc__)
