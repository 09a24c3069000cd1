"""Follows boxes through one's own video.

  vfs-track VIDEO --box=x,y,w,h --weights=WEIGHTS --out=DIR

VIDEO is a file or a folder of frames. The box is the target's in the first frame: left, top, width and height in
pixels, the first pixel being 1 as in OTB, or 0 with --one_based=False; frames are turned as the file says, and pixels
that are not square stay as they are stored. WEIGHTS is a folder of vfs-train-tracker or vfs-train, one of its
checkpoints, a file of weights or random:SEED; without a tracking head in them the features themselves are correlated.
DIR gets boxes.txt (a row "x,y,w,h" a frame, counted as --box is), config.json, and overlay.mp4, which ordinary players
open. Several boxes at once: repeat --box; DIR gets boxes_0.txt, boxes_1.txt, ... Memory does not grow with the video's
length.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from tqdm import tqdm

from vfs_jax.apps import cli
from vfs_jax.apps.programs import keep_programs
from vfs_jax.claims import claim_folder, video_checksum, with_versions
from vfs_jax.data.video_files import DecodedFrame, Video
from vfs_jax.errors import InputError
from vfs_jax.evaluation.report.overlays import draw_over
from vfs_jax.evaluation.report.videos import write_video
from vfs_jax.evaluation.tracking.siamfc import SiamFCTracker
from vfs_jax.models.weights.resolve import resolve_tracker

FLAGS = flags.FlagValues()
_BOX = flags.DEFINE_multi_string("box", None, "x,y,w,h in the first frame; repeat for several.", flag_values=FLAGS)
_WEIGHTS = flags.DEFINE_string("weights", None, "A training folder, a checkpoint, a file, random:0.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder for the results.", flag_values=FLAGS)
_DEPTH = flags.DEFINE_integer("depth", 18, "Of the ResNet of random:SEED.", flag_values=FLAGS)
_ONE_BASED = flags.DEFINE_bool("one_based", True, "Whether the first pixel is 1, as in OTB, or 0.", flag_values=FLAGS)
flags.mark_flags_as_required(["box", "weights", "out"], flag_values=FLAGS)


def run(arguments: list[str]) -> None:
    """Track as the flags say."""
    if len(arguments) != 1:
        raise InputError(f"{' '.join(arguments) or 'no video'}: give one video file or one folder of frames")
    path, out = Path(arguments[0]), Path(str(_OUT.value))
    texts = list(_BOX.value or ())
    video = Video(path)
    keep_programs("vfs-track")
    shift = np.array([0, 0, 0, 0] if _ONE_BASED.value else [1, 1, 0, 0])  # to OTB's boxes, which the tracker takes
    starts = [_read_box(text, shift, video) for text in texts]
    _, variables, about = resolve_tracker(str(_WEIGHTS.value), _DEPTH.value)
    trackers = [SiamFCTracker(variables) for _ in starts]
    settings = dataclasses.asdict(trackers[0].settings)
    config = {"video": str(path), "box": texts, "one_based": _ONE_BASED.value, "weights": about, "settings": settings}
    config["video_found"] = video_checksum(path)  # the same file may lie elsewhere at the next call
    claim_folder(out, with_versions(config), free=["video", "weights.weights"])
    print(f"following {len(starts)} box(es) through {path} ({video.count} frames); results in {out}", flush=True)

    names = ["boxes.txt"] if len(starts) == 1 else [f"boxes_{index}.txt" for index in range(len(starts))]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context((out / name).open("w", encoding="utf-8")) for name in names]

        def drawn() -> Iterator[DecodedFrame]:
            for frame, boxes in tqdm(_follow(trackers, starts, video), total=video.count, unit="frame"):
                for file, box in zip(files, boxes, strict=True):
                    file.write(",".join(f"{value:.3f}" for value in box - shift) + "\n")
                yield frame._replace(image=draw_over(frame.image, np.stack(boxes) - (1, 1, 0, 0)))

        write_video(out / "overlay.mp4", drawn(), video)
    print(f"wrote {', '.join(str(out / name) for name in names)} and {out / 'overlay.mp4'}")
    if video.shortfall:
        cli.warn("vfs-track", f"{path}: {video.shortfall}")


def _follow(
    trackers: Sequence[SiamFCTracker], starts: Sequence[np.ndarray], video: Video
) -> Iterator[tuple[DecodedFrame, Sequence[np.ndarray]]]:
    """Yield every frame with its boxes."""
    frames = video.timed_frames()
    first = next(frames)
    for tracker, start in zip(trackers, starts, strict=True):
        tracker.init(first.image, start)
    yield first, starts
    for frame in frames:
        yield frame, [tracker.update(frame.image) for tracker in trackers]


def _read_box(text: str, shift: np.ndarray, video: Video) -> np.ndarray:
    """Parse the box of a flag, 1-based; it must lie in the first frame, at least in part."""
    try:
        box = np.array([float(word) for word in text.split(",")], np.float64)
    except ValueError:
        box = np.zeros(0)
    if box.shape != (4,) or not np.isfinite(box).all() or min(box[2:]) <= 0:
        raise InputError(f"--box={text}: give x,y,w,h in pixels, the width and the height above 0")
    if np.abs(box).max() <= 1:
        raise InputError(f"--box={text}: lies between 0 and 1, as shares do; give pixels of the frame")
    box = box + shift
    height, width = video.size
    left, top = box[:2] - 1
    if left >= width or top >= height or left + box[2] <= 0 or top + box[3] <= 0:
        raise InputError(f"--box={text}: lies outside the first frame of {video.path}, which is {width}x{height}")
    return box


def main() -> None:
    """Run the command."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
