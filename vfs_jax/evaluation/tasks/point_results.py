"""Read predicted points from files that anyone made: joints (.npy) and tracks (.npz), their units checked."""

from pathlib import Path

import numpy as np

from vfs_jax.data.point_datasets import JointSequence, TrackSequence
from vfs_jax.errors import InputError
from vfs_jax.evaluation.tasks.base import existing_file


def read_joints(path: Path, sequence: JointSequence) -> np.ndarray:
    """Read the joints of one clip.

    Returns:
        (x, y) in pixels, the first pixel's center at 0, float64 [t, joints, 2].

    Raises:
        InputError: the file is missing, of another shape, or cannot be in pixels.
    """
    joints = _numbers(path, _load(path), "joints")
    if joints.shape != sequence.joints.shape:
        shapes = f"{list(joints.shape)}, not {list(sequence.joints.shape)}"
        raise InputError(f"{path}: is {shapes}; write (x, y) of every joint and frame, [t, joints, 2]")
    _refuse_gaps(path, joints, np.ones(1, bool))
    _refuse_shares(path, joints, "pixels of the frames")
    return joints


def read_tracks(path: Path, sequence: TrackSequence) -> tuple[np.ndarray, np.ndarray]:
    """Read the tracks of one video.

    Returns:
        (x, y) in pixels of a picture of 256x256, from its corner, float64 [points, t, 2]; whether each point is taken
        for occluded, bool [points, t].

    Raises:
        InputError: the file is missing, of another shape, or cannot be in these units.
    """
    file = _load(path)
    if not isinstance(file, dict) or not {"tracks", "occluded"} <= file.keys():
        raise InputError(f"{path}: lacks tracks or occluded; write both with numpy.savez")
    tracks, occluded = _numbers(path, file["tracks"], "tracks"), file["occluded"]
    if tracks.shape != sequence.points.shape or occluded.shape != sequence.occluded.shape:
        shapes = f"tracks {list(tracks.shape)}, occluded {list(occluded.shape)}"
        true = f"{list(sequence.points.shape)} and {list(sequence.occluded.shape)}"
        raise InputError(f"{path}: holds {shapes}, the ground truth is {true}")
    if occluded.dtype.kind not in "biuf" or not np.isin(occluded, (0, 1)).all():
        raise InputError(f"{path}: occluded holds other values than 0 and 1; write bool [points, t]")
    rows, queries = np.arange(len(tracks)), sequence.query_frames
    _refuse_gaps(path, tracks, np.arange(len(sequence))[None, :, None] > queries[:, None, None])
    _refuse_shares(path, tracks, "pixels of a picture of 256x256")
    height, width = sequence.size
    started, true = tracks[rows, queries], sequence.points[rows, queries]
    of_video, of_square = np.abs(started - true * [width, height]), np.abs(started - true * 256)
    if len(tracks) and np.median(of_video) < 2 and np.median(of_square) > 8:
        raise InputError(
            f"{path}: tracks are in pixels of the {width}x{height} video; multiply x by 256/{width}, y by 256/{height}"
        )
    return tracks, occluded.astype(bool)


def _load(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """Load a .npy, or all that a .npz holds."""
    existing_file(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:  # a torn zip raises almost anything
        raise InputError(f"{path}: cannot be read as a {path.suffix} of numbers ({error}); write it again") from None


def _numbers(path: Path, values: object, what: str) -> np.ndarray:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        raise InputError(f"{path}: {what} are no array of numbers; write (x, y) as floats")
    return values.astype(np.float64)


def _refuse_gaps(path: Path, places: np.ndarray, counted: np.ndarray) -> None:
    gaps = np.argwhere(~np.isfinite(places) & counted)
    if len(gaps):
        raise InputError(f"{path}: holds NaN or infinity, first at {gaps[0].tolist()}; write a number for every place")


def _refuse_shares(path: Path, places: np.ndarray, units: str) -> None:
    known = places[np.isfinite(places)]
    if known.size and np.abs(known).max() <= 1.5 and (known % 1).any():
        raise InputError(
            f"{path}: all places lie between {known.min():g} and {known.max():g}, as shares do; write {units}"
        )
