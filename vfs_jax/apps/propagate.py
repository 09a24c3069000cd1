"""Propagates a mask through one's own video.

  vfs-propagate VIDEO --mask=PNG --weights=WEIGHTS --out=DIR

VIDEO is a file or a folder of frames. PNG is an index mask of its first frame (palette or grey, 0 for background, one
index an object), of the frame's size. WEIGHTS is a training folder, one of its checkpoints, a .pth file or
random:SEED. DIR gets masks/00000.png, 00001.png, ..., config.json, and overlay.mp4, which ordinary players open.
Memory does not grow with the video's length.
"""

import dataclasses
import fractions
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from absl import flags
from tqdm import tqdm

from vfs_jax.apps import cli
from vfs_jax.apps.weights import resolve
from vfs_jax.data.video_labels import list_images, read_frame, read_index_mask, write_index_mask
from vfs_jax.errors import InputError
from vfs_jax.evaluation.label_tasks import Settings, propagate_masks
from vfs_jax.evaluation.overlays import blend

FLAGS = flags.FlagValues()
_MASK = flags.DEFINE_string("mask", None, "Index mask of the first frame, a PNG.", flag_values=FLAGS)
_WEIGHTS = flags.DEFINE_string("weights", None, "A training folder, a checkpoint, a .pth, random:0.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder for the results.", flag_values=FLAGS)
_DEPTH = flags.DEFINE_integer("depth", 18, "Of the ResNet.", flag_values=FLAGS)
_SHORT_SIDE = flags.DEFINE_integer("short_side", 480, "Of the network's input in pixels.", flag_values=FLAGS)
_RADIUS = flags.DEFINE_float(
    "radius", None, "Of the window in cells of 8 pixels; 12, 18 from ResNet-50 on.", flag_values=FLAGS
)
flags.mark_flags_as_required(["mask", "weights", "out"], flag_values=FLAGS)


def run(arguments: list[str]) -> None:
    """Propagates as the flags say."""
    if len(arguments) != 1:
        raise InputError(f"{' '.join(arguments) or 'no video'}: give one video file or one folder of frames")
    video, out = Path(arguments[0]), Path(str(_OUT.value))
    mask = read_index_mask(str(_MASK.value))
    rate, count, frames = open_video(video)
    first = next(frames)
    if first.shape[:2] != mask.shape:
        sizes = f"{mask.shape[1]}x{mask.shape[0]}, {video} {first.shape[1]}x{first.shape[0]}"
        raise InputError(f"{_MASK.value}: is {sizes}; draw the mask at the frame's size")
    if not mask.any():
        raise InputError(f"{_MASK.value}: holds no object; index 0 is background")
    variables, about = resolve(str(_WEIGHTS.value), _DEPTH.value)
    radius = _RADIUS.value if _RADIUS.value is not None else (18.0 if _DEPTH.value >= 50 else 12.0)
    settings = Settings(short_side=_SHORT_SIDE.value, radius=radius)
    (out / "masks").mkdir(parents=True, exist_ok=True)
    config = {"video": str(video), "mask": _MASK.value, "weights": about, "settings": dataclasses.asdict(settings)}
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    print(f"propagating {int(mask.max())} object(s) through {video} ({count} frames); results in {out}", flush=True)

    shown: list[np.ndarray] = []  # frames that were read and whose masks are still to come

    def remembered() -> Iterator[np.ndarray]:
        shown.append(first)
        yield first
        for frame in frames:
            shown.append(frame)
            yield frame

    with VideoWriter(out / "overlay.mp4", first.shape[:2], rate) as writer:
        masks = propagate_masks(variables, remembered(), mask, settings)
        for number, found in enumerate(tqdm(masks, total=count, unit="frame")):
            found = np.asarray(found)
            write_index_mask(out / "masks" / f"{number:05d}.png", found)
            writer.write(blend(shown.pop(0), found))
    print(f"wrote {out / 'masks'} and {out / 'overlay.mp4'}")


def open_video(video: Path) -> tuple[fractions.Fraction, int | None, Iterator[np.ndarray]]:
    """Frame rate, number of frames where it is known, and the frames, RGB uint8 [h, w, 3], read as they are needed.

    Raises:
      InputError: there is no such video, or not one frame of it can be decoded.
    """
    if video.is_dir():
        files = list_images(video)
        return fractions.Fraction(24), len(files), (read_frame(file) for file in files)
    if not video.is_file():
        raise InputError(f"{video}: no such file; give a video or a folder of frames")
    capture = cv2.VideoCapture(str(video))
    ok, frame = capture.read()
    if not ok:
        raise InputError(f"{video}: not one frame can be decoded; convert the video or give a folder of frames")

    def frames() -> Iterator[np.ndarray]:
        image = frame
        while image is not None:
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            _, image = capture.read()
        capture.release()

    rate = fractions.Fraction(capture.get(cv2.CAP_PROP_FPS) or 24).limit_denominator(1001)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return rate, count if count > 0 else None, frames()


class VideoWriter:
    """Writes H.264 in MP4, without sound; a context manager."""

    def __init__(self, path: Path, size: tuple[int, int], rate: fractions.Fraction):
        """Opens the file.

        Args:
          path: the .mp4.
          size: height and width of the frames; odd sides lose their last row or column, which H.264 cannot hold.
          rate: frames a second.
        """
        try:
            import av
        except ImportError:
            raise InputError(f"{path}: writing a video needs PyAV; pip install av") from None
        self._av = av
        self._height, self._width = (max(side // 2 * 2, 2) for side in size)
        self._file = av.open(str(path), "w", options={"movflags": "+faststart"})
        self._stream: Any = self._file.add_stream("libx264", rate=rate)
        self._stream.width, self._stream.height, self._stream.pix_fmt = self._width, self._height, "yuv420p"

    def write(self, frame: np.ndarray) -> None:
        """Appends one frame, RGB uint8 [h, w, 3]."""
        even = np.ascontiguousarray(frame[: self._height, : self._width])
        self._file.mux(self._stream.encode(self._av.VideoFrame.from_ndarray(even, format="rgb24")))

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.mux(self._stream.encode(None))
        self._file.close()


def main() -> None:
    """The console script."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
