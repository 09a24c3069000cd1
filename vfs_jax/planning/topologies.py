"""Slices of TPUs and hosts of GPUs: how many chips, on how many hosts, joined by what."""

import dataclasses
import math
import re
from collections.abc import Sequence

import jax

from vfs_jax.errors import InputError
from vfs_jax.planning.chips import CHIPS, Chip
from vfs_jax.planning.facts import Collective

# The slices that Google Cloud offers; larger ones of v4 and v5p are left out.
_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_DEEP = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16")
SLICES = {"v4": _DEEP, "v5e": _FLAT, "v5p": _DEEP, "v6e": _FLAT}
GPUS_A_HOST = 8


@dataclasses.dataclass(frozen=True)
class Topology:
    """Chips that train together.

    Attributes:
        chip: which.
        shape: of a slice of TPUs along each axis; of GPUs the hosts, and the GPUs of each.
    """

    chip: Chip
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name by which `find_topology` knows it."""
        is_one_host = self.chip.platform == "cuda" and self.shape[0] == 1
        return f"{self.chip.name}:{'x'.join(map(str, self.shape[1:] if is_one_host else self.shape))}"

    @property
    def chips(self) -> int:
        """How many chips there are; each is one device to JAX."""
        return math.prod(self.shape)

    @property
    def hosts(self) -> int:
        """How many machines hold them: of TPUs four chips a machine, eight where a slice is a single machine."""
        if self.chip.platform == "cuda":
            return self.shape[0]
        return 1 if self.chips <= 8 and len(self.shape) == 2 else max(1, self.chips // 4)

    @property
    def accelerator_type(self) -> str:
        """Google Cloud's name, which counts v4's and v5p's cores: two a chip."""
        return f"{self.chip.accelerator_type}-{self.chips * (2 if len(self.shape) == 3 else 1)}"

    def exchange_seconds(self, collectives: Sequence[Collective]) -> float:
        """Bound from below what exchanges take by the bandwidth of what joins the chips; latency takes more.

        A sum of n bytes over k chips sends at least 2 (k - 1) n bytes in all, whatever the algorithm without help of
        switches; here they flow over all links of the slice at once. Other exchanges send half of that.

        Args:
            collectives: of one step.

        >>> from vfs_jax.planning.chips import CHIPS
        >>> slice_ = Topology(CHIPS["v5e"], (2, 4))  # ten links of 50 GB/s each way
        >>> round(1e6 * slice_.exchange_seconds([Collective("all-reduce", 10**8)]))
        1400
        """
        nbytes = sum((2 if each.name == "all-reduce" else 1) * each.bytes * each.times for each in collectives)
        if self.chip.platform == "tpu":
            return nbytes * (self.chips - 1) / (2 * self._links() * self.chip.link) if self.chips > 1 else 0.0
        hosts, gpus = self.shape
        within = nbytes * (gpus - 1) / gpus / self.chip.link
        between = nbytes * (hosts - 1) / hosts / (gpus * self.chip.network)
        return max(within, between)

    def _links(self) -> int:
        """Count the links between neighbors; an axis whose ends are joined has as many as chips."""
        if len(self.shape) == 3:  # cubes of 4x4x4 close to a torus, smaller slices do not
            is_closed = [all(side % 4 == 0 for side in self.shape)] * 3
        else:
            is_closed = [side == 16 for side in self.shape]
        return sum(
            self.chips // side * (side if closed else side - 1)
            for side, closed in zip(self.shape, is_closed, strict=True)
        )


def find_topology(name: str) -> Topology:
    """Look up a topology by its name.

    Args:
        name: "v5e:4x8", a slice of TPUs; "h100:8", GPUs of one host; "h100:4x8", four hosts of eight.

    Raises:
        InputError: there is no such topology; lists those that there are.

    >>> find_topology("v5e:4x8").accelerator_type, find_topology("v4:2x2x4").accelerator_type
    ('v5litepod-32', 'v4-32')
    >>> find_topology("h100:4x8").hosts
    4
    """
    kind, _, size = name.partition(":")
    if size in SLICES.get(kind, ()):
        return Topology(CHIPS[kind], tuple(map(int, size.split("x"))))
    match = re.fullmatch(r"(?:([1-9]\d{0,3})x)?([1-8])", size)
    if match and kind in CHIPS and kind not in SLICES:
        return Topology(CHIPS[kind], (int(match[1] or 1), int(match[2])))
    raise InputError(f"topology={name}: no such topology; there are {known_topologies()}")


def known_topologies() -> str:
    """List all topologies in one line."""
    slices = [f"{kind}:{'|'.join(sizes)}" for kind, sizes in SLICES.items()]
    gpus = ", ".join(kind for kind in CHIPS if kind not in SLICES)
    return f"{', '.join(slices)}, and GPUS or HOSTSxGPUS (up to {GPUS_A_HOST} a host) of {gpus}, as in h100:8, h100:4x8"


def topology_here(devices: Sequence[jax.Device]) -> Topology | None:
    """Describe the devices of this run; None where there is no data sheet of them.

    Args:
        devices: `jax.devices()`, of all processes.

    >>> topology_here(jax.devices()) is None  # a CPU
    True
    """
    chip = next((chip for chip in CHIPS.values() if chip.device_kind == devices[0].device_kind), None)
    if chip is None:
        return None
    if chip.platform == "tpu":
        sides = (1 + max(places) for places in zip(*(device.coords for device in devices), strict=True))
        return Topology(chip, tuple(sides)[: len(SLICES[chip.name][0].split("x"))])
    hosts = max(1, len(devices) // GPUS_A_HOST)
    return Topology(chip, (hosts, len(devices) // hosts))
