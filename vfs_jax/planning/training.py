"""The plan of a training run: does a step fit, what binds it, what the hosts must feed, how it is launched."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
from jax.sharding import AbstractMesh

from vfs_jax.planning.apart import call_apart
from vfs_jax.planning.cache import cache_file, load_facts, save_facts
from vfs_jax.planning.compilers import compile_program, compiler_of, make_absent_mesh, require_tpu_compiler
from vfs_jax.planning.counts import count_program
from vfs_jax.planning.facts import Facts, count_by_name
from vfs_jax.planning.host_input import InputRate
from vfs_jax.planning.launching import launch_commands
from vfs_jax.planning.topologies import Topology
from vfs_jax.training.options import TrainOptions
from vfs_jax.training.program import batch_layout
from vfs_jax.training.sharding import make_mesh
from vfs_jax.training.vfs import make_program

BOUNDS = ("operations", "memory", "exchange")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What a training run needs; figures are of one chip and one step where nothing else is said.

    Attributes:
        config: what was given as --config.
        topology: name of it.
        chip: name of the kind.
        chips: of all hosts.
        hosts: that feed them.
        batch_size: clips of a step, over all chips.
        images: of a step, over all chips.
        dtype: of the computation.
        steps: of the whole run.
        fits: whether a step fits the memory of a chip.
        memory_bytes: that it needs.
        memory_parts: of those, the arguments, the results beside them, the work space in between and the code.
        memory_limit_bytes: that there are.
        shortage: what the compiler said where it does not fit.
        flops: floating-point operations; a multiply-add counts as two.
        bytes: read from and written to the memory.
        collectives: exchanges by name.
        collective_bytes: their results by name.
        largest_exchange_bytes: the largest of them.
        bound_seconds: what a step takes at least by the peaks for operations, memory and exchange.
        binds: which is the largest.
        step_seconds_bound: it.
        days_bound: that all steps take at least.
        images_per_second_per_host: that each host must decode to feed such steps.
        images_per_core: that one core decodes a second.
        cores_per_host: that a host needs for it.
        storage_bytes_per_second: that all hosts read together.
        batch_size_that_fills: the largest that the memory would hold, if work space grows with it.
        launch: the commands.
        compile_seconds: that the compiler took, now or when the facts were kept; 0 where nothing was compiled.
        cache: file of the compiler's facts; "" where nothing was compiled.
        sources: what each figure is: compiled, counted, data sheet, measured, given, or computed of others.
    """

    config: str
    topology: str
    chip: str
    chips: int
    hosts: int
    batch_size: int
    images: int
    dtype: str
    steps: int
    fits: bool
    memory_bytes: int
    memory_parts: Mapping[str, int]
    memory_limit_bytes: int
    shortage: str
    flops: float
    bytes: int
    collectives: Mapping[str, int]
    collective_bytes: Mapping[str, int]
    largest_exchange_bytes: int
    bound_seconds: Mapping[str, float]
    binds: str
    step_seconds_bound: float
    days_bound: float
    images_per_second_per_host: float
    images_per_core: float
    cores_per_host: int
    storage_bytes_per_second: float
    batch_size_that_fills: int
    launch: Sequence[str]
    compile_seconds: float
    cache: str
    sources: Mapping[str, str]


def plan_training(
    options: TrainOptions, topology: Topology, rate: InputRate, *, flags: Sequence[str], compiled: bool = True
) -> TrainingPlan:
    """Plan a run of VFS.

    Args:
        options: of the run; its data need not exist.
        topology: where it is to run.
        rate: what an image costs a host.
        flags: that vfs-train will be given, --config first, for the launch command.
        compiled: whether the step is compiled where a compiler is there; counted from the traced program otherwise.

    Raises:
        InputError: the batch cannot be cut over the chips, or the compiler for TPUs is missing.
    """
    label = Path(flags[0].partition("=")[2]).stem
    facts, cache = step_facts(options, topology, label=label, compiled=compiled)
    return assemble(options, topology, rate, facts, flags=flags, cache=cache)


def step_facts(options: TrainOptions, topology: Topology, *, label: str, compiled: bool) -> tuple[Facts, str]:
    """Find what a step needs of each chip, and the file in which it is kept; "" where it was counted.

    For arguments see `plan_training`.
    """
    _check_batch(options, topology)
    platform = topology.chip.platform
    if compiled and platform == "tpu":
        require_tpu_compiler()
    if compiled and (compiler := compiler_of(platform)):
        what = f"compiling the step of {label} for {topology.name}"
        facts, path = call_apart(what, compile_step, options, topology, compiler, label)
        if not path.exists():
            save_facts(path, facts)
        return facts, str(path)

    return count_step(options, platform, topology.chips), ""


