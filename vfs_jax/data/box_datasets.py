"""Readers of box-tracking data sets: OTB, GOT-10k, LaSOT and UAV123.

Each opens a whole folder, checks it, and names the first file that does not fit, so that a missing frame does not end
an evaluation of an hour. Boxes are left, top, width and height in pixels, float64, as the files give them: OTB counts
pixels from 1, GOT-10k, LaSOT and UAV123 from 0.
"""

import dataclasses
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vfs_jax.data.images import list_images, natural_order
from vfs_jax.data.sequences import FrameSequence
from vfs_jax.data.text import read_text
from vfs_jax.errors import InputError

# The harder half of OTB-100, "OTB-50" or "TB-50" (the benchmark's own list).
_OTB50_NAMES = (
    "Basketball Biker Bird1 BlurBody BlurCar2 BlurFace BlurOwl Bolt Box Car1 Car4 CarDark CarScale ClifBar Couple "
    "Crowds David Deer Diving DragonBaby Dudek Football Freeman4 Girl Human3 Human4 Human6 Human9 Ironman Jump "
    "Jumping Liquor Matrix MotorRolling Panda RedTeam Shaking Singer2 Skating1 Skating2 Skiing Soccer Surfer "
    "Sylvester Tiger2 Trellis Walking Walking2 Woman "
)
OTB50 = tuple(_OTB50_NAMES.split())

# Some sequences of OTB are annotated over a part of their frames: numbers of the first and the last, from 1
# (the benchmark's own list, as the got10k toolkit reads it).
OTB_RANGES = {
    "David": (300, 770),
    "Diving": (1, 215),
    "Football1": (1, 74),
    "Freeman3": (1, 460),
    "Freeman4": (1, 283),
}


@dataclasses.dataclass(frozen=True)
class BoxSequence(FrameSequence):
    """One video with boxes.

    Attributes:
        boxes: float64 [t, 4], left, top, width, height; [1, 4] where only the first is public.
        absent: bool [t], where the object is out of view or wholly covered; None where the data set does not say.
        cover: int64 [t], GOT-10k's visible share from 0 to 8; None where the data set does not say.
    """

    boxes: np.ndarray
    absent: np.ndarray | None = None
    cover: np.ndarray | None = None

    @property
    def has_ground_truth(self) -> bool:
        """Whether every frame has its box."""
        return len(self.boxes) == len(self.frames)

    def cut(self, frames: int | None) -> "BoxSequence":
        """Return the first frames alone; None keeps all."""
        absent = None if self.absent is None else self.absent[:frames]
        cover = None if self.cover is None else self.cover[:frames]
        return dataclasses.replace(
            self, frames=self.frames[:frames], boxes=self.boxes[:frames], absent=absent, cover=cover
        )


def open_otb(directory: str | os.PathLike[str], sequences: Sequence[str] = ()) -> list[BoxSequence]:
    """Open a folder of OTB: SEQUENCE/img/0001.jpg and SEQUENCE/groundtruth_rect.txt.

    A sequence of two targets (Jogging, Skating2) holds groundtruth_rect.1.txt and .2.txt and becomes two, "Jogging.1"
    and "Jogging.2"; an empty one of two files (Human4) does not count. The frames of OTB_RANGES are cut to their range
    where the folder holds more frames than boxes.

    Args:
        directory: the folder.
        sequences: names to open, with or without the number of the target; all where empty.

    Returns:
        The sequences, sorted by name.

    Raises:
        InputError: names the first folder or file that is missing or does not fit.
    """
    root = _folder(directory, "OTB")
    found = []
    for folder in sorted(path for path in root.glob("[!.]*") if (path / "img").is_dir()):
        files = sorted(folder.glob("groundtruth_rect*.txt"), key=natural_order)
        filled = [file for file in files if read_text(file).strip()]
        files = filled or files
        if not files:
            raise InputError(f"{folder / 'groundtruth_rect.txt'}: no such file; every OTB sequence has one")
        for file in files:
            number = re.fullmatch(r"groundtruth_rect(\.\d+)?\.txt", file.name)
            if number is None:
                raise InputError(f"{file}: is no name of OTB's; rename it groundtruth_rect.txt or delete it")
            name = folder.name + (number[1] or "" if len(files) > 1 else "")
            if sequences and not {name, folder.name} & set(sequences):
                continue
            boxes = read_boxes(file, gaps=True)
            frames = _images(folder / "img")
            if folder.name in OTB_RANGES and len(frames) != len(boxes):
                first, last = OTB_RANGES[folder.name]
                frames = frames[first - 1 : last]
            found.append(BoxSequence(name, frames, _one_a_frame(boxes, frames, file)))
    return _checked(found, sequences, f"{root}: no SEQUENCE/img in it; it is no folder of OTB")


