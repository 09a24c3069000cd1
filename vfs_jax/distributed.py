"""Coordination of a run's processes outside of its steps: they join, wait for each other, and let one do the work."""

from collections.abc import Callable

import jax
from orbax.checkpoint import multihost

from vfs_jax.errors import InputError

# How long a process waits at a time; in between Python looks for signals.
_SECOND = 1000


def join(processes: str) -> None:
    """Join the other processes of a run, so that each knows the devices of all.

    Args:
        processes: "auto" where the cluster tells (SLURM, TPU slices, GKE, MPI); "HOST:PORT,INDEX,COUNT", with the
            address of process 0; or "" for a run of one process.

    Raises:
        InputError: it is none of these.
    """
    # Jax would take SIGTERM for itself until the loop asks for it: until then it is to end the process.
    jax.config.update("jax_enable_preemption_service", False)
    # A process that fails alone waits so long for the others, which wait for it, before it ends and they learn of it.
    shutdown = 30  # seconds
    if processes == "auto":
        jax.distributed.initialize(shutdown_timeout_seconds=shutdown)
    elif processes:
        try:
            address, index, count = processes.split(",")
            place, number = int(index), int(count)
        except ValueError:
            raise InputError(f"processes={processes}: give auto or HOST:PORT,INDEX,COUNT") from None
        jax.distributed.initialize(address, process_id=place, num_processes=number, shutdown_timeout_seconds=shutdown)


def from_first(name: str, work: Callable[[], str]) -> str:
    """Let process 0 do something once, while all others wait, and tell all what came of it.

    The devices take no part: collectives give up, or block signals, where one process comes much later than the others.

    Args:
        name: what is done; a run uses every name once.
        work: called on process 0 alone.

    Returns:
        What work returned, on every process.

    Raises:
        InputError: on the others, where process 0 failed (there the failure itself goes on).

    >>> from_first("ask", lambda: "answer")
    'answer'
    """
    if jax.process_count() == 1:
        return work()
    coordinator, key = multihost.get_jax_distributed_client(), f"vfs/{name}"
    if jax.process_index() == 0:
        try:
            result = work()
        except BaseException:
            coordinator.key_value_set(key, "failed")
            raise
        coordinator.key_value_set(key, f"done {result}")
        return result
    while True:
        try:
            outcome = coordinator.blocking_key_value_get(key, _SECOND)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" in str(error):
                continue
            raise
        if outcome == "failed":
            raise InputError(f"process 0 has ended ({name}); its output says why")
        return str(outcome.removeprefix("done "))


def meet(name: str, seconds: float) -> None:
    """Wait until all processes are here.

    Args:
        name: of the place; a run uses every name once.
        seconds: how long to wait.

    Raises:
        JaxRuntimeError: a process did not come.
    """
    if jax.process_count() > 1:
        multihost.get_jax_distributed_client().wait_at_barrier(f"vfs/{name}", round(seconds * 1000))
