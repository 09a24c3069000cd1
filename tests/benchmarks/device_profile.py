"""Where a GPU's time goes: kernels by name, from a profile that JAX's own profiler takes."""

import collections
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.profiler import ProfileData


@dataclasses.dataclass(frozen=True)
class DeviceTime:
    """What a GPU did in one of several equal calls.

    Attributes:
        busy_ms: sum over its kernels and copies.
        span_ms: from the start of the first to the end of the last.
        kernels: their number.
        largest: [name, ms, number], the largest first.
    """

    busy_ms: float
    span_ms: float
    kernels: float
    largest: list[tuple[str, float, float]]


def device_time(function: Callable[[], Any], calls: int, *, largest: int = 12) -> DeviceTime | None:
    """Profile a function.

    Args:
        function: starts work; what it returns is waited for. It ran before, so that nothing is compiled.
        calls: equal pieces of work that it does; all figures are of one.
        largest: kernels that are named.

    Returns:
        The figures; None where the devices are no GPUs.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(function())
        (file,) = Path(folder).rglob("*.xplane.pb")
        profile = ProfileData.from_file(str(file))
    milliseconds: collections.Counter[str] = collections.Counter()
    number: collections.Counter[str] = collections.Counter()
    starts, ends = [], []
    for plane in profile.planes:
        if not plane.name.startswith("/device:GPU"):
            continue
        for line in plane.lines:
            if line.name.startswith("Stream"):
                for event in line.events:
                    milliseconds[event.name] += event.duration_ns / 1e6
                    number[event.name] += 1
                    starts.append(event.start_ns)
                    ends.append(event.start_ns + event.duration_ns)
    if not starts:
        return None
    return DeviceTime(
        busy_ms=milliseconds.total() / calls,
        span_ms=(max(ends) - min(starts)) / 1e6 / calls,
        kernels=number.total() / calls,
        largest=[(name[:80], ms / calls, number[name] / calls) for name, ms in milliseconds.most_common(largest)],
    )
