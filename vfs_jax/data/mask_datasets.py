"""Readers of mask data sets: DAVIS and VIP.

Everything is checked when a data set is opened, so that a missing mask does not end an evaluation of an hour.
"""

import dataclasses
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vfs_jax.data.images import check_sizes, list_images, read_index_mask
from vfs_jax.data.sequences import FrameSequence
from vfs_jax.data.text import read_text
from vfs_jax.errors import InputError

VOID = 255  # the label of pixels that belong to nothing, in DAVIS and YouTube-VOS


@dataclasses.dataclass(frozen=True)
class MaskSequence(FrameSequence):
    """One video with index masks.

    Attributes:
        masks: mask files, one a frame; only the first frame's where the rest is not public.
        merge: whether all labels are one object (DAVIS 2016).
    """

    masks: tuple[Path, ...]
    merge: bool = False

    @property
    def has_ground_truth(self) -> bool:
        """Whether every frame has a mask."""
        return len(self.masks) == len(self.frames)

    def mask(self, index: int) -> np.ndarray:
        """Return the index mask of one frame, uint8 [h, w], void pixels as background."""
        return without_void(self.ground_truth(index))

    def ground_truth(self, index: int) -> np.ndarray:
        """Read the mask of one frame as it is, uint8 [h, w]."""
        return self.read(self.masks[index])

    def read(self, file: Path) -> np.ndarray:
        """Read a mask of this sequence, ground truth or prediction by the same rule, uint8 [h, w]."""
        mask = read_index_mask(file)
        return (mask > 0).astype(np.uint8) if self.merge else mask

    def cut(self, frames: int | None) -> "MaskSequence":
        """Return the first frames alone; None keeps all."""
        return dataclasses.replace(self, frames=self.frames[:frames], masks=self.masks[:frames])


def open_davis(
    directory: str | os.PathLike[str],
    split: str = "val",
    *,
    year: int = 2017,
    resolution: str = "480p",
    sequences: Sequence[str] = (),
) -> list[MaskSequence]:
    """Open a folder of the DAVIS layout.

    It holds JPEGImages/RESOLUTION/SEQUENCE/00000.jpg, Annotations/RESOLUTION/SEQUENCE/00000.png and the list of
    sequences, ImageSets/YEAR/SPLIT.txt (or, as DAVIS 2016 was first packed, ImageSets/RESOLUTION/SPLIT.txt, a line a
    frame).

    Args:
        directory: the folder.
        split: name of the list.
        year: 2017 takes every label as an object of its own, 2016 takes all that is not 0 as one object.
        resolution: name of the folder of images.
        sequences: names of the sequences to open; all of the split where empty.

    Returns:
        the sequences in the order of the list.

    Raises:
        InputError: something is missing, unreadable or of another size; the message names the file.
    """
    root = Path(directory)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds JPEGImages and Annotations")
    images, annotations = root / "JPEGImages" / resolution, root / "Annotations" / resolution
    names = select(_davis_split(root, split, year, resolution), sequences, root)
    out = [_open_sequence(name, images / name, annotations / name) for name in names]
    for sequence in out:
        check_objects(read_index_mask(sequence.masks[0]), sequence.masks[0])
    return [_with_object(dataclasses.replace(sequence, merge=year == 2016)) for sequence in out]


def open_vip(
    directory: str | os.PathLike[str], split: str = "val", *, sequences: Sequence[str] = ()
) -> list[MaskSequence]:
    """Open a folder of the layout of VIP (Video Instance-level Parsing, its densely labeled part).

    It holds Images/SEQUENCE/*.jpg, Annotations/Category_ids/SEQUENCE/*.png and lists/SPLIT_videos.txt, one name a line.

    Args:
        directory: the folder.
        split: name of the list.
        sequences: names of the sequences to open; all of the split where empty.

    Returns:
        the sequences in the order of the list; their masks hold the classes 0..19.

    Raises:
        InputError: something is missing, unreadable or of another size; the message names the file.
    """
    root = Path(directory)
    path = root / "lists" / f"{split}_videos.txt"
    if not path.is_file():
        raise InputError(f"{path}: no such file; it lists the sequences of split {split}, one name a line")
    names = read_text(path).split()
    if not names:
        raise InputError(f"{path}: is empty; it lists the sequences, one name a line")
    annotations = root / "Annotations" / "Category_ids"
    chosen = select(names, sequences, root)
    return [_with_object(_open_sequence(name, root / "Images" / name, annotations / name)) for name in chosen]


