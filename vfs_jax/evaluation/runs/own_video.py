"""Label propagation through one video of any length, resumed where it was interrupted."""

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from jaxtyping import Array

from vfs_jax.correspondence import Memory
from vfs_jax.correspondence.memory import arrays_of, with_arrays
from vfs_jax.data.images import write_index_mask
from vfs_jax.data.text import read_text, write_text
from vfs_jax.data.video_files import Video
from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import Encoder
from vfs_jax.evaluation.propagation.features import features_of
from vfs_jax.evaluation.propagation.first_masks import first_labels, number_labels
from vfs_jax.evaluation.propagation.heatmaps import point_maps_on_grid, positions_of
from vfs_jax.evaluation.propagation.labels import first_output, pad_channels, start, step
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.readout import merge_groups
from vfs_jax.evaluation.propagation.settings import Settings

SAVE_SECONDS = 60.0  # between two saves of what is needed to go on
_HIDDEN_BELOW = 0.5  # of a point's highest value in the first frame; as on TAP-Vid


R = TypeVar("R")  # what is written of a frame: a mask, or points


class Labels(Protocol[R]):
    """Labels of the first frame, and how those of every frame are read off and written: `Masks` or `Points`.

    Attributes:
        given: what they are, by which a run that goes on knows them again.
    """

    given: Sequence[object]

    def grid(self, layout: Layout, settings: Settings) -> np.ndarray:
        """Return the first frame's labels on the grid, float32 [rows, cols, l]."""

    def read(self, labels: Array | None, layout: Layout, settings: Settings) -> R:
        """Read a frame's result off its soft labels, on the device; `labels` is None for the first frame."""

    def write(self, out: Path, number: int, result: R) -> None:
        """Wait for the device and write a frame's result."""

    def forget(self, out: Path, number: int) -> None:
        """Remove the results of frame `number` and later ones, which a killed run may have left."""


class Masks:
    """An index mask of any number of objects; writes masks/00000.png, ..."""

    def __init__(self, mask: np.ndarray):
        """Take the index mask of the first frame, uint8 [h, w], 0 for background."""
        self._mask = mask
        self.given: Sequence[object] = [mask]

    def grid(self, layout: Layout, settings: Settings) -> np.ndarray:
        """Return the first mask on the grid, as labels."""
        return first_labels(self._numbered(settings)[0], settings, layout)

    def read(self, labels: Array | None, layout: Layout, settings: Settings) -> Array | np.ndarray:
        """Return the mask of a frame."""
        _, names = self._numbered(settings)
        if labels is None:
            return first_output(self._mask, self.grid(layout, settings), names, settings, layout)
        return merge_groups([labels], [names], layout, settings)

    def _numbered(self, settings: Settings) -> tuple[np.ndarray, tuple[int, ...]]:
        return number_labels(self._mask, by_color=settings.soft_first)

    def write(self, out: Path, number: int, result: Array | np.ndarray) -> None:
        """Write masks/NUMBER.png."""
        path = out / "masks" / f"{number:05d}.png"
        path.parent.mkdir(exist_ok=True)
        write_index_mask(path, np.asarray(result))

    def forget(self, out: Path, number: int) -> None:
        """Remove the PNGs of frame `number` and later ones."""
        for path in (out / "masks").glob("*.png"):
            if path.stem.isdecimal() and int(path.stem) >= number:
                path.unlink()


