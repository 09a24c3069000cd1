"""Reader of index masks alone, a folder a video, as YouTube-VOS, MOSE, LVOS and SA-V pack their ground truth."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vfs_jax.data.images import image_size, list_images, natural_order, read_index_mask
from vfs_jax.data.mask_datasets import check_objects, labels_of
from vfs_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class MaskFolder:
    """The index masks of one video, or of one object of a video.

    Attributes:
        name: VIDEO, or VIDEO/OBJECT where each object has a folder of its own.
        masks: files in time order; frames between them may have none.
        alone: whether all that is not 0 is one object, that of the folder.
    """

    name: str
    masks: tuple[Path, ...]
    alone: bool = False

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self.masks)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, from the first mask's header."""
        return image_size(self.masks[0])

    @property
    def has_ground_truth(self) -> bool:
        """Always: there is nothing else."""
        return True

    def mask(self, index: int) -> np.ndarray:
        """Return one mask, uint8 [h, w]."""
        return self.read(self.masks[index])

    def read(self, file: Path) -> np.ndarray:
        """Read a mask of this folder, ground truth or prediction by the same rule, uint8 [h, w].

        Raises:
            InputError: it cannot be read, or holds several objects where it should hold one.
        """
        mask = read_index_mask(file)
        if not self.alone:
            return mask
        if np.count_nonzero(mask) > np.count_nonzero(mask == max(1, mask.max(initial=0))):
            labels = ", ".join(map(str, labels_of(mask)))
            raise InputError(f"{file}: holds labels {labels}; a folder an object holds masks of that object alone")
        return (mask > 0).astype(np.uint8)

    def entries(self) -> dict[int, int]:
        """Find in which mask each label occurs first: {label: index}, by label."""
        found: dict[int, int] = {}
        for index in range(len(self)):
            mask = self.mask(index)
            if np.count_nonzero(mask) != sum(np.count_nonzero(mask == label) for label in found):
                check_objects(mask, self.masks[index])
                found |= {label: index for label in labels_of(mask) if label not in found}
        return dict(sorted(found.items()))

    def cut(self, masks: int | None) -> "MaskFolder":
        """Return the first masks alone; None keeps all."""
        return dataclasses.replace(self, masks=self.masks[:masks])


def open_mask_folders(directory: str | os.PathLike[str], names: Iterable[str] = ()) -> list[MaskFolder]:
    """Open a folder of index masks: VIDEO/NAME.png with any number of labels, or VIDEO/OBJECT/NAME.png (SA-V).

    Args:
        directory: the folder.
        names: of the videos to open; all where empty.

    Returns:
        the videos, or the objects of the videos, by name.

    Raises:
        InputError: a folder is missing, empty, a whole data set, or holds masks beside folders; the message names it.
    """
    root = Path(directory)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds VIDEO/NAME.png")
    inner = next((path for path in (root / "Annotations/480p", root / "Annotations") if path.is_dir()), None)
    if inner:
        raise InputError(f"{root}: is a whole data set; give the folder of its masks, {inner}")
    videos = _folders(root)
    if not videos:
        raise InputError(f"{root}: holds no folder; give the folder that holds VIDEO/NAME.png")
    wanted = list(names)
    missing = set(wanted) - {video.name for video in videos}
    if missing:
        raise InputError(f"{root}: holds no folder {min(missing)}")
    out = []
    for video in videos:
        if wanted and video.name not in wanted:
            continue
        objects = _folders(video)
        if not objects:
            out.append(MaskFolder(video.name, list_images(video, (".png",))))
            continue
        if any(file.suffix.lower() == ".png" and file.name[0] != "." for file in video.iterdir()):
            raise InputError(f"{video}: holds masks and folders; either masks, or a folder of masks for each object")
        for folder in objects:
            out.append(MaskFolder(f"{video.name}/{folder.name}", list_images(folder, (".png",)), alone=True))
    return out


def _folders(root: Path) -> list[Path]:
    folders = (path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    return sorted(folders, key=lambda path: natural_order(path.name))
