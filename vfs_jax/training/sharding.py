"""One mesh over all devices of all processes: the state is replicated, batches are cut along their first axis."""

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree


def make_mesh(num_devices: int | None = None) -> Mesh:
    """Make a mesh with the one axis "data".

    Args:
        num_devices: take only the first ones; all devices of all processes when None.

    Returns:
        The mesh. Its axis is Auto: the compiler places the collectives.

    >>> dict(make_mesh(1).shape)
    {'data': 1}
    """
    devices = jax.devices()[:num_devices]
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Return the sharding of arrays whose first axis is cut into one part a device."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(mesh: Mesh, batch: PyTree) -> PyTree:
    """Place host arrays on the devices, as parts of global arrays that are cut along the first axis.

    Args:
        mesh: where to.
        batch: a pytree of arrays [b / processes, ...]: this process's rows.

    Returns:
        The same tree of global arrays [b, ...].

    >>> put_batch(make_mesh(1), {"x": jax.numpy.zeros((4, 2))})["x"].shape
    (4, 2)
    """
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(batch_sharding(mesh), rows), batch)
