"""Steps of a small network on random clips, for the tests, and as a process of a run over several:

small_steps.py FOLDER --processes=HOST:PORT,INDEX,COUNT takes ten steps in float64 and writes FOLDER/INDEX.json.
"""

import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh
from jax.typing import DTypeLike

from vfs_jax.distributed import join
from vfs_jax.models.heads import Predictor, Projector
from vfs_jax.models.resnet import batch_norm
from vfs_jax.training.contrastive import init_queue
from vfs_jax.training.optimizer import cosine, sgd
from vfs_jax.training.program import TrainStep, compile_train_step
from vfs_jax.training.sharding import make_mesh, put_batch, replicated
from vfs_jax.training.state import TrainState, init_state
from vfs_jax.training.step import make_train_step

SCHEDULE = cosine(0.05, 10)
OPTIMIZER = sgd(SCHEDULE, momentum=0.9, weight_decay=1e-4)
BATCH, SIZE, WIDTH = 8, 8, 8


class _Backbone(nn.Module):
    dtype: DTypeLike

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        x = nn.Conv(WIDTH, (3, 3), use_bias=False, dtype=self.dtype)(images)
        return nn.relu(batch_norm(x, train, name="bn"))


class SmallVFS(nn.Module):
    """VFS with one convolution and its BatchNorm in place of the ResNet: applied alike, compiled in a second."""

    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.backbone, self.projector, self.predictor = _Backbone(self.dtype), Projector(WIDTH), Predictor(WIDTH, 4)

    def __call__(self, views: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        z, p = zip(*(self._embed(jnp.asarray(views[:, view]), train) for view in (0, 1)), strict=True)
        return jnp.stack(z, axis=1), jnp.stack(p, axis=1)

    def _embed(self, frames: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        b, t = frames.shape[:2]
        z = self.projector(self.backbone(frames.reshape((b * t, *frames.shape[2:])), train).mean((1, 2)), train)
        return z.reshape((b, t, -1)), self.predictor(z, train).reshape((b, t, -1))


def step_function(model: nn.Module, **options: Any) -> TrainStep:
    return make_train_step(model, seed=0, learning_rate=SCHEDULE, optimizer=OPTIMIZER, **options)


def host_batch(seed: int = 0, repeat: int = 1, size: int = SIZE) -> dict[str, np.ndarray]:
    """Random clips, each `repeat` times in a row."""
    views = np.random.default_rng(seed).integers(0, 256, (BATCH // repeat, 2, 1, size, size, 3), dtype=np.uint8)
    messages = {"stop": np.zeros(BATCH, bool), "unreadable": np.zeros(BATCH, np.int32)}
    return {"views": np.repeat(views, repeat, axis=0), **messages}


@functools.cache
def _initial(dtype: type[np.floating], queue_size: int) -> TrainState:
    def init() -> TrainState:
        variables = dict(SmallVFS().init(jax.random.key(0), jnp.zeros((1, 2, 1, SIZE, SIZE, 3))))
        queue = init_queue(0, variables, size=queue_size, width=WIDTH) if queue_size else None
        return init_state(variables, OPTIMIZER.init(variables["params"]), queue)

    with jax.enable_x64(False):
        state = jax.device_get(jax.jit(init)())
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.dtype == np.float32 else leaf, state)


def initial(mesh: Mesh, dtype: type[np.floating] = np.float32, queue_size: int = 0) -> TrainState:
    return jax.device_put(_initial(dtype, queue_size), replicated(mesh))  # type: ignore[arg-type]  # as below


@functools.cache
def compiled(
    devices: int, dtype: type[np.floating] = np.float32, queue_size: int = 0, **options: Any
) -> tuple[jax.stages.Compiled, Mesh]:
    """The compiled step, for batches as above."""
    mesh = make_mesh(devices)
    step = compile_train_step(step_function(SmallVFS(dtype), **options), mesh)
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
    folder, processes = sys.argv[1:]
    join(processes.removeprefix("--processes="))
    devices = jax.device_count()
    with jax.enable_x64(True):
        state, history = run(devices, [host_batch(seed) for seed in range(10)], np.float64)
    norms = [float(np.linalg.norm(leaf)) for leaf in jax.tree.leaves(state.params)]
    result = {"processes": jax.process_count(), "devices": devices, "steps": history, "norms": norms}
    (Path(folder) / f"{jax.process_index()}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
