"""Trains on generated clips, as a process that tests may kill.

train_clips.py WORKDIR STEPS [KEY=JSON ...] [--processes=HOST:PORT,INDEX,COUNT]
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from vfs_jax.distributed import join
from vfs_jax.errors import InputError
from vfs_jax.training.loop import train
from vfs_jax.training.options import read_options

# Five clips and four a step: every second step lies across the edge of two passes.
OPTIONS = {
    **{"data": "", "depth": 18, "seed": 0, "batch_size": 4, "segments": 2, "image_size": 72, "learning_rate": 0.05},
    **{"checkpoint_every": 2, "keep_checkpoints": 3, "log_every": 1},
}


def clips() -> list[dict]:
    rng = np.random.default_rng(0)

    def frames(number: int) -> list[bytes]:
        noise = [cv2.resize(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8), (96, 72)) for _ in range(number)]
        return [cv2.imencode(".jpg", image)[1].tobytes() for image in noise]

    return [{"id": f"clip{i}", "frames": frames(6 + i)} for i in range(5)]


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
            input()  # a test sends a signal here
        if options.get("eval_data") == "nowhere":
            raise InputError("nowhere: no such folder")
        return {"kernels": float(len(variables["params"]))}

    evaluate_with = evaluate if options.get("eval_every") else None
    train(read_options(options), Path(workdir), clips(), evaluate=evaluate_with)
    print("finished", flush=True)


if __name__ == "__main__":
    main()
