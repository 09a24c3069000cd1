"""Steps of a small network on random clips, for the tests, and as a process of a run over several:

small_steps.py --processes=HOST:PORT,INDEX,COUNT prints, as JSON, ten steps in float64.
"""

import functools
import json
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vfs_jax.distributed import join
from vfs_jax.training.optimizer import cosine, sgd
from vfs_jax.training.sharding import make_mesh, put_batch, replicated
from vfs_jax.training.state import TrainState, init_state
from vfs_jax.training.step import TrainStep, compile_train_step, make_train_step

SCHEDULE = cosine(0.05, 10)
OPTIMIZER = sgd(SCHEDULE, momentum=0.9, weight_decay=1e-4)
BATCH, SIZE = 8, 32


def step_function(**options: Any) -> TrainStep:
    return make_train_step(depth=18, seed=0, learning_rate=SCHEDULE, optimizer=OPTIMIZER, **options)


def host_batch(seed: int = 0, repeat: int = 1) -> dict[str, np.ndarray]:
    """Random clips, each `repeat` times in a row."""
    views = np.random.default_rng(seed).integers(0, 256, (BATCH // repeat, 2, 1, SIZE, SIZE, 3), dtype=np.uint8)
    messages = {"stop": np.zeros(BATCH, bool), "unreadable": np.zeros(BATCH, np.int32)}
    return {"views": np.repeat(views, repeat, axis=0), **messages}


def initial(mesh: Mesh, dtype: type[np.floating] = np.float32, queue_size: int = 0) -> TrainState:
    state = jax.device_get(jax.jit(lambda: init_state(0, 18, OPTIMIZER, queue_size=queue_size))())
    state = jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.dtype == np.float32 else leaf, state)
    return jax.device_put(state, replicated(mesh))


@functools.cache
def compiled(
    devices: int, dtype: type[np.floating] = np.float32, queue_size: int = 0, **options: Any
) -> tuple[jax.stages.Compiled, Mesh]:
    """The compiled step, for batches as above."""
    mesh = make_mesh(devices)
    step = compile_train_step(step_function(dtype=dtype, **options), mesh)
    return step.lower(initial(mesh, dtype, queue_size), put(mesh, host_batch())).compile(), mesh


def put(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """The whole batch on the host -> the devices of all processes."""
    rows, start = BATCH // jax.process_count(), BATCH // jax.process_count() * jax.process_index()
    return put_batch(mesh, {name: whole[start : start + rows] for name, whole in batch.items()})


def run(
    devices: int,
    batches: Sequence[dict[str, np.ndarray]],
    dtype: type[np.floating] = np.float32,
    state: TrainState | None = None,
    queue_size: int = 0,
    **options: Any,
) -> tuple[TrainState, list[dict[str, float]]]:
    step, mesh = compiled(devices, dtype, queue_size, **options)  # type: ignore[arg-type]  # NumPy calls its types unhashable
    state = initial(mesh, dtype, queue_size) if state is None else jax.device_put(state, replicated(mesh))
    history = []
    for batch in batches:
        state, metrics = step(state, put(mesh, batch))
        history.append({name: value.item() for name, value in jax.device_get(metrics).items()})
    return jax.device_get(state), history


def main() -> None:
    join(sys.argv[1].removeprefix("--processes="))
    devices = jax.device_count()
    with jax.enable_x64(True):
        state, history = run(devices, [host_batch(seed) for seed in range(10)], np.float64)
    norms = [float(np.linalg.norm(leaf)) for leaf in jax.tree.leaves(state.params)]
    result = {"processes": jax.process_count(), "devices": devices, "steps": history, "norms": norms}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
