"""The plan of label propagation on one chip: the network and the operator for one size of frames."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding
from jaxtyping import PyTree

from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import Encoder, NetworkEncoder
from vfs_jax.evaluation.propagation.labels import start, step
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.planning.apart import call_apart
from vfs_jax.planning.cache import cache_file, load_facts, save_facts
from vfs_jax.planning.compilers import compile_program, compiler_of, make_absent_mesh, require_tpu_compiler
from vfs_jax.planning.counts import count_program
from vfs_jax.planning.facts import Facts
from vfs_jax.planning.topologies import Topology
from vfs_jax.training.flops import count_flops

LABELS = 4  # channels; as many as up to three objects take

# What the programs are traced from: the encoder with shapes in place of variables, settings, layout.
Case = tuple[NetworkEncoder, Settings, Layout]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """What label propagation needs; each chip carries a video of its own, figures are of one chip and one frame.

    Attributes:
        config: what was given as --config.
        topology: name of it.
        chips: of all hosts.
        hosts: that feed them.
        frame: height and width of frames.
        grid: rows and columns of their features.
        fits: whether both programs and what lies between them fit the memory of a chip.
        memory_bytes: that they need.
        memory_parts: of those, the network's parameters and frames, the frames that are remembered, the features in
            flight, the larger work space and the code.
        memory_limit_bytes: that there are.
        frames_in_flight: that one call of the network encodes.
        frames_remembered: whose features and labels are keys.
        flops: floating-point operations, of the network and of the operator together.
        flops_by_part: of each.
        bytes: read from and written to the memory.
        collectives: none.
        bound_seconds: what a frame takes at least by the peaks for operations and memory.
        binds: which is the larger.
        step_seconds_bound: it.
        images_per_second_per_host: frames that each host must read to feed its chips.
        compile_seconds: of both programs.
        sources: what each figure is.
    """

    config: str
    topology: str
    chips: int
    hosts: int
    frame: tuple[int, int]
    grid: tuple[int, int]
    fits: bool
    memory_bytes: int
    memory_parts: Mapping[str, int]
    memory_limit_bytes: int
    frames_in_flight: int
    frames_remembered: int
    flops: float
    flops_by_part: Mapping[str, float]
    bytes: int
    collectives: Mapping[str, int]
    bound_seconds: Mapping[str, float]
    binds: str
    step_seconds_bound: float
    images_per_second_per_host: float
    compile_seconds: float
    sources: Mapping[str, str]


def plan_evaluation(
    encoder: Encoder, settings: Settings, topology: Topology, frame: tuple[int, int], *, config: str, compiled: bool
) -> EvaluationPlan:
    """Plan label propagation.

    Args:
        encoder: one of our networks.
        settings: of the propagation.
        topology: where it is to run.
        frame: height and width of the frames.
        config: what was given as --config.
        compiled: whether the programs are compiled for TPUs; for GPUs they are counted, since the kernel that runs
            there is chosen beside the GPU.

    Raises:
        InputError: the encoder is none of our networks, lacks the output, or the compiler for TPUs is missing.
    """
    if not isinstance(encoder, NetworkEncoder):
        raise InputError(
            "weights=: nothing is known of an encoder that is none of our networks; name a file of weights"
        )
    if settings.output not in encoder.outputs:
        raise InputError(f"output={settings.output}: there is no such output; there are {', '.join(encoder.outputs)}")
    chip = topology.chip
    shapes = dataclasses.replace(encoder, variables=jax.eval_shape(lambda: encoder.variables))
    layout = Layout.of(frame, settings, shapes)
    case = shapes, settings, layout
    if compiled and chip.platform == "tpu":
        require_tpu_compiler()
        compiler = compiler_of("tpu") or ""
        what = f"compiling network and operator for {topology.name}"
        network, operator = call_apart(what, compile_both, case, topology, compiler)
    else:
        network, operator = (_count(trace, case, chip.platform) for trace in (trace_network, trace_operator))
        if chip.name in ("h100", "h200"):  # the kernel that runs there keeps the scores on the chip
            operator = dataclasses.replace(operator, bytes=operator.argument_bytes, work_bytes=0)
    batch = settings.batch_frames
    features = jax.eval_shape(lambda: _features(case))
    parts = {
        "network": network.argument_bytes,
        "remembered": operator.argument_bytes,
        "in flight": (batch - 1) * features.size * features.dtype.itemsize,
        "work space": max(network.work_bytes, operator.work_bytes),
        "code": network.code_bytes + operator.code_bytes,
    }
    flops = {"network": network.flops / batch, "operator": operator.flops}
    nbytes = network.bytes // batch + operator.bytes
    bounds = {"operations": sum(flops.values()) / chip.peak(settings.dtype), "memory": nbytes / chip.bandwidth}
    seconds, memory, how = max(bounds.values()), sum(parts.values()), network.how
    return EvaluationPlan(
        config=config,
        topology=topology.name,
        chips=topology.chips,
        hosts=topology.hosts,
        frame=frame,
        grid=layout.grid(settings.output),
        fits=memory <= chip.memory and not (network.shortage or operator.shortage),
        memory_bytes=memory,
        memory_parts=parts,
        memory_limit_bytes=chip.memory,
        frames_in_flight=batch,
        frames_remembered=settings.num_context + settings.keep_first,
        flops=sum(flops.values()),
        flops_by_part=flops,
        bytes=nbytes,
        collectives={},
        bound_seconds=bounds,
        binds=max(bounds, key=lambda name: bounds[name]),
        step_seconds_bound=seconds,
        images_per_second_per_host=topology.chips / topology.hosts / seconds,
        compile_seconds=network.compile_seconds + operator.compile_seconds,
        sources={
            "memory_bytes": how,
            "memory_limit_bytes": chip.memory_from,
            "flops": f"network {network.flops_how}, operator {operator.flops_how}",
            "bytes": how,
            "bound_seconds": f"{how}, at peaks of the data sheet ({chip.source})",
            "images_per_second_per_host": "computed of the bound",
        },
    )


def _features(case: Case) -> jax.Array:
    encoder, settings, layout = case
    rows, cols = encoder.grid_size(*layout.canvas, settings.output)
    width = _encoded(case, encoder.variables, 1).shape[-1]
    return jnp.zeros((rows, cols, width), settings.dtype)


def _encoded(case: Case, variables: PyTree, frames: int) -> jax.ShapeDtypeStruct:
    shape = jax.ShapeDtypeStruct((frames, *case[2].canvas, 3), jnp.uint8)
    return jax.eval_shape(lambda given, images: _encode(case, given, images), variables, shape)


def _encode(case: Case, variables: PyTree, images: jax.Array) -> jax.Array:
    encoder, settings, _ = case
    named = dataclasses.replace(encoder, variables=variables)
    colors = settings.mean, settings.std
    encoded = named(
        images,  # type: ignore[arg-type]  # traced in place of NumPy's
        range(len(images)),
        outputs=(settings.output,),
        dtype=settings.dtype,
        precision=settings.precision,
        colors=colors,
    )
    return encoded[settings.output]


def trace_network(case: Case, place: Callable[[PyTree], PyTree]) -> jax.stages.Traced:
    """Trace one call of the network.

    Args:
        case: what is traced.
        place: gives shapes their device.
    """
    encoder, settings, layout = case
    frames = jax.ShapeDtypeStruct((settings.batch_frames, *layout.canvas, 3), jnp.uint8)
    function = jax.jit(lambda variables, images: _encode(case, variables, images))
    return function.trace(place(encoder.variables), place(frames))


def trace_operator(case: Case, place: Callable[[PyTree], PyTree]) -> jax.stages.Traced:
    """Trace the propagation to one frame; for the arguments see `trace_network`."""
    _, settings, layout = case
    features = jax.eval_shape(lambda: _features(case))
    labels = jnp.zeros((*layout.label_grid(settings.output), LABELS))
    memory = jax.eval_shape(lambda given: start(given, labels, settings, layout), features)  # type: ignore[arg-type]
    return jax.jit(lambda memory, features: step(memory, features, settings)).trace(place(memory), place(features))


def _count(trace: Callable[..., jax.stages.Traced], case: Case, platform: str) -> Facts:
    traced = trace(case, lambda shapes: shapes)  # nothing is cut over chips, so that there is no batch to double
    return count_program(lambda times: traced, platform=platform, chips=1)


def compile_both(case: Case, topology: Topology, compiler: str) -> tuple[Facts, Facts]:
    """Compile network and operator for one chip of a topology that is not there, or read what was said before.

    Args:
        case: what is traced.
        topology: the chips.
        compiler: name and version.
    """
    jax.config.update("jax_platforms", "cpu")
    sharding = SingleDeviceSharding(make_absent_mesh(topology).devices.flat[0])

    def place(shapes: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes)

    found = []
    for trace in (trace_network, trace_operator):
        traced = trace(case, place)
        lowered = traced.lower(lowering_platforms=("tpu",))
        path = cache_file(lowered.as_text(), topology.name, compiler, trace.__name__.removeprefix("trace_"))
        facts = load_facts(path)
        if facts is None:
            facts = compile_program(lowered, chips=1, counted_flops=count_flops(traced.jaxpr))
            save_facts(path, facts)
        found.append(facts)
    return found[0], found[1]