def open_got10k(directory: str | os.PathLike[str], split: str = "val") -> list[BoxSequence]:
    """Open a split of GOT-10k: SPLIT/list.txt and, for each line, SPLIT/NAME/00000001.jpg and groundtruth.txt.

    Args:
        directory: the folder that holds train, val and test.
        split: one of them; test has the first box alone.

    Returns:
        The sequences in the order of the list, with `absent` and `cover` where their files are there.

    Raises:
        InputError: names the first folder or file that is missing or does not fit.
    """
    root = _folder(_folder(directory, "GOT-10k") / split, "GOT-10k")
    found = []
    for folder in _listed(root, root / "list.txt"):
        frames, file = _images(folder), folder / "groundtruth.txt"
        boxes = read_boxes(file, gaps=True)
        absence, cover = folder / "absence.label", folder / "cover.label"
        first_alone = split == "test" and len(boxes) == 1
        found.append(
            BoxSequence(
                folder.name,
                frames,
                boxes if first_alone else _one_a_frame(boxes, frames, file),
                absent=_column(absence, frames, most=1) > 0 if absence.is_file() else None,
                cover=_column(cover, frames, most=8) if cover.is_file() else None,
            )
        )
    return found


def open_lasot(directory: str | os.PathLike[str], split: str = "test") -> list[BoxSequence]:
    """Open LaSOT: CLASS/CLASS-N/img/00000001.jpg, groundtruth.txt, full_occlusion.txt and out_of_view.txt.

    Args:
        directory: the folder; its sequences may also lie there without a folder for each class.
        split: "test" takes the sequences that testing_set.txt names, "train" all others, "all" every one.

    Returns:
        The sequences, sorted by name, with `absent`.

    Raises:
        InputError: names the first folder or file that is missing or does not fit.
    """
    root = _folder(directory, "LaSOT")
    if split not in ("test", "train", "all"):
        raise InputError(f"split={split}: LaSOT has test, train and all")
    folders = {path.parent.name: path.parent for path in (*root.glob("[!.]*/img"), *root.glob("[!.]*/[!.]*/img"))}
    testing = _names(root / "testing_set.txt") if split != "all" else []
    names = testing if split == "test" else sorted(folders.keys() - set(testing))
    found = []
    for name in sorted(names):
        if name not in folders:
            raise InputError(f"{root / 'testing_set.txt'}: names {name}, but there is no {name}/img in {root}")
        folder = folders[name]
        frames, file = _images(folder / "img"), folder / "groundtruth.txt"
        boxes = _one_a_frame(read_boxes(file, gaps=True), frames, file)
        covered = _column(folder / "full_occlusion.txt", frames, most=1)
        outside = _column(folder / "out_of_view.txt", frames, most=1)
        found.append(BoxSequence(name, frames, boxes, absent=covered + outside > 0))
    return _checked(found, (), f"{root}: no sequence of the split {split} in it")


def open_uav123(directory: str | os.PathLike[str], split: str = "UAV123") -> list[BoxSequence]:
    """Open UAV123: data_seq/UAV123/FOLDER/000001.jpg, anno/SPLIT/NAME.txt, and configSeqs.m, which says what is what.

    Several sequences are cut from one folder of frames; the data set's own configSeqs.m has each one's folder and first
    and last frame.

    Args:
        directory: the folder that holds the three.
        split: "UAV123" or "UAV20L".

    Returns:
        The sequences, sorted by name; frames without a target have a box of NaN and are absent.

    Raises:
        InputError: names the first folder or file that is missing or does not fit.
    """
    root = _folder(directory, "UAV123")
    if split not in ("UAV123", "UAV20L"):
        raise InputError(f"split={split}: UAV123 has UAV123 and UAV20L")
    listing = root / "configSeqs.m"
    if not listing.is_file():
        raise InputError(f"{listing}: no such file; the data set's archive holds it beside data_seq and anno")
    # struct('name','bird1_2','path','...\\UAV123\\bird1\\','startFrame',775,'endFrame',1477,...); of some names there
    # are two, one for each split, told apart by the annotations' length.
    pattern = r"'name','([^']+)','path','[^']*?([^\\/']+)[\\/]*','startFrame',(\d+),'endFrame',(\d+)"
    listed = re.findall(pattern, re.sub(r"\s", "", read_text(listing)))
    found = []
    for file in sorted((root / "anno" / split).glob("[!.]*.txt")):
        boxes = read_boxes(file, gaps=True)
        ranges = [(folder, int(first), int(last)) for name, folder, first, last in listed if name == file.stem]
        fitting = [item for item in ranges if item[2] - item[1] + 1 == len(boxes)]
        if not fitting:
            raise InputError(f"{file}: holds {len(boxes)} rows, {listing} lists {ranges or 'no such sequence'}")
        folder, first, last = fitting[0]
        images = _folder(root / "data_seq" / "UAV123" / folder, "UAV123")
        frames = tuple(path for path in _images(images) if path.stem.isdecimal() and first <= int(path.stem) <= last)
        found.append(BoxSequence(file.stem, frames, _one_a_frame(boxes, frames, file), absent=np.isnan(boxes).any(1)))
    return _checked(found, (), f"{root / 'anno' / split}: no NAME.txt in it")


