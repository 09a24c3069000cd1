"""XLA's compilers for TPUs and GPUs, which need none: devices that are not there, and what a program needs on them."""

import fnmatch
import importlib.metadata
import importlib.util
import os
import re
import time

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from vfs_jax.errors import InputError
from vfs_jax.planning.facts import Facts
from vfs_jax.planning.program_text import read_program
from vfs_jax.planning.topologies import Topology

_CUDA_PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")
# What the compiler must know of a GPU: compute capability and the figures of NVIDIA's data sheets and of CUDA's table
# of technical specifications by compute capability.
_GPU = """
gpu_device_info {{
  cuda_compute_capability {{ major: {major} }}
  core_count: {cores}
  fpus_per_core: {fpus}
  threads_per_block_limit: 1024
  threads_per_warp: 32
  threads_per_core_limit: 2048
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: {shared}
  shared_memory_per_core: {shared_core}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth}
  l2_cache_size: {l2}
  clock_rate_ghz: {clock}
  device_memory_size: {memory}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
runtime_version {{ major: 12 minor: 8 }}
device_description_str: "{kind}"
"""
_HOPPER = {"major": 9, "cores": 132, "fpus": 128, "shared": 232448, "shared_core": 233472, "l2": 52428800}
_AMPERE = {"major": 8, "cores": 108, "fpus": 64, "shared": 166912, "shared_core": 167936, "l2": 41943040}
_GPUS = {
    "a100": {**_AMPERE, "clock": 1.41, "memory": 80 * 2**30},
    "h100": {**_HOPPER, "clock": 1.98, "memory": 80 * 2**30},
    "h200": {**_HOPPER, "clock": 1.98, "memory": 141 * 10**9},
}


def compiler_of(platform: str) -> str | None:
    """Name the installed compiler for a platform with its version, as in "libtpu 0.0.42.1"; None where there is none.

    Args:
        platform: "tpu" or "cuda".
    """
    for module in ("libtpu",) if platform == "tpu" else _CUDA_PLUGINS:
        if importlib.util.find_spec(module):
            return f"{module} {importlib.metadata.version(module.replace('_', '-'))}"
    return None


def require_tpu_compiler() -> None:
    """Check that the TPU compiler is there that this version of jax asks for.

    Raises:
        InputError: says which pip install gives it.
    """
    wanted = next((r for r in importlib.metadata.requires("jax") or () if r.startswith("libtpu")), "libtpu")
    wanted = wanted.partition(";")[0].strip()
    cure = f"pip install 'vfs_jax[plan]' '{wanted}' gives it, and needs no TPU; --fast does without"
    found = compiler_of("tpu")
    if found is None:
        raise InputError(f"libtpu: the compiler for TPUs is not installed; {cure}")
    version = found.split()[1]
    if not fnmatch.fnmatch(version, wanted.partition("==")[2] or "*"):
        raise InputError(f"libtpu: version {version} is installed, jax {jax.__version__} takes another; {cure}")


def make_absent_mesh(topology: Topology) -> Mesh:
    """Make the mesh of training over chips that are not there; programs on it can be lowered and compiled, not run.

    Args:
        topology: of a platform whose compiler is installed.
    """
    if topology.chip.platform == "tpu":
        # Nobody is asked what machine this is, and no other process is kept out: no TPU is touched.
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", topology.accelerator_type)
        os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
        options: dict[str, object] = {}
        if topology.chip.name == "v4":
            options["chip_config_name"] = "megacore"  # one device a chip
        if topology.chips == 1:
            options["chips_per_host_bounds"] = (1, 1, 1)
        described = topologies.get_topology_desc(platform="tpu", topology_name=topology.name, **options)
    else:
        os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # without a driver it fails
        chip = topology.chip
        target = _GPU.format(**_GPUS[chip.name], bandwidth=int(chip.bandwidth), kind=chip.device_kind)
        described = topologies.get_topology_desc(
            platform="cuda", target_config=target, topology="x".join(map(str, (1, *topology.shape)))
        )
    return Mesh(np.array(described.devices), ("data",), axis_types=(AxisType.Auto,))


def compile_program(lowered: jax.stages.Lowered, *, chips: int, counted_flops: float) -> Facts:
    """Compile a program for chips that are not there.

    Args:
        lowered: of arrays on `make_absent_mesh`.
        chips: that share it.
        counted_flops: over all chips; taken where the compiler tells none, or not of all turns of loops.

    Returns:
        What the compiler told. Where the program needs more memory than there is, `shortage` is what it said, the work
        space is that of the message and nothing is known of bytes and exchanges.
    """
    start = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _too_large(str(error), counted_flops / chips, time.perf_counter() - start)
    seconds = time.perf_counter() - start
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    assert memory is not None
    text = compiled.as_text() or ""
    collectives, nbytes = read_program(text)
    flops = 0.0 if " while(" in text else cost.get("flops", 0.0)  # of loops it has one turn
    return Facts(
        how="compiled",
        argument_bytes=memory.argument_size_in_bytes,
        result_bytes=max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes),
        work_bytes=memory.temp_size_in_bytes,
        code_bytes=memory.generated_code_size_in_bytes,
        flops=flops or counted_flops / chips,
        flops_how="compiled" if flops else "counted",
        bytes=nbytes,
        collectives=collectives,
        compile_seconds=seconds,
    )


def _too_large(message: str, flops: float, seconds: float) -> Facts:
    """Read what a compiler says of a program that does not fit: "Used 17.02G of 15.75G hbm", "required ... (22.5G)"."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    used = re.search(r"(?:Used |required [^(]*\()([\d.]+)([KMGT])", message)
    return Facts(
        how="compiled",
        argument_bytes=0,
        result_bytes=0,
        work_bytes=int(float(used[1]) * units[used[2]]) if used else 0,
        code_bytes=0,
        flops=flops,
        flops_how="counted",
        bytes=0,
        collectives=(),
        compile_seconds=seconds,
        shortage=" ".join(message.partition("\n")[0].split()),
    )
