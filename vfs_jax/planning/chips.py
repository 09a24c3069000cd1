"""Accelerators as their makers' data sheets tell them."""

import dataclasses

from vfs_jax.training.flops import PEAK_FLOPS

GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One kind of accelerator.

    Attributes:
        name: short, as in names of topologies.
        platform: what it is to JAX, "tpu" or "cuda".
        device_kind: JAX's name of it.
        float32_share: speed of float32 products by JAX's default precision, as a share of that of bfloat16.
        memory: bytes that programs may use.
        memory_from: where that figure is from.
        bandwidth: of the memory, bytes a second.
        link: bytes a second one way: of a TPU's link to one neighbor, of all that joins a GPU to those of its host.
        network: bytes a second one way of a GPU's share of the network between hosts; 0 for TPUs.
        accelerator_type: what Google Cloud calls a slice, before its number; "" for GPUs.
        runtime: the image of Google Cloud's machines; "" for GPUs.
        source: of the figures.
    """

    name: str
    platform: str
    device_kind: str
    float32_share: float = 1.0
    memory: int
    memory_from: str
    bandwidth: float
    link: float
    network: float = 0.0
    accelerator_type: str = ""
    runtime: str = ""
    source: str

    def peak(self, dtype: str) -> float:
        """Return the floating-point operations a second of convolutions and matrix products.

        Args:
            dtype: float32 or bfloat16.
        """
        return PEAK_FLOPS[self.device_kind] * (self.float32_share if dtype == "float32" else 1.0)


# What libtpu 0.0.42 leaves to a program of the 32, 16, 95 and 32 GB of the data sheets: its message names it where a
# program needs more.
_BY_LIBTPU = "compiler, what libtpu leaves to programs"
# launch/gpu.env gives jax 0.92 of a card.
_BY_ENV = "data sheet, 0.92 of it as launch/gpu.env says"

CHIPS = {
    chip.name: chip
    for chip in (
        # https://cloud.google.com/tpu/docs/v4: 275 TFLOP/s, 32 GiB, 1,200 GB/s. Links: 6 of 50 GB/s each way (Jouppi et
        # al., TPU v4: An optically reconfigurable supercomputer, ISCA 2023, table 4).
        Chip(
            name="v4",
            platform="tpu",
            device_kind="TPU v4",
            memory=int(30.75 * GIB),
            memory_from=_BY_LIBTPU,
            bandwidth=1200e9,
            link=50e9,
            accelerator_type="v4",
            runtime="tpu-ubuntu2204-base",
            source="cloud.google.com/tpu/docs/v4; links: Jouppi et al., ISCA 2023",
        ),
        # https://cloud.google.com/tpu/docs/v5e: 197 TFLOP/s, 16 GB, 819 GB/s, 400 GB/s both ways over 4 ports.
        Chip(
            name="v5e",
            platform="tpu",
            device_kind="TPU v5 lite",
            memory=int(15.75 * GIB),
            memory_from=_BY_LIBTPU,
            bandwidth=819e9,
            link=50e9,
            accelerator_type="v5litepod",
            runtime="v2-alpha-tpuv5-lite",
            source="cloud.google.com/tpu/docs/v5e",
        ),
        # https://cloud.google.com/tpu/docs/v5p: 459 TFLOP/s, 95 GB, 2,765 GB/s, 1,200 GB/s both ways over 6 links.
        Chip(
            name="v5p",
            platform="tpu",
            device_kind="TPU v5",
            memory=int(95.74 * GIB),
            memory_from=_BY_LIBTPU,
            bandwidth=2765e9,
            link=100e9,
            accelerator_type="v5p",
            runtime="v2-alpha-tpuv5",
            source="cloud.google.com/tpu/docs/v5p",
        ),
        # https://cloud.google.com/tpu/docs/v6e: 918 TFLOP/s, 32 GB, 1,638 GB/s, 800 GB/s both ways over 4 ports.
        Chip(
            name="v6e",
            platform="tpu",
            device_kind="TPU v6 lite",
            memory=int(31.25 * GIB),
            memory_from=_BY_LIBTPU,
            bandwidth=1638e9,
            link=100e9,
            accelerator_type="v6e",
            runtime="v2-alpha-tpuv6e",
            source="cloud.google.com/tpu/docs/v6e",
        ),
        # NVIDIA A100 80GB SXM data sheet: 312 TFLOP/s (TF32 156), 2,039 GB/s, NVLink 600 GB/s both ways. DGX A100 data
        # sheet: eight 200 Gb/s network ports for eight GPUs.
        Chip(
            name="a100",
            platform="cuda",
            device_kind="NVIDIA A100-SXM4-80GB",
            float32_share=0.5,
            memory=int(0.92 * 80e9),
            memory_from=_BY_ENV,
            bandwidth=2039e9,
            link=300e9,
            network=25e9,
            source="NVIDIA's data sheets of the A100 80GB SXM and the DGX A100",
        ),
        # NVIDIA H100 SXM data sheet: 989 TFLOP/s (TF32 495), 80 GB, 3.35 TB/s, NVLink 900 GB/s both ways. DGX H100 data
        # sheet: eight 400 Gb/s network ports for eight GPUs.
        Chip(
            name="h100",
            platform="cuda",
            device_kind="NVIDIA H100 80GB HBM3",
            float32_share=0.5,
            memory=int(0.92 * 80e9),
            memory_from=_BY_ENV,
            bandwidth=3350e9,
            link=450e9,
            network=50e9,
            source="NVIDIA's data sheets of the H100 SXM and the DGX H100",
        ),
        # NVIDIA H200 SXM data sheet: as the H100, with 141 GB and 4.8 TB/s.
        Chip(
            name="h200",
            platform="cuda",
            device_kind="NVIDIA H200",
            float32_share=0.5,
            memory=int(0.92 * 141e9),
            memory_from=_BY_ENV,
            bandwidth=4800e9,
            link=450e9,
            network=50e9,
            source="NVIDIA's data sheets of the H200 SXM and the DGX H200",
        ),
    )
}
