"""Floating-point operations of a training step, and the share of the devices' peak that it reaches."""

import math
import typing
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

# Peak of dense bfloat16 multiply-adds a second of one device, from the makers' data sheets; by jax's device_kind.
PEAK_FLOPS = {
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L4": 121e12,
    "Tesla V100-SXM2-16GB": 125e12,
    "TPU v2": 45e12,
    "TPU v3": 123e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
}


def utilization(flops_per_second: float, peak: float = 0.0) -> float | None:
    """Compute the model FLOP/s utilization (MFU), a share of all devices' peak; None where the peak is not known.

    Args:
        flops_per_second: over all devices.
        peak: of one device; 0 looks it up.

    >>> utilization(1e12, peak=4e12 / len(jax.devices()))
    0.25
    >>> utilization(1e12) is None  # a CPU
    True
    """
    peaks = [peak or PEAK_FLOPS.get(device.device_kind) for device in jax.devices()]
    known = [each for each in peaks if each]
    return flops_per_second / sum(known) if len(known) == len(peaks) else None


def count_flops(jaxpr: Jaxpr | ClosedJaxpr) -> int:
    """Count floating-point operations of a program's convolutions and matrix products; a multiply-add counts as two.

    Counted from the program, since compilers tell their count before they optimize on CPUs only, and afterwards no
    compiler knows what its calls of libraries compute. Products with the zeros of padding and of dilated inputs do not
    count, nor does what nobody uses; the body of a scan counts as often as it runs, and of branches the largest counts:
    convolutions count as defined, however a platform computes them.

    Args:
        jaxpr: of the program: `jax.make_jaxpr(function)(...)`, or the `jaxpr` of `jax.jit(function).trace(...)`.

    Example:
        >>> matrix = jax.ShapeDtypeStruct((10, 10), "float32")
        >>> count_flops(jax.make_jaxpr(lambda a, b: jax.numpy.sin(a @ b))(matrix, matrix))
        2000
    """
    jaxpr = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
    flops, used = 0, set(map(id, jaxpr.outvars))
    for equation in reversed(jaxpr.eqns):
        if not used.isdisjoint(map(id, equation.outvars)):
            flops += _equation_flops(equation)
            used.update(map(id, equation.invars))
    return flops


def _equation_flops(equation: JaxprEqn) -> int:
    params = equation.params
    match equation.primitive.name:
        case "conv_general_dilated":
            return _convolution_flops(equation)
        case "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            lhs, _, out = _shapes([*equation.invars, *equation.outvars])
            return 2 * math.prod(out) * math.prod(lhs[axis] for axis in contracted)
        case "cond":
            return max(map(count_flops, params["branches"]))
        case "scan":
            return params["length"] * count_flops(params["jaxpr"])
    return sum(map(count_flops, _inner(params)))


def _shapes(variables: Sequence[Var | Literal]) -> list[tuple[int, ...]]:
    return [typing.cast(jax.core.ShapedArray, variable.aval).shape for variable in variables]


def _inner(params: Mapping[str, object]) -> Iterator[Jaxpr]:
    """Iterate over the programs that an equation calls."""
    for value in params.values():
        jaxpr = getattr(value, "jaxpr", value)
        if isinstance(jaxpr, Jaxpr):
            yield jaxpr


def _convolution_flops(equation: JaxprEqn) -> int:
    params = equation.params
    lhs, rhs, out = _shapes([*equation.invars, *equation.outvars])
    of_lhs, of_rhs, of_out = params["dimension_numbers"]  # each: batch or output channel, channel, rows, columns
    flops = 2 * out[of_out[0]] * out[of_out[1]] * rhs[of_rhs[1]]
    for axis, (pad, _) in enumerate(params["padding"]):
        size, kernel, outputs = lhs[of_lhs[2 + axis]], rhs[of_rhs[2 + axis]], out[of_out[2 + axis]]
        spread = params["lhs_dilation"][axis]
        # Where the kernel's cell k lies in the padded, spread input when it makes output o.
        starts = params["window_strides"][axis] * np.arange(outputs)[:, None] - pad
        places = starts + params["rhs_dilation"][axis] * np.arange(kernel)
        flops *= int(np.sum((places >= 0) & (places <= (size - 1) * spread) & (places % spread == 0)))
    return flops
