"""Feature maps of one frame after the other, encoded a few frames at a time and kept on the device."""

import itertools
from collections.abc import Iterable, Iterator

import jax
import numpy as np
from jaxtyping import Array

from vfs_jax.evaluation.encoders import ResNetEncoder
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.readout import resize_frame
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.models.resnet import Variables


def encoder_of(variables: Variables, settings: Settings) -> ResNetEncoder:
    """Make the encoder that gives the features of some settings, with the weights of a ResNet."""
    return ResNetEncoder(variables, (settings.output,), settings.dtype)


def prepare_frame(frame: np.ndarray, layout: Layout) -> np.ndarray:
    """Bring a frame to the size that is encoded, and pad it to its canvas: RGB uint8 [h, w, 3]."""
    return layout.pad_frame(resize_frame(frame, layout.network))


def iterate_features(
    encoder: ResNetEncoder, frames: Iterable[np.ndarray], layout: Layout, *, batch_frames: int
) -> Iterator[dict[str, Array]]:
    """Encode frames, a batch at a time, and give their features one after the other, left on the device.

    Args:
        encoder: called with RGB uint8 [batch_frames, h, w, 3].
        frames: as `prepare_frame` gives them, in time order.
        layout: of the video.
        batch_frames: frames a call; the last batch is filled up, so that a size compiles once.

    Yields:
        {output: [rows, cols, c]} a frame; what lies beyond the frame on a padded canvas is 0.
    """
    iterator = iter(frames)
    while batch := list(itertools.islice(iterator, batch_frames)):
        filled = np.stack(batch + [batch[-1]] * (batch_frames - len(batch)))
        frames_of = _unstack(encoder(filled, layout.network if layout.padded else None))
        yield from frames_of[: len(batch)]


@jax.jit
def _unstack(features: dict[str, Array]) -> list[dict[str, Array]]:
    """Split a batch into single frames, in one program."""
    count = len(next(iter(features.values())))
    return [{name: array[index] for name, array in features.items()} for index in range(count)]
