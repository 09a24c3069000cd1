"""How many images a second one core of this machine decodes, crops and resizes: a short measurement."""

import dataclasses
import time
from collections.abc import Sequence

import cv2
import numpy as np

from vfs_jax.data.clips import ClipBatches, check_segments
from vfs_jax.data.images import encode_jpeg
from vfs_jax.data.record_fields import ClipRecord

HEIGHT, WIDTH, QUALITY = 256, 341, 90  # what vfs-prepare makes of a 4:3 video where nothing else is said


@dataclasses.dataclass(frozen=True)
class InputRate:
    """What one image costs a host.

    Attributes:
        images_per_core: a second, of one core.
        bytes_per_image: read from the storage.
        source: how the first is known.
        bytes_source: how the second is known.
    """

    images_per_core: float
    bytes_per_image: float
    source: str
    bytes_source: str


def measure_input(
    *,
    segments: int,
    image_size: int,
    min_area: float,
    records: Sequence[ClipRecord] | None = None,
    seconds: float = 2.0,
) -> InputRate:
    """Measure what one core does, in seconds of the processor, so that other work on the machine does not count.

    Args:
        segments: frames of a clip.
        image_size: side of the crops in pixels.
        min_area: least share of a frame that a crop covers.
        records: clips to read; made-up pictures in memory where None.
        seconds: that the measurement takes.

    Raises:
        InputError: the segments cannot be shared between two views.

    >>> rate = measure_input(segments=2, image_size=64, min_area=0.2, seconds=0.05)
    >>> rate.images_per_core > 1, rate.source.startswith("measured here")
    (True, True)
    """
    check_segments(segments)
    what = "on the records"
    if records is None:
        records = [made_up_clip(seed) for seed in range(4)]
        what = f"on made-up pictures of {WIDTH}x{HEIGHT}"
    sizes = [len(frame) for record in (records[0], records[len(records) // 2]) for frame in record["frames"][:8]]
    batches = ClipBatches(
        records,
        batch_size=1,
        segments=segments,
        image_size=image_size,
        min_area=min_area,
        seed=0,
        start_step=0,
        process_index=0,
        process_count=1,
    )
    _ = batches[0]
    cv2_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        count, started, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - started < seconds:
            count += 1
            _ = batches[count]
        spent = time.process_time() - cpu
    finally:
        cv2.setNumThreads(cv2_threads)
    return InputRate(count * segments / spent, float(np.mean(sizes)), f"measured here {what}", f"measured {what}")


def made_up_clip(seed: int, frames: int = 4) -> ClipRecord:
    """Make a clip of pictures whose detail falls with its size as in photographs, so that JPEG takes as much."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(frames):
        picture = np.zeros((HEIGHT, WIDTH, 3))
        for octave in range(1, 8):
            side = 2**octave
            noise = rng.standard_normal((side, side, 3)).astype(np.float32) / side**0.72
            picture += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        pixels = np.clip(128 + 90 * picture / picture.std() / 2, 0, 255).astype(np.uint8)
        pictures.append(encode_jpeg(pixels, quality=QUALITY))
    return ClipRecord(
        id=f"made-up-{seed}",
        label=0,
        height=HEIGHT,
        width=WIDTH,
        source_frames=np.arange(frames),
        times=np.arange(frames) / 25.0,
        frames=pictures,
        source_sha256="",
    )
