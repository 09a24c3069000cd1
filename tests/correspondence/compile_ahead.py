"""Compile `propagate_video` for an H100 or a TPU v5e that is not there, and count what runs for each frame.

    pip install -e '.[cuda]' && python tests/correspondence/compile_ahead.py
    pip install -e '.[tpu]' && python tests/correspondence/compile_ahead.py --platform=tpu

The compilers run as they do beside the device; nothing is executed. Prints a line for each case and implementation.
"""

import argparse
import os
import sys

if __name__ == "__main__":  # before jax is imported
    os.environ |= {
        "JAX_PLATFORMS": "cpu" if "--platform=tpu" in sys.argv else "cuda,cpu",
        "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",  # without a driver it fails
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # without a GPU its entries cannot be read
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
    }

import time
from unittest import mock

import jax
import numpy as np
from jax.experimental import topologies
from program_counts import count

from vfs_jax.correspondence import backends, propagate_video

# From NVIDIA's H100 data sheet and CUDA's table of compute capability 9.0.
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  threads_per_block_limit: 1024
  threads_per_warp: 32
  threads_per_core_limit: 2048
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3350000000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 85899345920
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
CASES = {
    f"{name} {dtype}": (channels, radius, dtype)
    for name, channels, radius in (("R18", 256, 12.0), ("R50", 1024, 18.0))
    for dtype in ("float32", "bfloat16")
}
FRAMES = 40


def device_of(platform: str) -> jax.sharding.Sharding:
    """One device of a platform that is not there."""
    if platform == "cuda":
        topology = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    else:
        topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    mesh = jax.sharding.Mesh(np.array(topology.devices)[:1], ("device",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def main() -> None:
    """Compile a video of 40 frames, 60x107 cells, 21 keys."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--platform", choices=("cuda", "tpu"), default="cuda", help="written with the sign =")
    parser.add_argument("--implementations", default="hopper,batched,tiles", help="names, joined by commas")
    parser.add_argument("--cases", default=",".join(CASES), help="joined by commas")
    options = parser.parse_args()
    sharding = device_of(options.platform)
    for case in options.cases.split(","):
        channels, radius, dtype = CASES[case]
        shapes = ((FRAMES, 60, 107, channels), dtype), ((60, 107, 3), np.float32)
        arrays = [jax.ShapeDtypeStruct(*shape, sharding=sharding) for shape in shapes]
        for implementation in options.implementations.split(","):
            video = jax.jit(
                lambda f, v, r=radius, name=implementation: propagate_video(f, v, radius=r, implementation=name)
            )
            start = time.perf_counter()
            with mock.patch.object(backends, "has_hopper", return_value=options.platform == "cuda"):
                compiled = video.trace(*arrays).lower(lowering_platforms=(options.platform,)).compile()
            counts = count(compiled.as_text())
            memory = compiled.memory_analysis()
            assert (counts["kernel"] > 0) == (implementation == "hopper")
            operations = counts.pop("flop", 0) / (FRAMES - 1) / 1e9
            each = ", ".join(f"{number / (FRAMES - 1):.0f} {kind}" for kind, number in sorted(counts.items()))
            print(
                f"{case} by {implementation}: compiled in {time.perf_counter() - start:.0f} s, "
                f"{(memory.temp_size_in_bytes + memory.output_size_in_bytes) / 1e6:.0f} MB above inputs; "
                f"a frame: {each}; matmuls of XLA {operations:.1f} GFLOP",
                flush=True,
            )


if __name__ == "__main__":
    main()