def read_boxes(file: Path, *, gaps: bool = False) -> np.ndarray:
    """Read a text file of boxes, a row a frame with commas, tabs or spaces between the numbers.

    Args:
        file: of annotations or of results.
        gaps: whether rows may be NaN: of ground truth, where there is no object. Which boxes will do is a rule of
            their use: evaluation names those that it cannot do without, training leaves such frames out.

    Returns:
        float64 [t, 4].

    Raises:
        InputError: the file is missing or empty, or a row is no box.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    rows: list[list[float]] = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        words = re.split(r"[,;\s]+", line.strip(", \t"))
        try:
            row = [float(word) for word in words if word]
        except ValueError:
            raise InputError(f"{file}:{number}: {line.strip()!r} is no row of numbers") from None
        if not row:
            continue
        if len(row) != 4:
            raise InputError(f"{file}:{number}: holds {len(row)} numbers, 4 expected")
        if not gaps and not np.isfinite(row).all():
            raise InputError(f"{file}:{number}: {line.strip()!r} is no box")
        rows.append(row)
    if not rows:
        raise InputError(f"{file}: is empty")
    return np.array(rows)


def _folder(path: str | os.PathLike[str], what: str) -> Path:
    if not Path(path).is_dir():
        raise InputError(f"{os.fspath(path)}: no such folder; it takes a folder of {what} (see vfs-prepare help)")
    return Path(path)


def _names(file: Path) -> list[str]:
    if not file.is_file():
        raise InputError(f"{file}: no such file; it names a sequence on each line")
    names = read_text(file).split()
    if not names:
        raise InputError(f"{file}: is empty; it names a sequence on each line")
    return names


def _listed(root: Path, file: Path) -> list[Path]:
    folders = [root / name for name in _names(file)]
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing is not None:
        raise InputError(f"{missing}: no such folder, but {file} names it")
    return folders


def _images(folder: Path) -> tuple[Path, ...]:
    frames = list_images(folder)
    numbers = [int(path.stem) for path in frames if path.stem.isdecimal()]
    gap = next((number for number, following in itertools.pairwise(numbers) if following != number + 1), None)
    if gap is not None:
        raise InputError(f"{folder}: has no frame {gap + 1} after {gap}; copy the missing images")
    return frames


def _one_a_frame(values: np.ndarray, frames: Sequence[Path], file: Path) -> np.ndarray:
    if len(values) != len(frames):
        raise InputError(f"{file}: holds {len(values)} rows for {len(frames)} frames in {frames[0].parent}")
    return values


def _column(file: Path, frames: Sequence[Path], *, most: int) -> np.ndarray:
    """Return a whole number a frame, from 0, int64 [t], each on its line or all on one."""
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    text = read_text(file)
    try:
        values = np.array([int(word) for word in re.split(r"[,\s]+", text.strip(", \t\n"))], np.int64)
    except ValueError:
        raise InputError(f"{file}: holds something else than whole numbers") from None
    if values.min() < 0 or values.max() > most:
        raise InputError(f"{file}: holds {values.min()} to {values.max()}, 0 to {most} expected")
    return _one_a_frame(values, frames, file)


def _checked(found: list[BoxSequence], wanted: Sequence[str], empty: str) -> list[BoxSequence]:
    names = {name for sequence in found for name in (sequence.name, sequence.name.rpartition(".")[0])}
    missing = next((name for name in wanted if name not in names), None)
    if missing is not None:
        raise InputError(f"{missing}: no such sequence in the folder")
    if not found:
        raise InputError(empty)
    return found
