"""Video files read frame by frame, and written as H.264 that ordinary players open: the one place that decodes video.

FFmpeg inside PyAV decodes. It raises where it fails, so that no frame is taken for another, and shows the packets, so
that a video that was cut or damaged is known as such.

The decoding processes of vfs-prepare import this module: it takes av, cv2, numpy and Pillow and nothing heavier.
"""

import fractions
import itertools
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from vfs_jax.data.images import list_images, read_frame
from vfs_jax.data.video_length import VideoLength
from vfs_jax.errors import InputError

_CONVERT = "convert it: ffmpeg -i FILE -c:v libx264 -pix_fmt yuv420p NEW.mp4"
# Failures to read in a row after which the rest of a file is given up.
_MOST_FAILURES = 100
# Videos that were resized have pixels a little off square, since their sides were rounded (340x256 is shown as 4:3).
_ROUNDING = 0.02
# The clock of videos that are written: 25, 30, 30000/1001 and more frames a second take whole numbers of ticks.
_TICK = fractions.Fraction(1, 90000)


class VideoError(Exception):
    """A video that does not decode; the message is the reason, without the file's name."""


class UnusableTimes(Exception):
    """The container's times do not increase (AVI files with B-frames carry none of their own)."""


class DecodedFrame(NamedTuple):
    """A frame as the file stores it, turned as the file says.

    Attributes:
        time, end: from when to when it is shown, seconds since the first frame.
        image: BGR uint8 [h, w, 3]; its rows may lie apart in memory.
        pixel_aspect: width of a pixel, as it is shown, by its height.
    """

    time: float
    end: float
    image: np.ndarray
    pixel_aspect: fractions.Fraction


