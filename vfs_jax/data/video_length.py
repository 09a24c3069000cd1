"""How much of a video its container promises, and how much of that was read and decoded."""

import fractions
import os
import re
import struct
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# Containers whose header tells their length in seconds. That of others FFmpeg measures, or guesses by the bit rate.
_LENGTH_TOLD = ("asf", "avi", "flv", "ivf", "matroska,webm", "mxf", "nut", "rm")
# Streams of one file end up to so much apart from what the header says: sound starts before the picture.
_TOLERANCE = 0.1
_LEFT_OUT = 16


class VideoLength:
    """Compares what a container promises with what came of it.

    A cut file decodes to its last byte without an error, so success tells nothing. MP4 lists every frame that is to be
    shown; other containers tell seconds, to which the last packet of any stream must come close. Where neither is
    told (MPEG-TS, raw streams), only errors are known.

    Attributes:
        count: number of frames by the header, which may be wrong; None where it tells none.
    """

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream) -> None:
        self._path, self._stream = path, stream
        self._format = container.format.name
        self._is_mp4 = "mp4" in self._format.split(",")
        rate = self._rate = stream.guessed_rate or fractions.Fraction(25)
        self._seconds = 0.0
        self._of_the_stream = True  # or of all streams, of which another one may be longer
        if self._format == "avi":  # the duration that FFmpeg gives shrinks with a file that was cut
            self._seconds = float(stream.frames * (stream.time_base or 0))
        elif re.fullmatch(r"\d+:\d+:\d+(\.\d+)?", stream.metadata.get("DURATION", "")):  # Matroska's tag
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            self._seconds = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        elif stream.duration is not None and stream.time_base is not None:
            self._seconds = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            self._seconds, self._of_the_stream = container.duration / 1e6, False
        self.count = stream.frames or round(self._seconds * rate) or None
        self._packets = self._decoded = self._damaged = self._lost = self._failures = 0
        self._reached = 0.0
        self._ticks: dict[int, float] = {}  # seconds, of each stream's clock
        self._times: list[float] = []

    def add_packet(self, packet: Packet) -> None:
        """Count a packet of any stream."""
        ours = packet.stream.index == self._stream.index
        if ours and packet.size:
            self._packets += not packet.is_discard
            self._failures += packet.is_corrupt
        if packet.pts is not None and (ours or not self._of_the_stream):
            tick = self._ticks.setdefault(packet.stream.index, float(packet.time_base or 0))
            self._reached = max(self._reached, (packet.pts + (packet.duration or 0)) * tick)

    def add_frame(self, frame: VideoFrame) -> None:
        """Count a frame that was decoded."""
        self._decoded += 1
        self._damaged += frame.is_corrupt
        if frame.pts is not None:
            self._times.append(frame.pts * float(self._stream.time_base or 0))

    def add_lost(self) -> None:
        """Count a packet that does not decode."""
        self._lost += 1

    def add_failure(self) -> None:
        """Count a place at which the file cannot be read."""
        self._failures += 1

    def shortfall(self) -> str:
        """Say what did not decode, empty where nothing is known to be amiss.

        To be asked after the last frame, before the file is closed.
        """
        promised, amiss = self._decoded + self._lost, self._lost + self._damaged + self._failures > 0
        listed = sum(entry.size > 0 and not entry.is_discard for entry in self._stream.index_entries)
        if self._is_mp4:
            # Decoders leave out some frames of whole files: empty ones, and those before the first that stands alone.
            amiss = amiss or self._packets < listed or self._decoded + _LEFT_OUT < listed
            if not amiss and self._stream.frames < listed:  # in fragments, which list their own frames alone
                amiss = _ends_in_a_fragment(self._path)
            promised = max(promised, listed)
        elif self._format in _LENGTH_TOLD:
            gaps = np.diff(self._times)
            amiss = amiss or self._packets < listed  # an AVI's index; others list places to start from
            amiss = amiss or self._reached + 1.5 * gaps.max(initial=0.0) + _TOLERANCE < self._seconds
            if amiss:
                promised = max(promised, listed, self._frames_in_all(gaps))
        if not amiss:
            return ""
        damaged = f", {self._damaged} of them damaged" if self._damaged else ""
        if promised > self._decoded:
            return f"{self._decoded} of {promised} frames decode{damaged}"
        return f"{self._decoded} frames decode{damaged or ', and a part of the file is missing or damaged'}"

    def _frames_in_all(self, gaps: np.ndarray) -> int:
        """Estimate how many frames fill the seconds that the header tells."""
        if not len(gaps):
            return round(self._seconds * self._rate)
        usual = np.median(gaps)
        varies = np.mean(np.abs(gaps - usual) > usual / 4) > 0.1  # a few longer gaps are what was lost
        return round(self._seconds / (gaps.mean() if varies else usual))


def _ends_in_a_fragment(path: Path) -> bool:
    """Return whether a fragmented MP4 file ends before its last fragment does."""
    with path.open("rb") as file:
        end, place = file.seek(0, os.SEEK_END), 0
        while place + 16 <= end:
            file.seek(place)
            size, kind, large = struct.unpack(">I4sQ", file.read(16))
            size = large if size == 1 else size
            if size < 8:  # 0: to the end of the file
                return False
            place += size
            if place > end:
                return kind in (b"moof", b"mdat")
    return place < end
