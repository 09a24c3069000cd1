"""Whether training the tracking head pays: success of raw features and of the trained head on sequences held out.

    python tests/benchmarks/tracker_learning.py --weights=WEIGHTS --clips=DIR --got10k=DIR --held_out=DIR --out=DIR
    ... --choose    scores on sequences over the last fifth of --clips instead: settings are to be chosen there
    ... --toy       tiny sizes: only that it runs

Each seed composes its own sequences and draws its own head, pairs and order. It trains on GOT-10k's train split and on
sequences composed from all but the last fifth of --clips: clips as backgrounds, and their middle frames as photographs
to cut pieces from. It is scored on scikit-image's photographs over the clips of --held_out. The backbone is frozen and
the same for all, so the features of a fixed number of pairs are computed once and gone through again, in an order drawn
anew; the step is that of vfs-train-tracker. Prints a Markdown table, a row a seed: the loss over the first and the last
tenth of the steps, OTB's success of raw features and of the trained head.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
import optax
from kept import keep

from data_prep.compose import compose, photographs, read_background
from data_prep.index import index_folder
from vfs_jax.data.box_datasets import BoxSequence, open_got10k, open_otb
from vfs_jax.data.pairs import PairBatches, PairSettings
from vfs_jax.evaluation.runs.tracking import track_sequences
from vfs_jax.evaluation.tasks.boxes import Otb
from vfs_jax.evaluation.tracking.siamfc import TrackerSettings
from vfs_jax.models.resnet import Variables
from vfs_jax.models.tracking import tracking_features
from vfs_jax.models.weights.resolve import resolve
from vfs_jax.training.tracker_head import HeadOptions, init_head_state, make_head_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is composed, trained and tracked; `pairs` and `tracker` hold what differs from the release's settings.

    Pieces do not move with what is behind them, so exemplars have no context; patches of half the side then show a
    target as large as the release's do, at a fourth of the time.
    """

    clips: int = 25  # of --clips
    held_out: int = 3  # clips of --held_out
    train_each: int = 2  # sequences over a training clip
    train_frames: int = 8  # along paths as long as those of the test: far apart, so that pairs differ
    test_frames: int = 48
    height: int = 240  # pixels
    got10k_repeats: int = 4  # of each sequence, beside 80 composed targets
    pool: int = 40  # batches of pairs whose features are computed
    steps: int = 400
    pairs: dict = dataclasses.field(
        default_factory=lambda: {"exemplar_size": 60, "search_size": 127, "crop_margin": 4, "context": 0.0}
    )
    tracker: dict = dataclasses.field(
        default_factory=lambda: {"exemplar_size": 60, "search_size": 127, "context": 0.0, "response_cells": 9}
    )


TOY = Sizes(clips=6, held_out=1, train_each=1, train_frames=3, test_frames=3, height=120, pool=2, steps=10)


def videos(folder: Path) -> list[Path]:
    """Every video below a folder, in order."""
    return [Path(entry.path) for entry in index_folder(folder)[0]]


