"""Propagates masks, points or a pose through one's own video.

  vfs-propagate VIDEO --mask=PNG --weights=WEIGHTS --out=DIR
  vfs-propagate VIDEO --points="120,80;300,95.5" --weights=WEIGHTS --out=DIR
  vfs-propagate VIDEO --pose=JSON --weights=WEIGHTS --out=DIR

VIDEO is a file or a folder of frames. PNG is an index mask of its first frame (palette or gray, 0 for background, one
index an object), of the frame's size. Points are x,y in pixels of the first frame. JSON holds a pose, {"joints":
{"head": [120, 80], ...}, "bones": [["head", "neck"], ...]}. Frames are turned as the file says; pixels that are not
square stay as they are stored. WEIGHTS is a training folder, one of its checkpoints, a file of weights or random:SEED.

DIR gets masks/00000.png, 00001.png, ... or points.csv (frame, point, x, y, visible), then overlay.mp4, which ordinary
players open, and config.json. Memory does not grow with the video's length. Started again after an interruption the
same command goes on where it was, or at most a minute before.
"""

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from vfs_jax.apps import cli
from vfs_jax.apps.programs import keep_programs
from vfs_jax.claims import checksum, claim_folder, video_checksum, with_versions
from vfs_jax.data.images import read_index_mask
from vfs_jax.data.mask_datasets import check_objects
from vfs_jax.data.text import read_text
from vfs_jax.data.video_files import Video
from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import of_network
from vfs_jax.evaluation.encoders.base import Precision
from vfs_jax.evaluation.protocols import settings_of
from vfs_jax.evaluation.report.videos import write_overlay
from vfs_jax.evaluation.runs.own_video import Labels, Masks, Points, carry
from vfs_jax.models.weights.resolve import resolve

FLAGS = flags.FlagValues()
_MASK = flags.DEFINE_string("mask", None, "Index mask of the first frame, a PNG.", flag_values=FLAGS)
_POINTS = flags.DEFINE_string("points", None, "Points of the first frame, x,y;x,y in pixels.", flag_values=FLAGS)
_POSE = flags.DEFINE_string("pose", None, "Pose of the first frame, a JSON file.", flag_values=FLAGS)
_WEIGHTS = flags.DEFINE_string("weights", None, "A training folder, a checkpoint, a file, random:0.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder for the results.", flag_values=FLAGS)
_DEPTH = flags.DEFINE_integer("depth", 18, "Of the ResNet of random:SEED.", flag_values=FLAGS)
_PROTOCOL = flags.DEFINE_string("protocol", "vfs", "vfs, crw, dino, dinov3, ...: how all is done.", flag_values=FLAGS)
_SHORT_SIDE = flags.DEFINE_integer(
    "short_side", None, "Of the network's input in pixels; the protocol's where not given.", flag_values=FLAGS
)
_RADIUS = flags.DEFINE_float(
    "radius", None, "Of the window in cells; the protocol's where not given, inf for no window.", flag_values=FLAGS
)
_PRECISION = flags.DEFINE_enum(
    "precision",
    None,
    typing.get_args(Precision),
    "Of the network's float32 products on GPUs and TPUs; tensorfloat32 where not given.",
    flag_values=FLAGS,
)
flags.mark_flags_as_required(["weights", "out"], flag_values=FLAGS)


