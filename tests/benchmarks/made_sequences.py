"""Sequences with masks, made on the spot: for measuring where no data set is."""

from pathlib import Path

import cv2
import numpy as np

from vfs_jax.data.images import write_index_mask
from vfs_jax.data.mask_datasets import MaskSequence


def make_sequences(folder: Path, number: int, frames: int, size: tuple[int, int]) -> list[MaskSequence]:
    """Make sequences like those of DAVIS: clouds that drift, a square of other clouds that moves over them."""
    height, width = size
    found = []
    for index in range(number):
        rng = np.random.default_rng(index)
        ground, square = (clouds(rng, side) for side in ((height, 2 * width), (height // 3, height // 3)))
        images, masks = [], []
        for t in range(frames):
            mask = np.zeros(size, np.uint8)
            top, left = height // 4 + t % (height // 4), width // 4 + t
            mask[top : top + len(square), left : left + len(square)] = 1
            image = ground[:, t : t + width].copy()
            image[mask > 0] = square[: mask.any(1).sum(), : mask.any(0).sum()].reshape(-1, 3)
            images.append(folder / f"{index}-{t:05d}.jpg")
            masks.append(folder / f"{index}-{t:05d}.png")
            cv2.imwrite(str(images[-1]), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
            write_index_mask(masks[-1], mask)
        found.append(MaskSequence(f"clouds-{index}", tuple(images), tuple(masks)))
    return found


def clouds(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Noise of all scales, as photographs have, uint8 [*size, 3]."""
    image = np.zeros((*size, 3), np.float32)
    for scale in (2, 4, 8, 16, 32, 64):
        coarse = rng.standard_normal((size[0] // scale + 2, size[1] // scale + 2, 3), np.float32)
        image += scale**0.7 * cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 50 * image / image.std(), 0, 255).astype(np.uint8)
