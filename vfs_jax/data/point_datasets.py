"""Readers of point-propagation data sets: joints of people (JHMDB) and tracked points (TAP-Vid)."""

import dataclasses
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from vfs_jax.data.images import check_sizes, image_size, list_images, natural_order, read_frame
from vfs_jax.data.mask_datasets import select
from vfs_jax.data.sequences import FrameSequence
from vfs_jax.data.text import read_text
from vfs_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class JointSequence(FrameSequence):
    """One video with the joints of a person in every frame.

    Attributes:
        joints: (x, y) in pixels, the first pixel's center at 0, float64 [t, joints, 2].
    """

    joints: np.ndarray

    @property
    def has_ground_truth(self) -> bool:
        """Whether there is something to score against."""
        return True

    def cut(self, frames: int | None) -> "JointSequence":
        """Return the first frames alone; None keeps all."""
        return dataclasses.replace(self, frames=self.frames[:frames], joints=self.joints[:frames])


def open_jhmdb(
    directory: str | os.PathLike[str], split: int = 1, *, sequences: Sequence[str] = ()
) -> list[JointSequence]:
    """Open a folder of the layout of JHMDB.

    It holds Rename_Images/CLASS/NAME/00001.png (or Frames/...), joint_positions/CLASS/NAME/joint_positions.mat (pos_img
    [2, joints, t], 1-based) and splits/CLASS_test_splitN.txt, whose lines "NAME.avi 2" name the test sequences. Without
    the folder splits all sequences are taken. Frames after the last annotated one are left out.

    Args:
        directory: the folder.
        split: 1, 2 or 3.
        sequences: names CLASS/NAME to open; all where empty.

    Returns:
        the sequences by name.

    Raises:
        InputError: something is missing or unreadable; the message names the file.
    """
    root = Path(directory)
    annotations = root / "joint_positions"
    if not annotations.is_dir():
        raise InputError(f"{annotations}: no such folder; give the folder that holds joint_positions and the frames")
    names = sorted(
        str(path.parent.relative_to(annotations)) for path in annotations.glob("[!.]*/[!.]*/joint_positions.mat")
    )
    if (root / "splits").is_dir():
        tested = _jhmdb_test_names(root / "splits", split)
        names = [name for name in names if name in tested]
    if not names:
        raise InputError(f"{annotations}: holds no sequence of test split {split}; copy the data set again")
    images = root / "Rename_Images" if (root / "Rename_Images").is_dir() else root / "Frames"
    out = []
    for name in select(names, sequences, root):
        path = annotations / name / "joint_positions.mat"
        joints = _read_joints(path)
        frames = list_images(images / name)
        if len(frames) < len(joints):
            raise InputError(
                f"{images / name}: holds {len(frames)} frames, {path} annotates {len(joints)}; copy it again"
            )
        check_sizes(frames)
        out.append(JointSequence(name, frames[: len(joints)], joints))
    return out


def _jhmdb_test_names(folder: Path, split: int) -> set[str]:
    files = sorted(folder.glob(f"[!.]*_test_split{split}.txt"))
    if not files:
        raise InputError(f"{folder}: holds no *_test_split{split}.txt; copy JHMDB's splits there")
    names = set()
    for file in files:
        lines = (line.split() for line in read_text(file).splitlines() if line.strip())
        category = file.name.removesuffix(f"_test_split{split}.txt")
        names |= {f"{category}/{Path(words[0]).stem}" for words in lines if words[1:] == ["2"]}
    return names


def _read_joints(path: Path) -> np.ndarray:
    try:
        positions = scipy.io.loadmat(path)["pos_img"]
    except Exception:  # a damaged file makes SciPy raise almost anything
        raise InputError(f"{path}: cannot be read as a MATLAB file with pos_img; copy it again") from None
    if positions.ndim != 3 or positions.shape[0] != 2:
        raise InputError(f"{path}: pos_img is {list(positions.shape)}, not [2, joints, frames]; copy it again")
    return np.transpose(positions, (2, 1, 0)).astype(np.float64) - 1  # MATLAB counts from 1