def count_step(options: TrainOptions, platform: str, chips: int) -> Facts:
    """Count what a step needs of each chip, see `count_program`.

    Args:
        options: of the run.
        platform: "tpu" or "cuda"; "" for neither.
        chips: that share the batch.
    """

    @functools.cache
    def trace(times: int) -> jax.stages.Traced:
        larger = dataclasses.replace(options, batch_size=times * options.batch_size)
        return make_program(larger, make_mesh(1)).trace()

    # What remat computes twice counts once, as in the logs of runs.
    flops = make_program(options, make_mesh(1)).flops(trace(1)) if options.remat else 0
    return count_program(trace, platform=platform, chips=chips, flops=flops)


def compile_step(options: TrainOptions, topology: Topology, compiler: str, label: str) -> tuple[Facts, Path]:
    """Compile a step for chips that are not there, or read what the compiler said of it before.

    Args:
        options: of the run.
        topology: the chips.
        compiler: name and version.
        label: for the name of the file.

    Returns:
        The facts, and the file in which they are to be kept.
    """
    jax.config.update("jax_platforms", "cpu")  # no accelerator of this machine is touched
    program = make_program(options, make_absent_mesh(topology))
    traced = program.trace()
    lowered = traced.lower(lowering_platforms=(topology.chip.platform,))
    path = cache_file(lowered.as_text(), topology.name, compiler, label)
    facts = load_facts(path)
    if facts is None:
        facts = compile_program(lowered, chips=topology.chips, counted_flops=program.flops(traced))
    return facts, path


def _check_batch(options: TrainOptions, topology: Topology) -> None:
    """Refuse a batch that cannot be cut over the chips, as the run itself does."""
    mesh = AbstractMesh((topology.chips,), ("data",))
    batch_layout(mesh, options.batch_size, {}, parts=options.accumulate)


def assemble(
    options: TrainOptions, topology: Topology, rate: InputRate, facts: Facts, *, flags: Sequence[str], cache: str = ""
) -> TrainingPlan:
    """Make a plan of facts; for arguments see `plan_training`."""
    chip = topology.chip
    bounds = dict(
        zip(
            BOUNDS,
            (
                facts.flops / chip.peak(options.dtype),
                facts.bytes / chip.bandwidth,
                topology.exchange_seconds(facts.collectives),
            ),
            strict=True,
        )
    )
    seconds = max(bounds.values())
    images = options.batch_size * options.segments
    per_host = images / seconds / topology.hosts
    fits = not facts.shortage and facts.memory_bytes <= chip.memory
    by_name: dict[str, int] = {}
    for each in facts.collectives:
        by_name[each.name] = by_name.get(each.name, 0) + each.bytes * each.times
    how = facts.how
    return TrainingPlan(
        config=flags[0].partition("=")[2],
        topology=topology.name,
        chip=chip.name,
        chips=topology.chips,
        hosts=topology.hosts,
        batch_size=options.batch_size,
        images=images,
        dtype=options.dtype,
        steps=options.steps,
        fits=fits,
        memory_bytes=facts.memory_bytes,
        memory_parts={
            "arguments": facts.argument_bytes,
            "results": facts.result_bytes,
            "work space": facts.work_bytes,
            "code": facts.code_bytes,
        },
        memory_limit_bytes=chip.memory,
        shortage=facts.shortage,
        flops=facts.flops,
        bytes=facts.bytes,
        collectives=count_by_name(facts.collectives),
        collective_bytes=by_name,
        largest_exchange_bytes=max((each.bytes for each in facts.collectives), default=0),
        bound_seconds=bounds,
        binds=max(bounds, key=lambda name: bounds[name]),
        step_seconds_bound=seconds,
        days_bound=options.steps * seconds / 86400,
        images_per_second_per_host=per_host,
        images_per_core=rate.images_per_core,
        cores_per_host=math.ceil(per_host / rate.images_per_core),
        storage_bytes_per_second=images / seconds * rate.bytes_per_image,
        batch_size_that_fills=_fills(options, topology, facts),
        launch=launch_commands(topology, flags),
        compile_seconds=facts.compile_seconds,
        cache=cache,
        sources={
            "memory_bytes": how,
            "memory_limit_bytes": chip.memory_from,
            "flops": facts.flops_how,
            "bytes": how,
            "collectives": how,
            "bound_seconds": f"{how}, at peaks of the data sheet ({chip.source})",
            "images_per_second_per_host": "computed of the bound",
            "images_per_core": rate.source,
            "storage_bytes_per_second": f"computed; {rate.bytes_per_image / 1000:.0f} kB an image, {rate.bytes_source}",
            "batch_size_that_fills": "estimated",
        },
    )


def _fills(options: TrainOptions, topology: Topology, facts: Facts) -> int:
    """Estimate the batch that fills the memory: all but the state and the gradient grows with it."""
    unit = topology.chips * options.accumulate
    clips = options.batch_size / topology.chips
    batch = clips * options.segments * options.image_size**2 * 3
    state = facts.argument_bytes - batch
    gradient = min(state / 2, facts.work_bytes / 2)  # parameters and momentum are of the gradient's size each
    fixed = state + gradient + facts.result_bytes + facts.code_bytes
    a_clip = (facts.work_bytes - gradient + batch) / clips
    return int(max(0, topology.chip.memory - fixed) / a_clip * topology.chips) // unit * unit