def middle_frame(clip: Path) -> np.ndarray:
    """The frame in the middle of a clip, uint8 [h, w, 3] RGB, the shorter side 256: pieces are cut from it."""
    capture = cv2.VideoCapture(str(clip))
    capture.set(cv2.CAP_PROP_POS_FRAMES, capture.get(cv2.CAP_PROP_FRAME_COUNT) // 2)
    found, frame = capture.read()
    assert found, clip
    scale = 256 / min(frame.shape[:2])
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[..., ::-1]


def composed(
    folder: Path, clips: Sequence[Path], photos: Sequence[np.ndarray], *, seed: int, each: int, frames: int, height: int
) -> list[BoxSequence]:
    """Sequences in OTB's layout, `each` over every clip, two targets in each; what is there is not made again."""
    for index, clip in enumerate(clips):
        background = read_background(clip, frames, height)
        for number in range(each):
            targets = [folder / f"{clip.stem}_{number}_{target}" for target in (1, 2)]
            if (targets[-1] / "groundtruth_rect.txt").exists():  # written last
                continue
            sequence = compose(np.random.default_rng((seed, index, number)), background, photos)
            for target, boxes in zip(targets, np.swapaxes(sequence.boxes, 0, 1), strict=True):
                (target / "img").mkdir(parents=True, exist_ok=True)
                for t, frame in enumerate(sequence.frames, 1):
                    cv2.imwrite(str(target / "img" / f"{t:04d}.jpg"), frame[..., ::-1])
                # OTB counts pixels from 1.
                np.savetxt(target / "groundtruth_rect.txt", boxes + np.array([1, 1, 0, 0]), fmt="%g", delimiter=",")
    return open_otb(folder)


def success(variables: Variables, sequences: Sequence[BoxSequence], results: Path, **settings: Any) -> float:
    """OTB's success of a tracker, whose boxes go to `results`."""
    task = Otb()
    track_sequences(task, variables, sequences, results, settings=TrackerSettings(**settings))
    return task.summary([task.score(results, sequence) for sequence in sequences])["Success"]


def train(
    options: HeadOptions, backbone: Variables, sequences: list[BoxSequence], sizes: Sizes
) -> tuple[Variables, list[float]]:
    """Trains a head on the features of the first pairs of `sequences`: the tracker's variables and the losses."""
    pairs = PairBatches(sequences, options.batch_size, options.seed, 0, 0, 1, options.pairs)
    extract = jax.jit(tracking_features)
    batches = [
        {name: np.asarray(extract(backbone, batch[name])) for name in ("exemplar", "search")}
        for batch in (pairs[i] for i in range(sizes.pool))
    ]
    pool = {name: np.concatenate([batch[name] for batch in batches]) for name in ("exemplar", "search")}

    schedule = optax.exponential_decay(options.learning_rate, sizes.steps, 0.1)
    optimizer = optax.adam(schedule)
    state = init_head_state(options.seed, backbone, optimizer)
    step = jax.jit(make_head_step(options, 18, optimizer, schedule, features=lambda _, computed: computed))
    rng, order, losses = np.random.default_rng(options.seed), np.array([], int), []
    for _ in range(sizes.steps):
        if len(order) < options.batch_size:
            order = rng.permutation(len(pool["search"]))
        chosen, order = order[: options.batch_size], order[options.batch_size :]
        state, metrics = step(state, {name: features[chosen] for name, features in pool.items()})
        losses.append(float(metrics["loss"]))
    return state.variables, losses


def learn(seed: int, out: Path, backbone: Variables, args: argparse.Namespace, sizes: Sizes) -> dict[str, float]:
    """Composes, trains, and tracks with and without the head."""
    begin = time.perf_counter()
    clips = videos(args.clips)[: sizes.clips]
    kept = len(clips) * 4 // 5
    sequences = composed(
        out / "train",
        clips[:kept],
        [middle_frame(clip) for clip in clips[:kept]],
        seed=seed,
        each=sizes.train_each,
        frames=sizes.train_frames,
        height=sizes.height,
    )
    sequences += open_got10k(args.got10k, "train") * sizes.got10k_repeats
    if args.choose:
        grounds, photos = clips[kept:], [middle_frame(clip) for clip in clips[kept:]]
    else:
        grounds, photos = videos(args.held_out)[: sizes.held_out], photographs()
    folder = out / ("choose" if args.choose else "held_out")
    test = composed(folder, grounds, photos, seed=seed, each=1, frames=sizes.test_frames, height=sizes.height)

    options = HeadOptions(seed=seed, pairs=PairSettings(**sizes.pairs))
    variables, losses = train(options, backbone, sequences, sizes)
    tenth = max(1, len(losses) // 10)
    results = {name: folder.with_name(f"{folder.name}_{name}") for name in ("raw", "trained")}
    return {
        "seed": seed,
        "pairs": sizes.pool * options.batch_size,
        "targets": len(test),
        "loss_first": float(np.mean(losses[:tenth])),
        "loss_last": float(np.mean(losses[-tenth:])),
        "raw": success(backbone, test, results["raw"], **sizes.tracker),
        "trained": success(variables, test, results["trained"], **sizes.tracker),
        "seconds": time.perf_counter() - begin,
    }


def main(arguments: list[str]) -> list[dict[str, float]]:
    """Measures every seed, prints the table and returns its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="random:0", help="of the ResNet-18: a folder of vfs-train, say")
    for name, meaning in (
        ("clips", "videos to train over"),
        ("got10k", "folder of GOT-10k's layout, its train split is trained on"),
        ("held_out", "videos to test over"),
        ("out", "for sequences, boxes and learning.json"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=meaning)
    parser.add_argument("--seeds", default="0,1,2", help="of sequences, head, pairs and order, comma-separated")
    parser.add_argument("--choose", action="store_true", help="score on the last fifth of --clips")
    parser.add_argument("--toy", action="store_true", help="tiny sizes: only to see that everything runs")
    parser.add_argument("--keep", type=Path, help="JSON file to add the figures to")
    args = parser.parse_args(arguments)

    _, backbone, about = resolve(args.weights)
    rows: list[dict[str, float]] = []
    for seed in map(int, args.seeds.split(",")):
        rows.append(learn(seed, args.out / f"seed-{seed}", backbone, args, TOY if args.toy else Sizes()))
        (args.out / "learning.json").write_text(json.dumps({"weights": about, "rows": rows}, indent=2))
    print("\n| seed | loss, first | loss, last | success, raw | success, trained | difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        raw, trained = row["raw"], row["trained"]
        losses = f"{row['loss_first']:.3f} | {row['loss_last']:.3f}"
        print(f"| {row['seed']} | {losses} | {raw:.3f} | {trained:.3f} | {trained - raw:+.3f} |")
    for weights in ("raw", "trained"):
        mean = sum(row[weights] for row in rows) / len(rows)
        keep(args.keep, {f"tracker learning, {len(rows)} seeds: {weights}": (mean, "success")})
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
