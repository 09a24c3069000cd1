"""Trains the SiamFC head on generated sequences, as a process of a run over several.

train_pairs.py WORKDIR [--processes=HOST:PORT,INDEX,COUNT]
"""

import sys
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np

from vfs_jax.data.box_datasets import BoxSequence
from vfs_jax.data.pairs import PairSettings
from vfs_jax.distributed import join
from vfs_jax.models import backbone_of, init_variables
from vfs_jax.models.resnet import Variables
from vfs_jax.training.tracker_head import HeadOptions, train_head

PAIRS = PairSettings(exemplar_size=16, search_size=40, crop_margin=4)
# Nine sequences and eight a step: a step an epoch.
OPTIONS: dict[str, Any] = {"pairs": PAIRS, "epochs": 12, "checkpoint_every": 2, "log_every": 1, "out_scale": 0.1}


def sequences(folder: Path) -> list[BoxSequence]:
    rng, found = np.random.default_rng(0), []
    for number in range(9):
        image = cv2.resize(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8), (96, 72))
        files = [folder / f"{number}_{t}.png" for t in range(3)]
        for t, file in enumerate(files):
            cv2.imwrite(str(file), np.roll(image, 3 * t, axis=1))
        boxes = np.array([[30.0 + 3 * t, 20, 24, 22] for t in range(3)])
        found.append(BoxSequence(f"sequence{number}", tuple(files), boxes))
    return found


def backbone() -> Variables:
    return jax.device_get(backbone_of(init_variables(0, 18)))


def main() -> None:
    workdir, *processes = sys.argv[1:]
    if processes:
        join(processes[0].removeprefix("--processes="))
    folder = Path(workdir) / f"sequences{jax.process_index()}"
    folder.mkdir(parents=True)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an int
        train_head(HeadOptions(**OPTIONS), Path(workdir), sequences(folder), backbone())


if __name__ == "__main__":
    main()
