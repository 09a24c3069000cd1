"""Trains a small network on generated clips, as a process that tests may kill.

train_clips.py WORKDIR STEPS [KEY=JSON ...] [--processes=HOST:PORT,INDEX,COUNT]
"""

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from small_steps import SmallVFS

from vfs_jax.data.record_fields import ClipRecord
from vfs_jax.distributed import join
from vfs_jax.errors import InputError
from vfs_jax.training.loop import Evaluate, train
from vfs_jax.training.optimizer import sgd
from vfs_jax.training.options import TrainOptions, read_options
from vfs_jax.training.program import Program, batch_layout, state_layout
from vfs_jax.training.sharding import make_mesh, replicated
from vfs_jax.training.state import TrainState, init_state
from vfs_jax.training.step import make_train_step
from vfs_jax.training.vfs import make_plan

# Five clips and eight a step: most steps lie across the edge of two passes.
OPTIONS = {
    **{"data": "", "depth": 18, "seed": 0, "batch_size": 8, "segments": 2, "image_size": 8, "learning_rate": 0.01},
    **{"checkpoint_every": 2, "keep_checkpoints": 3, "log_every": 1},
}


def clips() -> list[Any]:
    """Make records of the fields that training reads."""
    rng = np.random.default_rng(0)

    def frames(number: int) -> list[bytes]:
        noise = [cv2.resize(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8), (96, 72)) for _ in range(number)]
        return [cv2.imencode(".jpg", image)[1].tobytes() for image in noise]

    return [{"id": f"clip{i}", "frames": frames(6 + i)} for i in range(5)]


def small_program(options: TrainOptions) -> Program:
    """VFS's program, with the small network in place of the ResNet and a rate that does not fall."""
    mesh, optimizer = make_mesh(), sgd(options.learning_rate, momentum=0.9, weight_decay=1e-4)
    views = (2, options.segments // 2, options.image_size, options.image_size, 3)

    def init() -> TrainState:
        variables = dict(SmallVFS().init(jax.random.key(options.seed), jnp.zeros((1, *views))))
        return init_state(variables, optimizer.init(variables["params"]))

    return Program(
        mesh=mesh,
        create=jax.jit(init, out_shardings=replicated(mesh)),
        step=make_train_step(
            SmallVFS(), seed=0, learning_rate=lambda _: jnp.float32(options.learning_rate), optimizer=optimizer
        ),
        state_shapes=state_layout(mesh, jax.eval_shape(init)),
        batch_shapes=batch_layout(mesh, options.batch_size, {"views": views}),
    )


def train_small(
    options: dict, workdir: Path, records: Sequence[ClipRecord], *, pause: float = 0.0, evaluate: Evaluate | None = None
) -> TrainState:
    """Runs the loop; a pause after every step gives a test time to kill it."""
    read = read_options(options)
    plan = make_plan(read, records)
    plan = dataclasses.replace(plan, watch=[*plan.watch, lambda *_: time.sleep(pause)])
    return train(small_program(read), plan, read, workdir, evaluate=evaluate)


def main() -> None:
    workdir, steps, *changes = sys.argv[1:]
    if changes and changes[-1].startswith("--processes="):
        join(changes.pop().removeprefix("--processes="))
    options = (
        OPTIONS | {"steps": int(steps)} | {key: json.loads(value) for key, value in (c.split("=") for c in changes)}
    )
    Path(workdir).mkdir(parents=True, exist_ok=True)

    def evaluate(variables: dict, step: int) -> dict[str, float]:
        print("evaluating", flush=True)
        if options.get("eval_data") == "forever":
            while True:  # a test sends a signal here; one that comes just before input() reads would not end it
                time.sleep(0.01)
        if options.get("eval_data") == "nowhere":
            raise InputError("nowhere: no such folder")
        return {"kernels": float(len(variables["params"]))}

    evaluate_with = evaluate if options.get("eval_every") else None
    train_small(options, Path(workdir), clips(), pause=0.1, evaluate=evaluate_with)
    print("finished", flush=True)


if __name__ == "__main__":
    main()
