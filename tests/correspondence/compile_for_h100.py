"""Compile `propagate_video` for an H100 on a machine without a GPU, kernel included; needs JAX's CUDA plugin.

    pip install -e '.[cuda]' && python tests/correspondence/compile_for_h100.py

XLA and the assembler of CUDA run as they do beside the GPU; nothing is executed. Prints a line for each case.
"""

import os

if __name__ == "__main__":  # before jax is imported
    os.environ |= {
        "JAX_PLATFORMS": "cuda,cpu",
        "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",  # without a driver it fails
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # without a GPU its entries cannot be read
    }

import time
from unittest import mock

import jax
import numpy as np
from jax.experimental import topologies

from vfs_jax.correspondence import matching, propagate_video

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


def main() -> None:
    """Compile a video of 40 frames with the features of both networks, by the kernel and by tiles."""
    topology = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    mesh = topologies.make_mesh(topology, (1,), ("device",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    for by_kernel in (True, False):
        for name, channels, radius in (("R18", 256, 12.0), ("R50", 1024, 18.0)):
            for dtype in ("float32", "bfloat16"):
                shapes = ((40, 60, 107, channels), dtype), ((60, 107, 3), np.float32)
                arrays = [jax.ShapeDtypeStruct(*shape, sharding=sharding) for shape in shapes]
                start = time.perf_counter()
                with mock.patch.object(matching, "_has_hopper", lambda by_kernel=by_kernel: by_kernel):
                    traced = jax.jit(lambda f, v, r=radius: propagate_video(f, v, radius=r)).trace(*arrays)
                    compiled = traced.lower(lowering_platforms=("cuda",)).compile()
                    jax.clear_caches()
                assert ("mosaic_gpu" in compiled.as_text()) == by_kernel
                megabytes = compiled.memory_analysis().temp_size_in_bytes / 1e6
                print(
                    f"{name} {dtype} by {'kernel' if by_kernel else 'tiles'}: compiled in "
                    f"{time.perf_counter() - start:.1f} s, {megabytes:.0f} MB above inputs and labels",
                    flush=True,
                )


if __name__ == "__main__":
    main()