class VideoFile:
    """A video file, decoded once from its first frame to its last, on one thread.

    Attributes:
        rate: frames a second, 25 where the file tells none.
        count: number of frames by the header, which may be wrong; None where it tells none.
        shortfall: what did not decode, known after the last frame: "27 of 50 frames decode", empty where all did.

    Raises:
        VideoError: the file holds no video stream of a known codec.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        path.open("rb").close()  # says why where that is not allowed
        with tempfile.TemporaryDirectory(prefix="vfs_video_") as folder:
            # FFmpeg reads "x:y" as a protocol and "%03d" as a pattern: a link of a plain name serves every name.
            link = Path(folder, "video")
            link.symlink_to(path.resolve())
            try:
                # A playlist that is named like a video opens no network.
                options = {"protocol_whitelist": "file"}
                self._container = av.open(f"file:{link}", options=options, metadata_errors="replace")
            except (av.FFmpegError, ValueError):
                raise VideoError("no video stream that FFmpeg can open") from None
        cover = Disposition.attached_pic | Disposition.timed_thumbnails
        streams = [stream for stream in self._container.streams.video if not stream.disposition & cover]
        if not streams:
            raise VideoError("no video stream that FFmpeg can open")
        self._stream: VideoStream = streams[0]
        if self._stream.codec_context is None:
            raise VideoError(f"no frame decodes: FFmpeg does not know the codec; {_CONVERT}")
        self._stream.codec_context.thread_type, self._stream.codec_context.thread_count = "NONE", 1
        self._length = VideoLength(path, self._container, self._stream)
        self.rate = self._stream.guessed_rate or fractions.Fraction(25)
        self.count = self._length.count
        self.shortfall = ""

    def frames(self, *, container_times: bool = False) -> Iterator[DecodedFrame]:
        """Decode the frames; packets that do not decode are passed over, and counted.

        Args:
            container_times: whether the times are those of the container; else frame i is at i / rate.

        Yields:
            Frames, whose times are strictly increasing.

        Raises:
            UnusableTimes: the container's times do not increase.
            VideoError: not one frame decodes, or they are of a kind that cannot be converted.
        """
        rate, tick = float(self.rate), float(self._stream.time_base or 0)
        first, last = 0, -1.0
        aspect = self._stream.sample_aspect_ratio or fractions.Fraction(1)
        if abs(aspect - 1) < _ROUNDING:
            aspect = fractions.Fraction(1)
        orientation: Orientation | None = None
        to_bgr = VideoReformatter()
        with self._container:
            for number, frame in enumerate(self._decode()):
                time, shown = number / rate, 1 / rate
                if container_times:
                    if frame.pts is None:
                        raise UnusableTimes
                    first = frame.pts if number == 0 else first
                    time = (frame.pts - first) * tick
                    if not time > last:
                        raise UnusableTimes
                    shown = frame.duration * tick or shown
                last = time
                orientation = orientation or Orientation.of(frame)
                image = orientation.apply(self._bgr(frame, to_bgr))
                yield DecodedFrame(time, time + shown, image, 1 / aspect if orientation.transposed else aspect)
            self.shortfall = self._length.shortfall()
        if last < 0:
            raise VideoError(f"no frame of its video stream decodes ({self._kind}); {_CONVERT}")

    def _decode(self) -> Iterator[VideoFrame]:
        for packet in self._packets():
            try:
                frames = self._stream.decode(packet)
            except (av.FFmpegError, ValueError):
                self._length.add_lost()
                continue
            for frame in frames:
                self._length.add_frame(frame)
                yield frame

    def _packets(self) -> Iterator[Packet | None]:
        """Read the packets of the video stream, going on where one cannot be read, and None for the end."""
        failures = 0
        while failures < _MOST_FAILURES:
            try:
                for packet in self._container.demux():
                    failures = 0
                    self._length.add_packet(packet)
                    if packet.stream.index == self._stream.index and packet.size:  # an empty one would end decoding
                        yield packet
                break
            except IndexError:  # where a stream was found late, PyAV ends so
                break
            except (av.FFmpegError, ValueError):
                failures += 1
                self._length.add_failure()
        yield None

    def _bgr(self, frame: VideoFrame, to_bgr: VideoReformatter) -> np.ndarray:
        try:
            # In this way of interpolation and on one thread the pixels are those of OpenCV's own reader, to the bit.
            converted = to_bgr.reformat(frame, format="bgr24", interpolation=Interpolation.BICUBIC, threads=1)
        except (av.FFmpegError, ValueError):
            kind = f"{self._kind}, color matrix {frame.colorspace} of H.273"
            raise VideoError(f"its frames cannot be converted to RGB ({kind}); {_CONVERT}") from None
        height, width, line = converted.height, converted.width, converted.planes[0].line_size
        rows = np.frombuffer(memoryview(converted.planes[0]), np.uint8, height * line).reshape(height, line)
        return rows[:, : 3 * width].reshape(height, width, 3)

    @property
    def _kind(self) -> str:
        context = self._stream.codec_context
        return f"codec {context.name}, pixel format {context.pix_fmt or 'unknown'}"


class Orientation(NamedTuple):
    """How stored frames become upright: transposed, then mirrored."""

    transposed: bool = False
    left_right: bool = False
    up_down: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> "Orientation":
        """Read a frame's display matrix, x' = a x + c y, y' = b x + d y; angles other than right ones are ignored."""
        try:
            data = frame.side_data["DISPLAYMATRIX"]  # type: ignore[typeddict-item]  # of which the stubs do not know
        except KeyError:
            return cls()
        except ValueError:  # beside side data of which PyAV does not know; the angle can be had, not the mirroring
            upright = {90: cls(True, False, True), -90: cls(True, True, False)}
            return upright.get(frame.rotation, cls(False, *[abs(frame.rotation) == 180] * 2))
        a, b, _, c, d, *_ = (value / 65536 for value in struct.unpack("9i", data))
        if abs(a) == abs(d) == 1 and b == c == 0:
            return cls(False, a < 0, d < 0)
        if abs(b) == abs(c) == 1 and a == d == 0:
            return cls(True, c < 0, b < 0)
        return cls()

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Turn a frame [h, w, 3]."""
        if self.transposed:
            image = cv2.transpose(image)
        if self.left_right:
            image = cv2.flip(image, 1)
        if self.up_down:
            image = cv2.flip(image, 0)
        return image


class Video:
    """A video of one's own, a file or a folder of frames, opened anew for each reading.

    Frames are as the file stores them, turned as it says. Where its pixels are not square (`pixel_aspect`) they stay as
    they are: coordinates count stored pixels, as OpenCV and FFmpeg hand them out.

    Attributes:
        path: of the file or folder.
        rate: frames a second, 24 for a folder.
        count: number of frames where it is known; of a file by its header, which may be wrong.
        size: height and width of the frames.
        pixel_aspect: width of a pixel, as it is shown, by its height.
        shortfall: what did not decode when all frames were read, "27 of 50 frames decode"; empty where all did.

    Raises:
        InputError: there is no such video, or not one frame of it can be decoded.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shortfall = ""
        self._files = list_images(path) if path.is_dir() else ()
        self.count: int | None = len(self._files)
        if not self._files and not path.is_file():
            raise InputError(f"{path}: no such file; give a video or a folder of frames")
        if self._files:
            self.rate = fractions.Fraction(24)
        first = next(self.timed_frames())
        self.size, self.pixel_aspect = first.image.shape[:2], first.pixel_aspect

    def frames(self) -> Iterator[np.ndarray]:
        """Read the frames as they are needed.

        Yields:
            RGB uint8 [h, w, 3], all of one size.

        Raises:
            InputError: a frame is of another size than the first, or does not decode in a folder of frames.
        """
        return (frame.image for frame in self.timed_frames())

    def timed_frames(self) -> Iterator[DecodedFrame]:
        """Read the frames, RGB, with the times from and to which they are shown."""
        size = None
        for frame in self._read_files() if self._files else self._read_video():
            height, width = frame.image.shape[:2]
            size = size or (height, width)
            if size != (height, width):
                sizes = f"{size[1]}x{size[0]} and {width}x{height}"
                cure = "give frames of one size" if self._files else _CONVERT
                raise InputError(f"{self.path}: its frames are not all of one size ({sizes}); {cure}")
            yield frame

    def _read_files(self) -> Iterator[DecodedFrame]:
        for number, file in enumerate(self._files):
            yield DecodedFrame(number / 24, (number + 1) / 24, read_frame(file), fractions.Fraction(1))

    def _read_video(self) -> Iterator[DecodedFrame]:
        done, shift = 0, 0.0
        try:
            file = VideoFile(self.path)
            self.rate, self.count = file.rate, file.count
            try:
                for frame in file.frames(container_times=True):
                    yield self._rgb(frame, 0.0)
                    done, shift = done + 1, frame.end
            except UnusableTimes:
                shift -= float(done / file.rate)
                file = VideoFile(self.path)
                for frame in itertools.islice(file.frames(), done, None):
                    yield self._rgb(frame, shift)
        except VideoError as error:
            cure = "" if ";" in str(error) else "; convert the video or give a folder of frames"
            raise InputError(f"{self.path}: not one frame can be decoded: {error}{cure}") from None
        self.shortfall = file.shortfall

    def _rgb(self, frame: DecodedFrame, shift: float) -> DecodedFrame:
        image = cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB)
        return DecodedFrame(frame.time + shift, frame.end + shift, image, frame.pixel_aspect)