@dataclasses.dataclass(frozen=True)
class TrackSequence:
    """One video of TAP-Vid.

    Attributes:
        name: of the video.
        images: frames, encoded (JPEG) or RGB uint8 [h, w, 3].
        points: (x, y) as shares of width and height, from the picture's corner, float64 [points, t, 2].
        occluded: bool [points, t].
    """

    name: str
    images: Sequence[bytes | np.ndarray]
    points: np.ndarray
    occluded: np.ndarray

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.images)

    @property
    def has_ground_truth(self) -> bool:
        """Whether there is something to score against."""
        return True

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        image = self.images[0]
        if isinstance(image, bytes):
            return image_size(image)
        return image.shape[0], image.shape[1]

    def frame(self, index: int) -> np.ndarray:
        """Return one frame, RGB uint8 [h, w, 3]."""
        image = self.images[index]
        if isinstance(image, bytes):
            return read_frame(image)
        return image

    @property
    def query_frames(self) -> np.ndarray:
        """The first frame in which each point is seen, int64 [points]."""
        return np.argmax(~self.occluded, axis=1)

    def cut(self, frames: int | None) -> "TrackSequence":
        """Return the first frames, and the points seen in them; None keeps all."""
        seen = ~self.occluded[:, :frames].all(axis=1)
        return dataclasses.replace(
            self,
            images=self.images[:frames],
            points=self.points[seen, :frames],
            occluded=self.occluded[seen, :frames],
        )


def open_tapvid(path: str | os.PathLike[str], *, sequences: Sequence[str] = ()) -> list[TrackSequence]:
    """Open a TAP-Vid file: a pickle of {name: {"video", "points", "occluded"}}, or of a list of such videos.

    Only arrays and plain values are read from it; a file that would run code is refused.

    Args:
        path: the file (.pkl), or a folder of such files (TAP-Vid-Kinetics comes in ten).
        sequences: names to open; all where empty.

    Returns:
        the videos. Points that are never seen are left out.

    Raises:
        InputError: the file is missing, torn, or not of this kind.
    """
    root = Path(path)
    files = sorted(root.glob("[!.]*.pkl"), key=natural_order) if root.is_dir() else [root]
    if not files or not files[0].is_file():
        raise InputError(f"{root}: no such file; give TAP-Vid's .pkl or the folder that holds it")
    videos: dict[str, TrackSequence] = {}
    for file in files:
        content = _read_pickle(file)
        if not isinstance(content, Mapping):
            content = {f"{file.stem}_{number:05d}": video for number, video in enumerate(content)}
        for name, video in content.items():
            videos[str(name)] = _track_sequence(file, str(name), video)
    return [videos[name] for name in select(list(videos), sequences, root)]


def _track_sequence(file: Path, name: str, video: Any) -> TrackSequence:
    try:
        images, points, occluded = video["video"], np.asarray(video["points"]), np.asarray(video["occluded"], bool)
    except (KeyError, TypeError, IndexError, ValueError):
        raise InputError(f"{file}: {name} lacks video, points or occluded; download the file again") from None
    if points.shape != (*occluded.shape, 2) or len(images) != occluded.shape[1]:
        shapes = f"{len(images)} frames, points {list(points.shape)}, occluded {list(occluded.shape)}"
        raise InputError(f"{file}: {name} has {shapes}, which do not fit; download the file again")
    return TrackSequence(name, images, points.astype(np.float64), occluded).cut(None)


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays, numbers and containers; refuses everything that would call into other code."""

    _ALLOWED = {
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, names in (("multiarray", ("_reconstruct", "scalar")), ("numeric", ("_frombuffer",)))
        for name in names
    } | {("numpy", "ndarray"), ("numpy", "dtype")}

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"would call {module}.{name}")
        return super().find_class(module, name)


def _read_pickle(path: Path) -> Mapping[object, object] | Sequence[object]:
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file).load()
    except Exception as error:  # a torn pickle raises almost anything
        raise InputError(f"{path}: cannot be read as a TAP-Vid pickle ({error}); download it again") from None
    if not isinstance(content, dict | list | tuple):
        raise InputError(f"{path}: holds a {type(content).__name__}, not videos; give a TAP-Vid .pkl")
    return content
