"""Exemplar and search patches of box sequences to train a Siamese tracker, a pure function of the seed and the step."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import TypedDict

import cv2
import numpy as np

from vfs_jax.data.background import load_in_background
from vfs_jax.data.box_datasets import BoxSequence
from vfs_jax.data.images import image_size
from vfs_jax.data.target_crops import center_of, crop_target, exemplar_extent
from vfs_jax.errors import InputError

# How many sequences are tried in place of one that cannot be read, before the run is given up.
_TRIES = 10

_INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_LANCZOS4)


class PairBatch(TypedDict):
    """One process's part of a batch; see `pair_batches`."""

    exemplar: np.ndarray
    search: np.ndarray
    id: list[str]
    unreadable: list[str]


@dataclasses.dataclass(frozen=True)
class PairSettings:
    """How pairs are drawn and augmented; the defaults are the release's.

    Attributes:
        exemplar_size: side of the exemplar's patch, pixels.
        search_size: side at which both are cut before they are augmented; search patches lose 2 * crop_margin of it.
        context: of the exemplar around the box, a share of width + height.
        max_gap: frames between the two, at most one less.
        max_stretch: share by which a patch is stretched at most.
        crop_margin: pixels: the center of search_size - margin is kept, of which a square of search_size - 2 * margin
            is drawn.
    """

    exemplar_size: int = 120
    search_size: int = 255
    context: float = 0.5
    max_gap: int = 100
    max_stretch: float = 0.05
    crop_margin: int = 8


def kept_frames(sequence: BoxSequence) -> np.ndarray:
    """Choose the frames that are fit to train on.

    Their box covers at least 20 pixels; its sides are 20 to 500 pixels and 1% to 50% of the image's; its aspect is 1/4
    to 4; its cover label, where there is one, is above 1 and above 0.3 of the sequence's greatest.

    Returns:
        Their numbers, int64 [n].
    """
    height, width = image_size(sequence.frames[0])
    sides = np.where(np.isfinite(sequence.boxes).all(1, keepdims=True), sequence.boxes[:, 2:], 0)  # 0 is never fit
    share, aspect = sides / (width, height), sides[:, 0] / np.maximum(1, sides[:, 1])
    kept = (sides.prod(1) >= 20) & ((sides >= 20) & (sides <= 500) & (share >= 0.01) & (share <= 0.5)).all(1)
    kept &= (aspect >= 0.25) & (aspect <= 4)
    if sequence.cover is not None:
        kept &= sequence.cover > max(1, 0.3 * sequence.cover.max())
    return np.flatnonzero(kept)


def sample_pair(rng: np.random.Generator, kept: np.ndarray, max_gap: int) -> tuple[int, int]:
    """Draw two frames, the earlier one for the exemplar.

    Args:
        rng: the source of randomness.
        kept: frames to draw from, at least two; of two the gap is ignored.
        max_gap: pairs that lie so far apart or farther are drawn again, 100 times; then one frame serves as both.

    >>> sample_pair(np.random.default_rng(0), np.array([3, 500]), 100)
    (3, 500)
    """
    if len(kept) == 2:
        return int(kept[0]), int(kept[1])
    for _ in range(100):
        first, second = np.sort(rng.choice(kept, 2, replace=False))
        if second - first < max_gap:
            return int(first), int(second)
    frame = int(rng.choice(kept))
    return frame, frame


def cut_patch(
    rng: np.random.Generator, image: np.ndarray, box: np.ndarray, settings: PairSettings, *, exemplar: bool
) -> np.ndarray:
    """Cut a target out and augment it: stretch it, cut it to the center, then draw a square of it.

    Args:
        rng: draws the interpolations (of crop and stretch, each one of OpenCV's five), the stretch and the square.
        image: RGB uint8 [h, w, 3].
        box: left, top, width, height, taken for 1-based. Quirk of the release: GOT-10k's boxes are 0-based.
        settings: sizes.
        exemplar: whether the square's center of exemplar_size is cut out at last.

    Returns:
        uint8 [s, s, 3], s the exemplar_size, or search_size - 2 * crop_margin.
    """
    center, size = center_of(box)
    extent = exemplar_extent(size, settings.context) * np.float32(settings.search_size / settings.exemplar_size)
    color = np.asarray(np.mean(image, axis=(0, 1), dtype=float))
    patch = crop_target(
        image, center, extent, settings.search_size, color=color, interpolation=int(rng.choice(_INTERPOLATIONS))
    )
    interpolation, stretch = int(rng.choice(_INTERPOLATIONS)), rng.uniform(-settings.max_stretch, settings.max_stretch)
    side = round(settings.search_size * (1 + stretch))
    patch = cv2.resize(patch, (side, side), interpolation=interpolation)
    patch = center_crop(patch, settings.search_size - settings.crop_margin)
    side = settings.search_size - 2 * settings.crop_margin
    top, left = rng.integers(0, len(patch) - side + 1, 2)
    patch = patch[top : top + side, left : left + side]
    return center_crop(patch, settings.exemplar_size) if exemplar else patch


