"""What do features tell clips apart by? A linear probe of the video a crop is from, by stage, on altered frames.

  python launch/proof_diagnosis.py RECORDS OUT WEIGHTS [WEIGHTS ...]

RECORDS are whole videos (launch/proof_sweep.sh --pack writes some), WEIGHTS what vfs-eval takes. The probe learns on
crops, drawn as in training, of the first half of every video, and is asked about crops of the second half: as they are,
gray, blurred (sigma 4 of 112 pixels), and with their patches of 8x8 pixels shuffled. Features are means over a stage's
map; "color" is the mean and the standard deviation of the pixels' colors, without a network. Chance is one over the
number of videos. OUT/diagnosis.md gets the table.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import jax
import numpy as np

from vfs_jax.data.images import decode_jpeg
from vfs_jax.data.records import ClipRecords
from vfs_jax.data.text import write_text
from vfs_jax.data.transforms import GRAY, random_resized_crop
from vfs_jax.errors import InputError
from vfs_jax.models import ResNet, normalize_images
from vfs_jax.models.resnet import STAGES
from vfs_jax.models.weights.resolve import only_resnet, resolve

SIZE, CROPS, BATCH = 112, 12, 32  # pixels; crops of each half of a video; crops a call of the network
Features = Mapping[str, np.ndarray]  # float64 [n, c] by name


def gray(image: np.ndarray) -> np.ndarray:
    """Take the color from a crop uint8 [h, w, 3]."""
    return np.repeat(np.round(image @ np.array(GRAY))[..., None], 3, axis=-1).astype(np.uint8)


def blurred(image: np.ndarray) -> np.ndarray:
    """Take what is fine from a crop."""
    return cv2.GaussianBlur(image, (0, 0), 4.0)


def shuffled(image: np.ndarray) -> np.ndarray:
    """Take what is larger than a patch of 8x8 pixels from a crop, whose sides are multiples of 8."""
    rows, cols = image.shape[0] // 8, image.shape[1] // 8
    patches = image.reshape(rows, 8, cols, 8, 3).swapaxes(1, 2).reshape(-1, 8, 8, 3)
    patches = patches[np.random.default_rng(0).permutation(len(patches))]
    return patches.reshape(rows, cols, 8, 8, 3).swapaxes(1, 2).reshape(image.shape)


ALTERED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as they are": lambda image: image,
    "gray": gray,
    "blurred": blurred,
    "shuffled": shuffled,
}


def draw_crops(records: ClipRecords) -> tuple[np.ndarray, np.ndarray]:
    """Draw crops of the first and of the second half of every video: two uint8 [videos * CROPS, SIZE, SIZE, 3]."""
    rng = np.random.default_rng(0)
    halves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for index in range(len(records)):
        frames = records[index]["frames"]
        middle = len(frames) // 2
        for half, (first, end) in zip(halves, ((0, middle), (middle, len(frames))), strict=True):
            for frame in rng.integers(first, end, size=CROPS):
                half.append(random_resized_crop(rng, decode_jpeg(frames[frame]), SIZE))
    return np.stack(halves[0]), np.stack(halves[1])


def features_of(weights: str) -> Callable[[np.ndarray], Features]:
    """Return the function that gives the mean features of every stage of a network."""
    network, variables, _ = resolve(weights, 18)
    only_resnet(weights, network)
    model = ResNet(network.depth, outputs=STAGES)
    apply = jax.jit(lambda images: model.apply(variables, normalize_images(images)))

    def compute(images: np.ndarray) -> Features:
        parts = [jax.device_get(apply(images[start : start + BATCH])) for start in range(0, len(images), BATCH)]
        return {stage: np.concatenate([part[stage].mean(axis=(1, 2)) for part in parts]) for stage in STAGES}

    return compute


def colors(images: np.ndarray) -> Features:
    """Return mean and standard deviation of the colors."""
    pixels = images.reshape(len(images), -1, 3).astype(np.float64)
    return {"color": np.concatenate([pixels.mean(axis=1), pixels.std(axis=1)], axis=1)}


def probe(known: np.ndarray, labels: np.ndarray, asked: Sequence[np.ndarray]) -> list[float]:
    """Fit a ridge regression to the labels, on standardized features, and return the shares it gets right.

    Args:
        known: features it learns from [n, c].
        labels: of these, int [n], and of each of `asked`.
        asked: features [n, c].
    """
    mean, spread = known.mean(axis=0), known.std(axis=0) + 1e-6

    def standard(features: np.ndarray) -> np.ndarray:
        scaled = (features.astype(np.float64) - mean) / spread / np.sqrt(features.shape[1])
        return np.concatenate([scaled, np.ones((len(features), 1))], axis=1)

    x = standard(known)
    targets = np.eye(labels.max() + 1)[labels]
    solution = np.linalg.solve(x.T @ x + 1e-3 * len(x) * np.eye(x.shape[1]), x.T @ targets)
    return [float(np.mean((standard(each) @ solution).argmax(axis=1) == labels)) for each in asked]


def main() -> None:
    """Probe all weights and write the table."""
    records, out, *names = sys.argv[1:]
    known, asked = draw_crops(ClipRecords(records))
    labels = np.repeat(np.arange(len(known) // CROPS), CROPS)
    lines = [f"| features | {' | '.join(ALTERED)} |", f"| --- |{' --- |' * len(ALTERED)}"]
    for name in ("", *names):
        compute = features_of(name) if name else colors
        learned = compute(known)
        answers = [compute(np.stack([alter(image) for image in asked])) for alter in ALTERED.values()]
        for part, features in learned.items():
            shares = probe(features, labels, [answer[part] for answer in answers])
            lines.append(f"| {name} {part} | {' | '.join(f'{share:.1%}' for share in shares)} |")
        print("\n".join(lines), flush=True)
    Path(out).mkdir(parents=True, exist_ok=True)
    write_text(Path(out) / "diagnosis.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    try:
        main()
    except (InputError, ValueError) as error:
        sys.exit(f"error: {error}")
