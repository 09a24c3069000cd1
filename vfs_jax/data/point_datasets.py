"""Readers of point-propagation data sets: joints of people (JHMDB) and tracked points (TAP-Vid)."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from vfs_jax.data.images import as_rgb, check_sizes, image_size, list_images, natural_order, read_frame
from vfs_jax.data.mask_datasets import select
from vfs_jax.data.plain_pickles import read_plain_pickle
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
    out: list[JointSequence] = []
    for name in select(names, sequences, root):
        path = annotations / name / "joint_positions.mat"
        joints = _read_joints(path)
        frames = list_images(images / name)
        if len(frames) < len(joints):
            raise InputError(
                f"{images / name}: holds {len(frames)} frames, {path} annotates {len(joints)}; copy it again"
            )
        check_sizes(frames)
        _check_pixels(joints, image_size(frames[0]), path)
        if out and out[0].joints.shape[1] != joints.shape[1]:
            raise InputError(
                f"{path}: pos_img is of {joints.shape[1]} joints, that of {out[0].name} of {out[0].joints.shape[1]}; "
                "write [2, joints, frames]"
            )
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
    if positions.ndim != 3 or positions.shape[0] != 2 or positions.dtype.kind not in "iuf":
        form = f"{positions.dtype}{list(positions.shape)}"
        raise InputError(f"{path}: pos_img is {form}, not numbers [2, joints, frames]; copy it again")
    return np.transpose(positions, (2, 1, 0)).astype(np.float64) - 1  # MATLAB counts from 1


def _check_pixels(joints: np.ndarray, size: tuple[int, int], path: Path) -> None:
    """Raise InputError unless joints (x, y) [t, joints, 2] are in pixels of frames (height, width)."""
    if not np.isfinite(joints).all():
        raise InputError(f"{path}: pos_img holds a place that is no number; copy it again")
    inside = (joints >= -0.5) & (joints <= np.array(size[::-1]) - 0.5)
    if joints.max(initial=0) <= 1 or inside.all(axis=-1).mean() < 0.5:
        raise InputError(
            f"{path}: pos_img lies between {joints.min() + 1:g} and {joints.max() + 1:g}, the frames are "
            f"{size[1]}x{size[0]}; pixels of the frames are expected, (x, y) from 1"
        )


@dataclasses.dataclass(frozen=True)
class TrackSequence:
    """One video of TAP-Vid.

    Attributes:
        name: of the video.
        images: frames, encoded (JPEG) or as `as_rgb` takes them, of one size.
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
        return read_frame(image) if isinstance(image, bytes) else as_rgb(image)

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

    Only arrays and plain values are read from it; a file that would run code is refused. Frames are encoded images, or
    RGB or gray uint8 or uint16, channels last; points are shares of width and height.

    Args:
        path: the file (.pkl), or a folder of such files (TAP-Vid-Kinetics comes in ten).
        sequences: names to open; all where empty.

    Returns:
        the videos. Points that are never seen are left out.

    Raises:
        InputError: the file is missing, torn, or not of this kind; frames or points are of other units.
    """
    root = Path(path)
    files = sorted(root.glob("[!.]*.pkl"), key=natural_order) if root.is_dir() else [root]
    if not files or not files[0].is_file():
        raise InputError(f"{root}: no such file; give TAP-Vid's .pkl or the folder that holds it")
    videos: dict[str, TrackSequence] = {}
    for file in files:
        content = read_plain_pickle(file, "a TAP-Vid pickle")
        if not isinstance(content, dict | list | tuple):
            raise InputError(f"{file}: holds a {type(content).__name__}, not videos; give a TAP-Vid .pkl")
        if not isinstance(content, Mapping):
            content = {f"{file.stem}_{number:05d}": video for number, video in enumerate(content)}
        for name, video in content.items():
            videos[str(name)] = _track_sequence(file, str(name), video)
    return [videos[name] for name in select(list(videos), sequences, root)]


def _track_sequence(file: Path, name: str, video: Any) -> TrackSequence:
    try:
        images = [_frame(image) for image in video["video"]]
        points, occluded = np.asarray(video["points"], np.float64), np.asarray(video["occluded"])
    except (KeyError, TypeError, IndexError, ValueError):
        raise InputError(f"{file}: {name} lacks video, points or occluded; download the file again") from None
    if points.shape != (*occluded.shape, 2) or occluded.ndim != 2 or len(images) != occluded.shape[1] or not images:
        shapes = f"{len(images)} frames, points {list(points.shape)}, occluded {list(occluded.shape)}"
        raise InputError(f"{file}: {name} has {shapes}, which do not fit; download the file again")
    if name in ("", ".", "..") or Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{file}: {name!r} is no name for a video, whose results are named after it; rename it")
    if not np.isin(occluded, (0, 1)).all():
        raise InputError(f"{file}: {name}: occluded holds other values than 0 and 1; write bool [points, frames]")
    _check_frames(images, f"{file}: {name}")
    _check_shares(points[occluded == 0], f"{file}: {name}")
    return TrackSequence(name, images, points, occluded.astype(bool)).cut(None)


def _frame(image: object) -> bytes | np.ndarray:
    # Python 2 wrote encoded images as texts.
    return (
        image.encode("latin1") if isinstance(image, str) else image if isinstance(image, bytes) else np.asarray(image)
    )


def _check_frames(images: Sequence[bytes | np.ndarray], video: str) -> None:
    """Raise InputError unless all frames can be read, and are of one size."""
    sizes = []
    for number, image in enumerate(images):
        try:
            if isinstance(image, bytes):
                sizes.append(image_size(image))
            else:
                sizes.append(as_rgb(image).shape[:2] if number == 0 else image.shape[:2])
                if image.dtype != np.asarray(images[0]).dtype or image.shape != np.shape(images[0]):
                    raise ValueError(f"{image.dtype}{list(image.shape)}, unlike frame 0")
        except (InputError, ValueError) as error:
            form = "write JPEGs, or RGB uint8 [frames, height, width, 3]"
            raise InputError(f"{video}: frame {number}: {error}; {form}") from None
        if sizes[-1] != sizes[0]:
            raise InputError(f"{video}: frame {number} is of another size than frame 0; convert the video again")


def _check_shares(points: np.ndarray, video: str) -> None:
    """Raise InputError unless places (x, y) [n, 2] are shares of width and height, or nearly so."""
    if not np.isfinite(points).all():
        raise InputError(f"{video}: a visible point is no number; write it, or call it occluded")
    if points.size and (points.min() < -0.1 or points.max() > 1.1):
        raise InputError(
            f"{video}: points lie between {points.min():g} and {points.max():g}; shares of width and height, 0..1, are "
            "expected; divide pixels by the video's size"
        )
