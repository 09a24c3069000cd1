"""Sequences with exact ground truth: pieces of photographs that move, turn, grow and cross over a real video.

A piece is a region of a photograph inside a smooth closed outline. Its pose in every frame is a formula, so masks,
boxes and points follow from arithmetic, not from annotation. Every labeled piece has a look-alike, another region of
the same photograph in the same outline, which crosses its path and belongs to the background: color alone does not
tell the two apart.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import scipy.io

from vfs_jax.data.images import encode_jpeg, write_index_mask
from vfs_jax.data.text import write_text
from vfs_jax.data.video_files import Video
from vfs_jax.errors import InputError

HARMONICS = (2, 3, 5)  # of the outline
POINTS = 5  # a piece; the first is its center
MIN_SEEN, MIN_SEEN_FIRST = 0.4, 0.8  # shares of each labeled piece that others leave uncovered


@dataclasses.dataclass(frozen=True)
class Piece:
    """A region of a photograph with an outline and a path.

    Attributes:
        texture: uint8 [p, p, 3], RGB; its center is the origin of piece coordinates, (x, y) in texture pixels.
        amplitudes, phases: float64 [3], of the outline's harmonics, see `outline`.
        label: 0 for a look-alike.
        path: float64 [t, 4], for each frame the center's x and y (image pixels; (0, 0) is the center of the top left
            pixel), the angle (radians) and the scale (image pixels a texture pixel).
    """

    texture: np.ndarray
    amplitudes: np.ndarray
    phases: np.ndarray
    label: int
    path: np.ndarray

    def outline(self, angle: np.ndarray) -> np.ndarray:
        """Return the distance of the outline from the piece's center, texture pixels, in the direction `angle`."""
        waves = self.amplitudes * np.cos(np.multiply.outer(angle, HARMONICS) + self.phases)
        return 0.5 * len(self.texture) * (0.75 + waves.sum(-1))

    def points(self, frame: int) -> np.ndarray:
        """Return the marked points, the center and four around it, as image positions (x, y), float64 [n, 2]."""
        angles = np.arange(POINTS - 1) * (2 * np.pi / (POINTS - 1)) + np.pi / 4
        radius = 0.55 * self.outline(angles)
        around = np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=-1)
        x, y, angle, scale = self.path[frame]
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return scale * np.concatenate([np.zeros((1, 2)), around]) @ turn.T + (x, y)

    def texture_coordinates(self, frame: int, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert image positions to piece coordinates: undo the shift, the turn and the scale."""
        x, y, angle, scale = self.path[frame]
        dx, dy = (columns - x) / scale, (rows - y) / scale
        return np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx

    def coverage(self, frame: int, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the share of each pixel that the piece covers; a pixel is in its mask where that is > 0.5."""
        u, v = self.texture_coordinates(frame, columns, rows)
        inside = (self.outline(np.arctan2(v, u)) - np.hypot(u, v)) * self.path[frame, 3]  # image pixels
        return np.clip(inside + 0.5, 0, 1)

    def color(self, frame: int, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the texture at these positions, float32 [..., 3], bilinear."""
        u, v = (coordinate.astype(np.float32) for coordinate in self.texture_coordinates(frame, columns, rows))
        middle = np.float32((len(self.texture) - 1) / 2)
        texture = self.texture.astype(np.float32)
        return cv2.remap(texture, u + middle, v + middle, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


@dataclasses.dataclass(frozen=True)
class Composed:
    """One composed sequence.

    Attributes:
        frames: uint8 [t, h, w, 3], RGB.
        masks: uint8 [t, h, w], labels of the pieces that are seen.
        boxes: float64 [t, n, 4], x, y, w, h of each labeled piece, 0-based, cut at the image's border; whole even
            where another piece covers it.
        points: float64 [t, n * 5, 2], (x, y), 0-based, in the order of the labels.
    """

    frames: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    points: np.ndarray


def compose(
    rng: np.random.Generator, background: np.ndarray, photos: Sequence[np.ndarray], *, objects: int = 2
) -> Composed:
    """Compose one sequence.

    Args:
        rng: draws regions, outlines and paths.
        background: uint8 [t, h, w, 3], RGB, the frames that the pieces move over.
        photos: uint8 [h, w, 3] RGB, each at least 200 pixels a side; each labeled piece takes another one.
        objects: number of labeled pieces, each with a look-alike.

    Returns:
        The sequence. Which piece covers which is drawn, but each labeled one is seen at least by a share of MIN_SEEN.

    Raises:
        ValueError: there are fewer photographs than objects.

    >>> rng = np.random.default_rng(0)
    >>> photos = [rng.integers(0, 256, (240, 240, 3), dtype=np.uint8) for _ in range(2)]
    >>> composed = compose(rng, np.zeros((3, 48, 80, 3), np.uint8), photos)
    >>> composed.frames.shape, composed.masks.shape, composed.boxes.shape, composed.points.shape
    ((3, 48, 80, 3), (3, 48, 80), (3, 2, 4), (3, 10, 2))
    """
    if len(photos) < objects:
        raise ValueError(f"each of {objects} objects needs a photograph of its own, got {len(photos)}")
    frames, height, width, _ = background.shape
    pieces = _pieces(rng, photos, objects, frames, height, width)
    while not _stay_visible(pieces, frames, height, width):
        pieces = _pieces(rng, photos, objects, frames, height, width)
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    # The light on the pieces changes.
    gain = 1 + 0.25 * np.sin(2 * np.pi * (np.arange(frames) / frames + rng.uniform()))
    images = background.astype(np.float32)
    masks = np.zeros((frames, height, width), np.uint8)
    labeled = sorted((piece for piece in pieces if piece.label), key=lambda piece: piece.label)
    boxes = np.zeros((frames, objects, 4))
    for t in range(frames):
        for piece in pieces:
            coverage = piece.coverage(t, columns, rows)
            color = np.clip(piece.color(t, columns, rows) * gain[t], 0, 255)
            images[t] += coverage[..., None] * (color - images[t])
            inside = coverage > 0.5
            masks[t][inside] = piece.label
            if piece.label:
                boxes[t, piece.label - 1] = _box(inside)
    points = np.stack([np.concatenate([piece.points(t) for piece in labeled]) for t in range(frames)])
    return Composed(np.rint(images).astype(np.uint8), masks, boxes, points)


def _pieces(
    rng: np.random.Generator, photos: Sequence[np.ndarray], objects: int, frames: int, height: int, width: int
) -> list[Piece]:
    """Labeled pieces and their look-alikes in a drawn order, the first of them farthest away."""
    chosen = rng.choice(len(photos), objects, replace=False)
    pairs = [_pair(rng, photos[index], label, frames, height, width) for label, index in enumerate(chosen, start=1)]
    pieces = [piece for pair in pairs for piece in pair]
    return [pieces[i] for i in rng.permutation(len(pieces))]


def _stay_visible(pieces: Sequence[Piece], frames: int, height: int, width: int) -> bool:
    """Return whether enough of every labeled piece is seen, in the first frame above all, and throughout."""
    columns, rows = np.meshgrid(np.arange(0, width, 4), np.arange(0, height, 4))
    for t in range(0, frames, 3):
        covered = np.zeros(rows.shape, bool)
        for piece in reversed(pieces):  # from the nearest to the farthest
            inside = piece.coverage(t, columns, rows) > 0.5
            if piece.label and (inside & ~covered).sum() < (MIN_SEEN if t else MIN_SEEN_FIRST) * inside.sum():
                return False
            covered |= inside
    return True


def _pair(rng: np.random.Generator, photo: np.ndarray, label: int, frames: int, height: int, width: int) -> list[Piece]:
    """Return a labeled piece and its look-alike, a far region of the same photograph that crosses its path."""
    size = int(rng.uniform(0.4, 0.55) * min(photo.shape[:2]))
    corners = rng.integers(0, np.array(photo.shape[:2]) - size + 1, (16, 2))
    farthest = np.linalg.norm(corners[1:] - corners[0], axis=1).argmax() + 1
    texture, other_texture = (
        cv2.resize(photo[top : top + size, left : left + size], (96, 96), interpolation=cv2.INTER_AREA)
        for top, left in (corners[0], corners[farthest])
    )
    amplitudes, phases = rng.uniform(0.02, 0.07, len(HARMONICS)), rng.uniform(0, 2 * np.pi, len(HARMONICS))
    # The piece crosses the image on a bent line; the look-alike runs the other way, and both are close at the middle.
    start, end = rng.uniform((0.15, 0.2), (0.3, 0.8)), rng.uniform((0.7, 0.2), (0.85, 0.8))
    if rng.uniform() < 0.5:
        start, end = end, start
    path = _path(rng, start, end, frames, height, width)
    other = _path(rng, end, start, frames, height, width)
    piece = Piece(texture, amplitudes, phases, label, path)
    return [piece, dataclasses.replace(piece, texture=other_texture, label=0, path=other)]


def _path(
    rng: np.random.Generator, start: np.ndarray, end: np.ndarray, frames: int, height: int, width: int
) -> np.ndarray:
    """Center, angle and scale in every frame: a bent line, about a right angle, twice or half the size."""
    time, growth = np.linspace(0, 1, frames), rng.choice((0.5, 2.0))
    bend = rng.uniform(-0.15, 0.15) * np.sin(np.pi * time) + 0.03 * np.sin(2 * np.pi * (3 * time + rng.uniform()))
    x = (start[0] + (end[0] - start[0]) * time) * width
    y = np.clip(start[1] + (end[1] - start[1]) * time + bend, 0.15, 0.85) * height
    angle = rng.uniform(-0.5, 0.5) + rng.choice((-1, 1)) * rng.uniform(0.8, 1.6) * time
    # The texture's 96 pixels cover from a fourth to a half of the image's height.
    first = 0.28 * height / 96 * (1 if growth > 1 else 2)
    return np.stack([x, y, angle, first * growth**time], axis=-1)


def _box(inside: np.ndarray) -> tuple[float, float, float, float]:
    """Return the tight box x, y, w, h of a mask; (0, 0, 0, 0) where it is empty."""
    if not inside.any():
        return 0.0, 0.0, 0.0, 0.0
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] - columns[0] + 1), float(rows[-1] - rows[0] + 1)


def read_background(video: Path, frames: int, height: int) -> np.ndarray:
    """Return the first frames of a video at a height, uint8 [t, h, w, 3] RGB; a shorter video is played back and forth.

    Raises:
        InputError: there is no such video, or it does not decode.
    """
    decoded = []
    for frame in itertools.islice(Video(video).frames(), frames):
        size = (2 * round(frame.shape[1] * height / frame.shape[0] / 2), height)
        decoded.append(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
    there_and_back = decoded + decoded[-2:0:-1]
    return np.stack([there_and_back[t % len(there_and_back)] for t in range(frames)])


def photographs() -> list[np.ndarray]:
    """Return the color photographs that scikit-image carries in its wheel, uint8 [h, w, 3]."""
    try:
        import skimage.data
    except ImportError:
        raise InputError("composed sequences need scikit-image: pip install 'vfs_jax[compose]'") from None
    photos = [getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee", "immunohistochemistry")]
    return [np.asarray(photo) for photo in (*photos, skimage.data.stereo_motorcycle()[0])]


def write_sequences(
    out: Path,
    video: Path,
    *,
    seed: int = 0,
    sequences: int = 4,
    frames: int = 48,
    height: int = 240,
    progress: Callable[[range], Sequence[int]] = lambda numbers: numbers,
) -> None:
    """Compose sequences over one video and write them in the layouts of DAVIS, OTB and JHMDB.

    Args:
        out: gets davis/, otb/ (a folder a labeled piece) and jhmdb/; left as it is where it holds all of it.
        video: the background; each sequence starts at a drawn frame of it.
        seed: of every draw.
        sequences: how many.
        frames: of each.
        height: of the frames, pixels; the aspect is the video's.
        progress: wraps the loop over sequences (tqdm, say).

    Raises:
        InputError: the video does not decode, or scikit-image is not installed.
    """
    complete = out / "jhmdb/splits/composed_test_split1.txt"  # written last
    if complete.exists():
        return
    photos = photographs()
    background = read_background(video, 2 * frames, height)
    for number in progress(range(sequences)):
        rng = np.random.default_rng((seed, number))
        first = int(rng.integers(0, len(background) - frames + 1))
        _write(out, f"composed_{number:02d}", compose(rng, background[first : first + frames], photos))
    names = [f"composed_{number:02d}" for number in range(sequences)]
    _write_text(out / "davis/ImageSets/2017/val.txt", "".join(f"{name}\n" for name in names))
    _write_text(complete, "".join(f"{name}.avi 2\n" for name in names))


def _write(out: Path, name: str, sequence: Composed) -> None:
    davis, masks = out / "davis/JPEGImages/480p" / name, out / "davis/Annotations/480p" / name
    otb = [out / "otb" / f"{name}_{n + 1}" for n in range(sequence.boxes.shape[1])]
    jhmdb, joints = out / "jhmdb/Frames/composed" / name, out / "jhmdb/joint_positions/composed" / name
    for folder in (davis, masks, *(folder / "img" for folder in otb), jhmdb, joints):
        folder.mkdir(parents=True, exist_ok=True)
    for t, (frame, mask) in enumerate(zip(sequence.frames, sequence.masks, strict=True)):
        bgr = frame[..., ::-1]
        jpeg = encode_jpeg(bgr, quality=95)
        (davis / f"{t:05d}.jpg").write_bytes(jpeg)
        for folder in otb:
            (folder / "img" / f"{t + 1:04d}.jpg").write_bytes(jpeg)
        (jhmdb / f"{t + 1:05d}.png").write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
        write_index_mask(masks / f"{t:05d}.png", mask)
    for n, folder in enumerate(otb):
        boxes = sequence.boxes[:, n] + (1, 1, 0, 0)  # OTB counts pixels from 1
        _write_text(folder / "groundtruth_rect.txt", "".join("{:g},{:g},{:g},{:g}\n".format(*box) for box in boxes))
    # JHMDB counts from 1 too; pos_img is [2, joints, frames].
    scipy.io.savemat(joints / "joint_positions.mat", {"pos_img": np.transpose(sequence.points + 1, (2, 1, 0))})


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