class Points:
    """Named points, joined by bones where they are a pose; writes points.csv."""

    def __init__(self, points: np.ndarray, names: Sequence[str], bones: Sequence[tuple[int, int]] = ()):
        """Take the points of the first frame.

        Args:
            points: (x, y) in pixels, the first pixel's center at 0, [n, 2].
            names: of the points.
            bones: pairs of them that are joined when drawn.
        """
        self._points, self.names, self.bones = points, list(names), list(bones)
        self.given: Sequence[object] = [points, self.names, self.bones]
        self._at_first: np.ndarray | None = None

    def grid(self, layout: Layout, settings: Settings) -> np.ndarray:
        """Return a Gaussian of one grid cell around every point."""
        height, width = layout.picture
        return point_maps_on_grid((self._points + 0.5) / [width, height], layout.grid(settings.output))

    def read(
        self, labels: Array | None, layout: Layout, settings: Settings
    ) -> tuple[Array | np.ndarray, Array | np.ndarray]:
        """Return the positions (x, y) of a frame, [n, 2], and the highest values of their maps, [n]."""
        grid = layout.grid(settings.output)
        first = self.grid(layout, settings)
        if self._at_first is None:
            self._at_first = np.asarray(positions_of(pad_channels(first), size=layout.picture, grid=grid)[1])
        if labels is None:
            return self._points, self._at_first
        return positions_of(labels, size=layout.picture, grid=grid)

    def write(self, out: Path, number: int, result: tuple[Array | np.ndarray, Array | np.ndarray]) -> None:
        """Append a line a point to points.csv."""
        assert self._at_first is not None
        positions, highest = (np.asarray(each)[: len(self.names)] for each in result)
        seen = highest >= _HIDDEN_BELOW * self._at_first[: len(self.names)]
        path = out / "points.csv"
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(["frame", "point", "x", "y", "visible"])
            for name, (x, y), visible in zip(self.names, positions, seen, strict=True):
                writer.writerow([number, name, f"{x:.2f}", f"{y:.2f}", int(visible)])

    def forget(self, out: Path, number: int) -> None:
        """Remove the lines of frame `number` and later ones, and one that was cut short."""
        path = out / "points.csv"
        if number == 0:
            path.unlink(missing_ok=True)
        elif path.exists():
            lines = read_text(path, errors="replace").split("\n")[:-1]  # it may be cut within a letter
            kept = [line for line in lines[1:] if int(line.split(",")[0]) < number]
            write_text(path, "".join(f"{line}\n" for line in lines[:1] + kept))


def carry(
    video: Video,
    labels: Labels[R],
    out: Path,
    encoder: Encoder,
    settings: Settings,
    *,
    on_frame: Callable[[int], object] = lambda number: None,
) -> int:
    """Carry labels from the first frame through a video, from where an earlier call was interrupted.

    Args:
        video: with the labels' frame first; its `shortfall` is known afterwards.
        labels: of the first frame.
        out: folder that gets the results of every frame.
        encoder: gives the features.
        settings: of the propagation.
        on_frame: called with the number of frames done, the first time with those that were done before.

    Returns:
        The number of frames.

    Raises:
        InputError: the video changes its size, or is shorter than before.
    """
    frames = video.frames()
    first = next(frames)
    layout = Layout.of(video.size, settings, encoder)
    state = out / ".state.npz"
    done, leaves = _load(state)
    labels.forget(out, done)
    for skipped in range(1, done):
        if next(frames, None) is None:
            raise InputError(
                f"{video.path}: ends after {skipped} frames, {done} were done before; choose another folder"
            )

    def read() -> Iterator[np.ndarray]:
        yield first
        yield from frames

    features = features_of(encoder, read(), settings, layout, source=str(video))
    memory = start(next(features), pad_channels(labels.grid(layout, settings)), settings, layout)
    waiting: tuple[int, R] | None = None  # written when the next frame is under way
    result = labels.read(None, layout, settings)
    if leaves is None:
        waiting, done = (0, result), 1
    else:
        memory = with_arrays(memory, leaves)
    on_frame(done)
    saved = time.monotonic()
    for number, frame in enumerate(features, start=done):
        soft, memory = step(memory, frame, settings)
        result = labels.read(soft, layout, settings)
        if waiting is not None:
            labels.write(out, *waiting)
        waiting = number, result
        on_frame(number + 1)
        if time.monotonic() - saved >= SAVE_SECONDS:
            labels.write(out, *waiting)
            waiting = None
            _save(state, number + 1, memory)
            saved = time.monotonic()
        done = number + 1
    if waiting is not None:
        labels.write(out, *waiting)
    _save(state, done, memory)  # a run that is killed while it draws has nothing to propagate again
    return done


def _save(path: Path, done: int, memory: Memory) -> None:
    """Save the memory after `done` frames, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(file, done, *map(np.asarray, arrays_of(memory)))
    temporary.replace(path)


def _load(path: Path) -> tuple[int, list[np.ndarray] | None]:
    """Read how many frames are done, and the arrays of the memory after them."""
    if not path.exists():
        return 0, None
    with np.load(path) as file:
        done, *leaves = (file[f"arr_{index}"] for index in range(len(file.files)))
    return int(done), leaves