def _open_sequence(name: str, images: Path, annotations: Path) -> MaskSequence:
    """Check that frames and masks pair up and are of one size."""
    frames, masks = list_images(images), list_images(annotations, (".png",))
    stems = [file.stem for file in frames]
    if [file.stem for file in masks] not in (stems, stems[:1]):
        missing = sorted(set(stems) ^ {file.stem for file in masks})
        raise InputError(f"{annotations}: masks and frames do not pair up (see {missing[0]}); give a mask a frame")
    check_sizes([*frames, *masks])
    return MaskSequence(name, frames, masks)


def _with_object(sequence: MaskSequence) -> MaskSequence:
    if not sequence.mask(0).any():
        gray = " (gray 0/255 masks are read with year 2016)" if not sequence.merge else ""
        raise InputError(f"{sequence.masks[0]}: holds no object; the first mask must label one{gray}")
    return sequence


def without_void(mask: np.ndarray) -> np.ndarray:
    """Return an index mask, uint8 [h, w], with its void pixels as background."""
    return np.where(mask == VOID, np.uint8(0), mask) if mask.max(initial=0) == VOID else mask


def labels_of(mask: np.ndarray) -> list[int]:
    """List the labels that occur in an index mask, uint8 [h, w], but 0."""
    there = np.bincount(mask.ravel(), minlength=256) > 0
    return [int(label) for label in np.flatnonzero(there) if label]


def check_objects(mask: np.ndarray, file: object) -> None:
    """Refuse a mask whose labels are the grays of a smoothed edge or of JPEG's noise, not objects.

    Such labels are nowhere three pixels wide and strewn over 0..255, where those of objects follow one another or are
    few. More than five of them, and four fifths of all labels, are too many.

    Args:
        mask: index mask, uint8 [h, w].
        file: its name, for the error.
    """
    labels = labels_of(mask)
    if len(labels) <= 5:
        return
    inner = mask[1:-1, 1:-1]
    solid = np.ones(inner.shape, bool)
    for row, col in itertools.product(range(3), range(3)):
        solid &= inner == mask[row : row + inner.shape[0], col : col + inner.shape[1]]
    thin = len(labels) - len(labels_of(inner[solid]))
    strewn = labels[-1] >= 3 * len(labels) or len(labels) > 64
    if strewn and thin > 5 and thin >= 0.8 * len(labels):
        raise InputError(
            f"{file}: holds {len(labels)} labels, {thin} of them nowhere three pixels wide: these are the grays of a "
            "smoothed or compressed edge, not objects; write one index an object, without smoothing, as PNG"
        )


def _davis_split(root: Path, split: str, year: int, resolution: str) -> list[str]:
    lists = [root / "ImageSets" / str(year) / f"{split}.txt"]
    if year == 2016:
        lists.append(root / "ImageSets" / resolution / f"{split}.txt")
    path = next((path for path in lists if path.is_file()), None)
    if path is None:
        raise InputError(f"{lists[0]}: no such file; it lists the sequences of split {split}, one name a line")
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    # DAVIS 2016 as first packed lists frames: /JPEGImages/480p/NAME/00000.jpg /Annotations/480p/NAME/00000.png
    names = list(dict.fromkeys(Path(words[0]).parent.name if "/" in words[0] else words[0] for words in lines))
    if not names:
        raise InputError(f"{path}: is empty; it lists the sequences, one name a line")
    return names


def select(names: Sequence[str], wanted: Sequence[str], root: Path) -> list[str]:
    """Return the wanted names in the order of `names`, all where none is wanted; raise InputError on unknown ones."""
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise InputError(f"{root}: has no sequence {unknown[0]} in this split; there are {', '.join(names)}")
    return [name for name in names if not wanted or name in wanted]
