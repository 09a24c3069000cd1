"""How much of the devices' speed the training step uses."""

import jax

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
    """The share of the peak of all devices, the model FLOP/s utilisation (MFU); None where the peak is not known.

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