def center_crop(patch: np.ndarray, side: int) -> np.ndarray:
    """Return the center of a square patch; its mean color around it where it is smaller."""
    first = round((len(patch) - side) / 2)
    if first < 0:
        color = np.mean(patch, axis=(0, 1)).tolist()
        patch = cv2.copyMakeBorder(patch, -first, -first, -first, -first, cv2.BORDER_CONSTANT, value=color)
        first = 0
    return patch[first : first + side, first : first + side]


def steps_per_epoch(num_sequences: int, batch_size: int) -> int:
    """Return the number of batches of an epoch, in which each sequence gives a pair; an unfilled one is left out."""
    return max(num_sequences // batch_size, 1)


@dataclasses.dataclass(frozen=True)
class PairBatches(Sequence[PairBatch]):
    """The endless sequence of batches: item i is step start_step + i, whoever asks for it and whenever.

    See `pair_batches` for the arguments.
    """

    sequences: Sequence[BoxSequence]
    batch_size: int
    seed: int
    start_step: int
    process_index: int
    process_count: int
    settings: PairSettings

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> PairBatch:  # type: ignore[override]  # slices have no use here
        step = self.start_step + index
        epoch, batch = divmod(step, steps_per_epoch(len(self.sequences), self.batch_size))
        order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.sequences))
        order = np.resize(order, max(len(order), self.batch_size))  # repeated where they do not fill a batch
        rows = self.batch_size // self.process_count
        places = np.arange(rows) + batch * self.batch_size + self.process_index * rows
        patches, ids, unreadable = [], [], []
        for place in places:
            rng = np.random.default_rng((self.seed, 1, epoch, int(place)))
            pair, name, failed = self._pair(int(order[place]), rng)
            patches.append(pair)
            ids.append(name)
            unreadable += failed
        exemplars, searches = zip(*patches, strict=True)
        return {"exemplar": np.stack(exemplars), "search": np.stack(searches), "id": ids, "unreadable": unreadable}

    def _pair(self, index: int, rng: np.random.Generator) -> tuple[tuple[np.ndarray, np.ndarray], str, list[str]]:
        """Cut a pair of a sequence; with it the sequence's name, and what had to be passed over for it.

        A sequence with fewer than two fit frames, or that cannot be read, is replaced by any other one.
        """
        failed: list[str] = []
        for candidate in (index, *rng.permutation(len(self.sequences)).tolist()):
            sequence = self.sequences[candidate]
            try:
                kept = kept_frames(sequence)
                if len(kept) < 2:
                    continue
                first, second = sample_pair(rng, kept, self.settings.max_gap)
                z = cut_patch(rng, sequence.frame(first), sequence.boxes[first], self.settings, exemplar=True)
                x = cut_patch(rng, sequence.frame(second), sequence.boxes[second], self.settings, exemplar=False)
                return (z, x), sequence.name, failed
            except InputError as error:
                failed.append(f"{sequence.name}: {error}")
                if len(failed) == _TRIES:
                    break
        if failed:
            raise InputError(f"{len(failed)} sequences cannot be read; verify the data ({'; '.join(failed)})")
        raise InputError(f"{sequence.frames[0].parent}: no sequence has two frames that are fit to train on")


def pair_batches(
    sequences: Sequence[BoxSequence],
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    settings: PairSettings = PairSettings(),
) -> Iterator[PairBatch]:
    """Read, cut and augment pairs in the background and hand them out batch by batch, without end.

    Args:
        sequences: with the box of every frame; each gives one pair an epoch, in an order drawn for the epoch.
        batch_size: pairs in a global batch.
        seed: of order, frames and augmentation.
        start_step: step of the first batch handed out.
        process_index: which part of every global batch to load.
        process_count: into how many parts global batches are cut.
        num_workers: worker processes; 0 works with threads of this process.
        settings: of the pairs.

    Yields:
        Dicts of "exemplar" uint8 [b, e, e, 3] and "search" uint8 [b, s, s, 3] with b = batch_size / process_count, "id"
        list of b str, the sequences' names, and "unreadable", a list of what could not be read ("id: why") and was
        replaced by other sequences. A function of (seed, step) alone.

    Raises:
        InputError: there are no sequences, none is fit to train on, or batch_size is no multiple of process_count.
    """
    if not sequences:
        raise InputError("there are no sequences to train on")
    if batch_size < 1 or batch_size % process_count:
        raise InputError(f"batch_size={batch_size}: must be a positive multiple of the {process_count} processes")
    batches = PairBatches(sequences, batch_size, seed, start_step, process_index, process_count, settings)
    return load_in_background(batches, num_workers)
