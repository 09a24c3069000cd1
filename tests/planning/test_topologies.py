"""Topologies: their sizes, hosts and names, and the least that an exchange takes on them."""

import itertools

import pytest

from vfs_jax.errors import InputError
from vfs_jax.planning.chips import CHIPS
from vfs_jax.planning.facts import Collective
from vfs_jax.planning.topologies import SLICES, find_topology
from vfs_jax.training.flops import PEAK_FLOPS

SUM = [Collective("all-reduce", 10**8)]


@pytest.mark.parametrize(
    ("name", "chips", "hosts", "called"),
    [
        ("v4:2x2x1", 4, 1, "v4-8"),  # counted in cores
        ("v4:2x2x4", 16, 4, "v4-32"),
        ("v5e:1x1", 1, 1, "v5litepod-1"),
        ("v5e:2x4", 8, 1, "v5litepod-8"),  # one machine of eight
        ("v5e:4x8", 32, 8, "v5litepod-32"),
        ("v5e:16x16", 256, 64, "v5litepod-256"),
        ("v5p:2x2x2", 8, 2, "v5p-16"),
        ("v6e:2x4", 8, 1, "v6e-8"),
    ],
)
def test_slices_have_the_sizes_and_names_of_google_cloud(name, chips, hosts, called):
    topology = find_topology(name)
    assert (topology.chips, topology.hosts, topology.accelerator_type, topology.name) == (chips, hosts, called, name)


@pytest.mark.parametrize(("name", "chips", "hosts"), [("h100:8", 8, 1), ("h100:4x8", 32, 4), ("a100:1", 1, 1)])
def test_gpus_are_counted_by_host(name, chips, hosts):
    topology = find_topology(name)
    assert (topology.chips, topology.hosts, topology.name) == (chips, hosts, name)


@pytest.mark.parametrize("name", ["v5e:3x3", "v5e", "", "v7:2x2", "h100", "h100:16", "h100:0x8", "v4:4x8", "x:8"])
def test_an_unknown_topology_lists_the_known_ones(name):
    with pytest.raises(InputError) as error:
        find_topology(name)
    message = str(error.value)
    assert message.startswith(f"topology={name}: no such topology; there are ")
    assert "\n" not in message
    assert all(kind in message for kind in CHIPS)
    assert all(size in message for sizes in SLICES.values() for size in sizes)


def test_every_chip_has_a_peak_of_the_table_that_runs_are_logged_by():
    for chip in CHIPS.values():
        assert chip.peak("bfloat16") == PEAK_FLOPS[chip.device_kind] >= chip.peak("float32")
        assert (chip.name in SLICES) == (chip.platform == "tpu") == bool(chip.accelerator_type)


def neighbors(shape, closed):
    """Links of a grid, found by looking at every pair of chips."""
    chips = list(itertools.product(*map(range, shape)))
    count = 0
    for a, b in itertools.combinations(chips, 2):
        axes = [axis for axis in range(len(shape)) if a[axis] != b[axis]]
        if len(axes) == 1:
            away = abs(a[axes[0]] - b[axes[0]])
            count += away == 1 or (closed and away == shape[axes[0]] - 1)
    return count


@pytest.mark.parametrize(
    ("name", "closed"), [("v5e:2x4", False), ("v5e:16x16", True), ("v4:2x2x4", False), ("v5p:4x4x8", True)]
)
def test_a_sum_flows_over_all_links_of_a_slice(name, closed):
    """All chips but one send their share and all but one receive the sum: 2 (k - 1) n bytes, over links of two ways."""
    topology = find_topology(name)
    expected = 2 * (topology.chips - 1) * 10**8 / (2 * neighbors(topology.shape, closed) * topology.chip.link)
    assert topology.exchange_seconds(SUM) == pytest.approx(expected)


def test_the_network_between_hosts_is_slower_than_what_joins_their_gpus():
    one, four = (find_topology(name).exchange_seconds(SUM) for name in ("a100:8", "a100:4x8"))
    assert one == pytest.approx(2 * 10**8 * 7 / 8 / 300e9)
    assert four == pytest.approx(2 * 10**8 * 3 / 4 / (8 * 25e9))  # eight ports of 25 GB/s a host
    assert one < four
    assert find_topology("h100:1").exchange_seconds(SUM) == 0
    assert find_topology("v5e:1x1").exchange_seconds(SUM) == 0