def run(arguments: list[str]) -> None:
    """Propagate as the flags say."""
    if len(arguments) != 1:
        raise InputError(f"{' '.join(arguments) or 'no video'}: give one video file or one folder of frames")
    path, out = Path(arguments[0]), Path(str(_OUT.value))
    given = {flag.name: flag.value for flag in (_MASK, _POINTS, _POSE) if flag.value is not None}
    if len(given) != 1:
        raise InputError(f"{path}: give one of --mask, --points and --pose to say what to follow")
    video = Video(path)
    keep_programs("vfs-propagate")
    labels, described = _labels(video.size, path)
    network, variables, about = resolve(str(_WEIGHTS.value), _DEPTH.value)
    encoder = of_network(network, variables)
    overrides = {flag.name: flag.value for flag in (_SHORT_SIDE, _RADIUS, _PRECISION) if flag.value is not None}
    settings = settings_of(str(_PROTOCOL.value), "video", encoder, **overrides)
    config = {"video": str(path), "labels": given, "weights": about, "settings": dataclasses.asdict(settings)}
    # The same files may lie elsewhere at the next call: what counts is what they hold.
    config |= {"video_found": video_checksum(path), "labels_found": checksum(labels.given)}
    free = ["video", "weights.weights", *(f"labels.{name}" for name in given)]
    claim_folder(out, with_versions(config), free=free)
    print(f"carrying {described} through {path} ({video.count} frames); results in {out}", flush=True)
    with tqdm(total=video.count, unit="frame") as progress:

        def advance(done: int) -> None:
            if progress.n == 0 and done > 1:
                progress.initial = done
                print(f"{done} frames are done already", flush=True)
            progress.update(done - progress.n)

        carry(video, labels, out, encoder, settings, on_frame=advance)
    write_overlay(video, out, labels.bones if isinstance(labels, Points) else ())
    print(f"wrote {out / ('masks' if _MASK.value else 'points.csv')} and {out / 'overlay.mp4'}")
    if video.shortfall:
        cli.warn("vfs-propagate", f"{path}: {video.shortfall}")


def _labels(size: tuple[int, int], video: Path) -> tuple[Labels, str]:
    """Read the labels of the flags, and describe them in words."""
    if _MASK.value is not None:
        mask = read_index_mask(_MASK.value)
        if mask.shape != size:
            sizes = f"{mask.shape[1]}x{mask.shape[0]}, {video} {size[1]}x{size[0]}"
            raise InputError(f"{_MASK.value}: is {sizes}; draw the mask at the frame's size")
        if not mask.any():
            raise InputError(f"{_MASK.value}: holds no object; index 0 is background")
        check_objects(mask, _MASK.value)
        return Masks(mask), f"{len(np.unique(mask[mask > 0]))} object(s)"
    if _POINTS.value is not None:
        try:
            points = [[float(part) for part in point.split(",")] for point in _POINTS.value.split(";") if point.strip()]
            array = np.array(points, np.float64).reshape(-1, 2)
            if not len(array) or any(len(point) != 2 for point in points):
                raise ValueError
        except ValueError:
            raise InputError(f"--points={_POINTS.value}: write x,y;x,y in pixels") from None
        names = [str(index) for index in range(len(array))]
        bones: list[tuple[int, int]] = []
    else:
        array, names, bones = _read_pose(str(_POSE.value))
    outside = ~((array >= -0.5) & (array < np.array(size[::-1]) - 0.5)).all(axis=1)
    if outside.any():
        x, y = array[outside.argmax()]
        raise InputError(f"point {x:g},{y:g} lies outside of the frame, which is {size[1]}x{size[0]}")
    if np.abs(array).max() <= 1 and (array % 1).any():
        x, y = array[0]
        raise InputError(f"point {x:g},{y:g}: all points lie between 0 and 1, as shares do; give pixels of the frame")
    return Points(array, names, bones), f"{len(names)} point(s)"


def _read_pose(path: str) -> tuple[np.ndarray, list[str], list[tuple[int, int]]]:
    form = 'write {"joints": {"head": [x, y], ...}, "bones": [["head", "neck"], ...]}'
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; {form}")
    text = read_text(path)
    try:
        content: Any = json.loads(text)
        names = list(content["joints"])
        points = np.array([content["joints"][name] for name in names], np.float64)
        single_lines = all(map(str.isprintable, names))  # points.csv has a line for each
        if points.ndim != 2 or points.shape[1] != 2 or not single_lines:
            raise ValueError
        return points, names, [(names.index(a), names.index(b)) for a, b in content.get("bones", [])]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{path}: is no pose; {form}") from None


def main() -> None:
    """Run the command."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
