"""Feature maps of one frame after the other, encoded a few frames at a time and kept on the device."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import Encoder
from vfs_jax.evaluation.propagation.frames import resize_frame
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import Settings


class FrameBatch(NamedTuple):
    """Frames of one video, ready to be encoded.

    Attributes:
        frames: RGB [b, h, w, 3] of the canvas's size; those beyond the numbers repeat the last one.
        numbers: of the frames in their sequence, b at most.
    """

    frames: np.ndarray
    numbers: Sequence[int]


def prepare_frame(frame: np.ndarray, layout: Layout) -> np.ndarray:
    """Bring a frame to the size that is encoded, and pad it to its canvas: RGB uint8 [h, w, 3], or float32 0..255."""
    return layout.pad_frame(resize_frame(frame, layout.network, layout.resize))


def stack_frames(
    frames: Iterable[np.ndarray], batch_frames: int, numbers: Iterable[int] | None = None
) -> Iterator[FrameBatch]:
    """Stack frames as `prepare_frame` gives them; numbers are 0, 1, 2 ... where None."""
    iterator = zip(itertools.count() if numbers is None else numbers, frames, strict=False)
    for first, frame in iterator:
        stacked, of_batch = np.empty((batch_frames, *frame.shape), frame.dtype), [first]
        stacked[0] = frame  # as it comes: its owner may lay the next one where it was
        for number, following in itertools.islice(iterator, batch_frames - 1):
            stacked[len(of_batch)] = following
            of_batch.append(number)
        stacked[len(of_batch) :] = stacked[len(of_batch) - 1]
        yield FrameBatch(stacked, of_batch)


def iterate_features(
    encoder: Encoder,
    batches: Iterable[FrameBatch],
    settings: Settings,
    layout: Layout,
    *,
    outputs: Sequence[str] = (),
    source: str = "the video",
) -> Iterator[dict[str, Array]]:
    """Encode frames, a batch at a time, and give their features one after the other, left on the device.

    Args:
        encoder: of the frames' sequence.
        batches: of batch_frames frames each, in time order; the last one is filled up, so that a size compiles once.
        settings: dtype, precision and output.
        layout: of the video.
        outputs: feature maps that are wanted, by name; that of the settings where empty.
        source: of the frames, for the error.

    Yields:
        {output: [rows, cols, c]} a frame; what lies beyond the frame on a padded canvas is 0.

    Raises:
        InputError: features are NaN or infinite; before the next batch is given, so that no device waits to be asked.
    """
    names = tuple(outputs) or (settings.output,)
    size, colors = layout.network if layout.padded else None, (settings.mean, settings.std)
    unchecked: tuple[Sequence[int], Array] | None = None
    for frames, numbers in batches:
        filled = [*numbers, *[numbers[-1]] * (len(frames) - len(numbers))]
        features = encoder(
            frames,
            filled,
            outputs=names,
            dtype=settings.dtype,
            precision=settings.precision,
            colors=colors,
            size=size,
        )
        encoded, finite = _unstack(features)
        finite.copy_to_host_async()
        if unchecked:
            _refuse_gaps(*unchecked, source)
        unchecked = filled, finite
        yield from encoded[: len(numbers)]
    if unchecked:
        _refuse_gaps(*unchecked, source)


def _refuse_gaps(numbers: Sequence[int], finite: Array, source: str) -> None:
    wrong = [number for number, fine in zip(numbers, np.asarray(finite), strict=True) if not fine]
    if wrong:
        raise InputError(
            f"{source}: the features of frame {wrong[0]} hold NaN or infinity; check the encoder, its weights and dtype"
        )


def features_of(
    encoder: Encoder,
    frames: Iterable[np.ndarray],
    settings: Settings,
    layout: Layout,
    *,
    numbers: Iterable[int] | None = None,
    source: str = "the video",
) -> Iterator[Array]:
    """Encode frames as they are, RGB uint8 [h, w, 3] of the layout's picture: features [rows, cols, c] each.

    Args:
        encoder: of the frames' sequence.
        frames: in time order.
        settings: batch_frames, dtype, precision and output.
        layout: of the video.
        numbers: of the frames in their sequence; 0, 1, 2 ... where None.
        source: of the frames, for the error.
    """
    prepared = (prepare_frame(frame, layout) for frame in frames)
    batches = stack_frames(prepared, settings.batch_frames, numbers)
    encoded = iterate_features(encoder, batches, settings, layout, source=source)
    return (each[settings.output] for each in encoded)


@jax.jit
def _unstack(features: dict[str, Array]) -> tuple[list[dict[str, Array]], Array]:
    """Split a batch into single frames, and tell of each whether it is finite, in one program."""
    count = len(next(iter(features.values())))
    finite = [jnp.isfinite(array).all(axis=tuple(range(1, array.ndim))) for array in features.values()]
    frames = [{name: array[index] for name, array in features.items()} for index in range(count)]
    return frames, jnp.stack(finite).all(axis=0)