class VideoWriter:
    """Writes H.264 in MP4, without sound; a context manager."""

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        rate: fractions.Fraction,
        *,
        pixel_aspect: fractions.Fraction = fractions.Fraction(1),
    ):
        """Open the file.

        Args:
            path: the .mp4.
            size: height and width of the frames; odd sides lose their last row or column, which H.264 cannot hold.
            rate: frames a second.
            pixel_aspect: width of a pixel, as it is to be shown, by its height.
        """
        self._height, self._width = (max(side // 2 * 2, 2) for side in size)
        self._file = av.open(
            f"file:{path}",
            "w",
            format="mp4",
            options={"movflags": "+faststart"},
        )
        # Without frames that refer to later ones: with them MP4 ends early where the last frames are shown for long.
        self._stream: VideoStream = self._file.add_stream("libx264", rate=rate, options={"bf": "0"})
        self._stream.width, self._stream.height, self._stream.pix_fmt = self._width, self._height, "yuv420p"
        self._stream.codec_context.sample_aspect_ratio = pixel_aspect
        self._stream.codec_context.time_base = _TICK
        self._shown: dict[int, int] = {}  # ticks, of the frames inside the encoder

    def write(self, frame: np.ndarray, time: float, end: float) -> None:
        """Append one frame.

        Args:
            frame: RGB uint8 [h, w, 3].
            time: from when it is shown, seconds, later than the frame before.
            end: to when; it counts for the last frame alone.
        """
        even = np.ascontiguousarray(frame[: self._height, : self._width])
        picture = av.VideoFrame.from_ndarray(even, format="rgb24")
        picture.pts, picture.time_base = round(time / _TICK), _TICK
        self._shown[picture.pts] = max(round(end / _TICK) - picture.pts, 1)
        self._mux(picture)

    def _mux(self, picture: VideoFrame | None) -> None:
        for packet in self._stream.encode(picture):
            packet.duration = self._shown.pop(packet.pts or 0)
            self._file.mux(packet)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._mux(None)
        self._file.close()
