"""The ways in which matches can be found, by name, and which of them run on the devices of this process.

- "tiles" (tiles.py): many small matmuls in XLA and little memory; for CPUs, and TPUs so far.
- "batched" (batched.py): few large matmuls in XLA; for GPUs.
- "hopper" (hopper.py): one kernel; for GPUs of compute capability 9.0 (H100, H200, GH200).
"""

import functools
from typing import Literal

import jax

from vfs_jax.correspondence.arguments import Number

Implementation = Literal["tiles", "batched", "hopper"]


@functools.cache
def has_hopper() -> bool:
    """Tell whether this process computes on GPUs that have the instructions of hopper.py."""
    devices = jax.local_devices() if jax.default_backend() == "gpu" else []
    return bool(devices) and all(getattr(device, "compute_capability", None) == "9.0" for device in devices)


def implementations() -> tuple[Implementation, ...]:
    """List the implementations that run on the devices of this process, the one that `None` stands for first.

    Returns:
        Names that `propagate_frame`, `propagate_video`, `start_memory` and `top_matches` take as `implementation`.

    Example:
        >>> "tiles" in implementations()
        True
    """
    if has_hopper():
        return "hopper", "batched", "tiles"
    return ("batched", "tiles") if jax.default_backend() == "gpu" else ("tiles", "batched")


def check_implementation(implementation: Implementation | None, radius: Number | None) -> None:
    """Raise ValueError where an implementation was asked for that does not run here or knows no such window."""
    if implementation != "hopper":
        return
    if not has_hopper():
        raise ValueError(
            f'implementation="hopper" needs GPUs of compute capability 9.0, the devices here are '
            f"{jax.devices()[0].device_kind}; take one of {implementations()}, or None for the first of them"
        )
    if radius is None:
        raise ValueError('implementation="hopper" needs a window, got radius=None; take "batched" or "tiles"')
