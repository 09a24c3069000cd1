"""Small videos of every kind, encoded on the spot, and what is done to them."""

import fractions
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream

FRAMES, HEIGHT, WIDTH, RATE = 16, 48, 64, 25


def paint(number: int, height: int = HEIGHT, width: int = WIDTH, *, noise: int = 0) -> np.ndarray:
    """A picture of smooth colors of which every frame has its own: RGB uint8 [h, w, 3]."""
    rows, columns = np.mgrid[:height, :width]
    colors = [40 + 150 * rows / height, 60 + 80 * columns / width, np.full((height, width), 40.0 + 10 * (number % 20))]
    noisy = np.random.default_rng(number).integers(-noise, noise + 1, (height, width, 3))
    return (np.stack(colors, axis=-1) + noisy).clip(0, 255).astype(np.uint8)


def encode(
    path: Path,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    *,
    frames: Sequence[np.ndarray] | int = FRAMES,
    times: Sequence[int] | None = None,
    options: Mapping[str, str] | None = None,
    container: Mapping[str, str] | None = None,
    format: str | None = None,
    aspect: fractions.Fraction | None = None,
    sound: float = 0.0,
) -> Path:
    """Encode a video.

    Args:
        path: the file, whose suffix tells the container.
        codec: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of the pixel format.
        frames: RGB uint8 [h, w, 3] each, or how many are painted.
        times: milliseconds of each frame; else there are 25 a second.
        options: of the encoder.
        container: options of the container.
        format: of the container, where the suffix does not tell it.
        aspect: width of a pixel by its height.
        sound: seconds of silence that go with it.
    """
    images = [paint(number) for number in range(frames)] if isinstance(frames, int) else frames
    with av.open(str(path), "w", format=format, options=dict(container or {})) as file:
        stream = cast("VideoStream", file.add_stream(codec, rate=RATE, options=dict(options or {})))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if times is not None:
            stream.codec_context.time_base = fractions.Fraction(1, 1000)
        audio = file.add_stream("aac", rate=48000) if sound else None
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
            if times is not None:
                frame.pts, frame.time_base = times[number], fractions.Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if audio is not None:
            for number in range(int(sound * 48000) // 1024):
                silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
                silence.sample_rate, silence.pts = 48000, 1024 * number
                file.mux(audio.encode(silence))
            file.mux(audio.encode(None))
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    """Keep the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def spoil(path: Path, start: float, end: float) -> Path:
    """Overwrite a part of a file with noise."""
    data = bytearray(path.read_bytes())
    first, last = int(start * len(data)), int(end * len(data))
    data[first:last] = np.random.default_rng(0).integers(0, 256, last - first, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    return path
