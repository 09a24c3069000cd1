"""Reader of YouTube-VOS: videos whose objects enter at different frames."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vfs_jax.data.images import check_sizes, list_images, read_index_mask
from vfs_jax.data.mask_datasets import check_objects, select, without_void
from vfs_jax.data.sequences import FrameSequence
from vfs_jax.data.text import read_text
from vfs_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class LateMaskSequence(FrameSequence):
    """One video with masks of the frames in which objects enter.

    Attributes:
        masks: mask files by number of the frame, 0 among them.
        wanted: names (without suffix) of the frames whose masks the official server asks for.
    """

    masks: Mapping[int, Path]
    wanted: frozenset[str]

    @property
    def has_ground_truth(self) -> bool:
        """Never: the ground truth is not public."""
        return False

    def mask(self, index: int) -> np.ndarray:
        """Return the index mask of a frame that has one, uint8 [h, w], void pixels as background."""
        return without_void(read_index_mask(self.masks[index]))

    def cut(self, frames: int | None) -> "LateMaskSequence":
        """Return the first frames alone; None keeps all."""
        kept = self.frames[:frames]
        masks = {index: path for index, path in self.masks.items() if index < len(kept)}
        return dataclasses.replace(self, frames=kept, masks=masks)


def open_youtube_vos(
    directory: str | os.PathLike[str], split: str = "valid", *, sequences: Sequence[str] = ()
) -> list[LateMaskSequence]:
    """Open a folder of the layout of YouTube-VOS.

    It holds SPLIT/JPEGImages/VIDEO/*.jpg, SPLIT/Annotations/VIDEO/*.png for the frames in which objects enter, and
    SPLIT/meta.json, which names the frames that are scored (all are where it is missing).

    Args:
        directory: the folder.
        split: name of the part, "valid" or "test".
        sequences: names of the videos to open; all where empty.

    Returns:
        the videos by name.

    Raises:
        InputError: something is missing, unreadable or of another size; the message names the file.
    """
    root = Path(directory) / split
    annotations = root / "Annotations"
    if not annotations.is_dir():
        raise InputError(f"{annotations}: no such folder; give the folder that holds {split}/Annotations")
    names = sorted(folder.name for folder in annotations.glob("[!.]*") if folder.is_dir())
    scored = _scored_frames(root / "meta.json")
    out = []
    for name in select(names, sequences, root):
        frames, masks = list_images(root / "JPEGImages" / name), list_images(annotations / name, (".png",))
        check_sizes([*frames, *masks])
        stems = [frame.stem for frame in frames]
        lost = [mask for mask in masks if mask.stem not in stems]
        if lost:
            raise InputError(
                f"{lost[0]}: there is no frame of that name in {root / 'JPEGImages' / name}; copy it again"
            )
        start = stems.index(masks[0].stem)
        entries = {stems.index(mask.stem) - start: mask for mask in masks}
        sequence = LateMaskSequence(name, frames[start:], entries, scored.get(name, frozenset(stems)))
        for index, mask in entries.items():
            check_objects(sequence.mask(index), mask)
        out.append(sequence)
    return out


def _scored_frames(path: Path) -> dict[str, frozenset[str]]:
    if not path.is_file():
        return {}
    text = read_text(path)
    try:
        videos = json.loads(text)["videos"]
        return {
            name: frozenset(frame for each in video["objects"].values() for frame in each["frames"])
            for name, video in videos.items()
        }
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: does not list videos, objects and frames; download it again") from None
