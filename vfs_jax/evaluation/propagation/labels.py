"""Propagate a first frame's labels through a whole video, as VFS evaluates its features: masks and maps."""

from collections.abc import Iterable, Iterator, Mapping

import jax.numpy as jnp
import numpy as np
from beartype import beartype
from jaxtyping import Array, Float, UInt8, jaxtyped

from vfs_jax.correspondence import Memory, propagate_next, start_memory
from vfs_jax.correspondence.coordinates import resize_bilinear
from vfs_jax.evaluation.encoders import Encoder
from vfs_jax.evaluation.propagation.features import features_of
from vfs_jax.evaluation.propagation.first_masks import first_labels, network_mask, number_labels
from vfs_jax.evaluation.propagation.frames import resize_maps
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.readout import merge_groups
from vfs_jax.evaluation.propagation.settings import Settings

_RELEASE = Settings()


def start(features: Array, labels: np.ndarray, settings: Settings, layout: Layout) -> Memory:
    """Start a propagation at a frame with these features and labels [rows, cols, l]."""
    return start_memory(
        features,
        layout.pad_labels(labels, settings.output),
        num_context=settings.num_context,
        radius=settings.radius,
        window=settings.window,
        first_frame_windowed=settings.first_frame_windowed,
        keep_first=settings.keep_first,
        fill_first=settings.fill_first,
        first_once=settings.first_once,
        key_mask=layout.key_mask(settings.output),
    )


def step(memory: Memory, features: Array, settings: Settings) -> tuple[Array, Memory]:
    """Propagate to the next frame: its soft labels, and the memory that holds it."""
    return propagate_next(memory, features, topk=settings.topk, temperature=settings.temperature, ties=settings.ties)


def propagate_labels(
    features: Iterable[Array], labels: np.ndarray, settings: Settings, layout: Layout
) -> Iterator[Array]:
    """Propagate the labels of the first frame, one frame at a time, with a memory of fixed size.

    Args:
        features: a frame each, in time order, as `iterate_features` gives them.
        labels: of the first frame, float [rows, cols, l].
        settings: of the propagation.
        layout: of the video.

    Yields:
        The soft labels of every frame but the first, float32, on the device; they may have more rows, columns and
        channels than the first ones (`Layout.padded`, `pad_channels`), which mean nothing.
    """
    iterator = iter(features)
    memory = start(next(iterator), pad_channels(labels), settings, layout)
    for frame in iterator:
        predicted, memory = step(memory, frame, settings)
        yield predicted


def pad_channels(labels: np.ndarray) -> np.ndarray:
    """Add channels of zeros up to 4, 8, 16 ..., so that videos with other numbers of objects share compiled programs.

    No channel changes another one: propagation, min-max and argmax (zeros never win) are as without them.
    """
    channels = 4
    while channels < labels.shape[-1]:
        channels *= 2
    return np.pad(labels, ((0, 0), (0, 0), (0, channels - labels.shape[-1]))).astype(np.float32)


def masks_along(
    features: Iterable[Array],
    first_mask: np.ndarray,
    settings: Settings,
    layout: Layout,
    *,
    new_masks: Mapping[int, np.ndarray] | None = None,
) -> Iterator[Array | np.ndarray]:
    """Propagate the first frame's mask along features, as the release does on DAVIS.

    Objects may enter later. Those of one frame are propagated together, from their own frame on, which is kept for them
    as frame 0 is for the first ones; `merge_groups` says how they are joined.

    Args:
        features: a frame each, in time order, as `iterate_features` gives them.
        first_mask: index mask of the first frame, uint8 [h, w], 0 for background.
        settings: of the propagation.
        layout: of the video.
        new_masks: index masks of later frames, by frame number; labels that were there before are not read again.

    Yields:
        An index mask a frame, the first included, uint8 of the size `layout.shown` (what is outside of `layout.picture`
        means nothing); on the device, so that computing goes on while an earlier one is written. The first is what
        `first_output` gives.
    """
    new_masks = {0: first_mask, **(new_masks or {})}
    known: set[int] = set()
    groups: list[tuple[Memory, tuple[int, ...]]] = []
    for number, frame in enumerate(features):
        maps = []
        for index, (memory, labels) in enumerate(groups):
            predicted, memory = step(memory, frame, settings)
            groups[index] = memory, labels
            maps.append(predicted)
        mask: Array | np.ndarray = np.zeros(layout.shown, np.uint8)
        if groups:
            mask = merge_groups(maps, [labels for _, labels in groups], layout, settings)
            mask.copy_to_host_async()
        if number in new_masks:
            entering = np.where(np.isin(new_masks[number], list(known)), np.uint8(0), new_masks[number])
            numbered, labels = number_labels(entering, by_color=settings.soft_first)
            known |= set(labels)
            grid = first_labels(numbered, settings, layout)
            mask = np.array(mask)
            there = mask[: layout.picture[0], : layout.picture[1]]
            if number == 0:
                there[...] = first_output(entering, grid, labels, settings, layout)
            else:
                shown = entering if settings.first_output == "given" else network_mask(entering, settings, layout)
                there[...] = np.where(shown > 0, shown, there)
            if number == 0 or grid.shape[-1] > 1:
                groups.append((start(frame, pad_channels(grid), settings, layout), labels))
        yield mask


def first_output(
    mask: np.ndarray, grid: np.ndarray, labels: tuple[int, ...], settings: Settings, layout: Layout
) -> np.ndarray:
    """Return the mask that is given out for the first frame, uint8 [h, w].

    Args:
        mask: index mask of the first frame, uint8 [h, w].
        grid: its labels on the grid, as `first_labels` gives them.
        labels: of their channels.
        settings: of the propagation.
        layout: of the video.
    """
    if settings.first_output == "given":
        return mask
    if settings.first_output == "network":
        return network_mask(mask, settings, layout)
    padded = layout.pad_labels(pad_channels(grid), settings.output)
    whole = np.asarray(merge_groups([jnp.asarray(padded)], [labels], layout, settings))
    return whole[: layout.picture[0], : layout.picture[1]]


@jaxtyped(typechecker=beartype)
def propagate_masks(
    encoder: Encoder,
    frames: Iterable[np.ndarray],
    first_mask: UInt8[np.ndarray, "h w"],
    settings: Settings = _RELEASE,
    *,
    new_masks: Mapping[int, np.ndarray] | None = None,
) -> Iterator[Array | np.ndarray]:
    """Propagate the first frame's mask through a video: features, then `masks_along`.

    Args:
        encoder: gives the features that the settings name.
        frames: RGB uint8 [h, w, 3] each, in time order, of the mask's size.
        first_mask: index mask of the first frame, uint8 [h, w], 0 for background.
        settings: of the propagation.
        new_masks: index masks of later frames, by frame number.

    Yields:
        An index mask a frame, the first included, uint8 [h, w], on the device.
    """
    layout = Layout.of((first_mask.shape[0], first_mask.shape[1]), settings, encoder)
    features = features_of(encoder, frames, settings, layout)
    yield from masks_along(features, first_mask, settings, layout, new_masks=new_masks)


def first_maps_on_grid(maps: np.ndarray, settings: Settings, layout: Layout) -> np.ndarray:
    """Bring maps of the first frame, float [h, w, l], to the network's size and then to the grid, both bilinear."""
    return np.asarray(resize_bilinear(resize_maps(maps, layout.network), layout.grid(settings.output)))


@jaxtyped(typechecker=beartype)
def propagate_maps(
    encoder: Encoder,
    frames: Iterable[np.ndarray],
    first_maps: Float[np.ndarray, "h w l"],
    settings: Settings = _RELEASE,
) -> Iterator[Array]:
    """Propagate soft maps, of joints for instance: no min-max, no argmax.

    Args:
        encoder: gives the features that the settings name.
        frames: RGB uint8 [h, w, 3] each, in time order, of the maps' size.
        first_maps: of the first frame, float [h, w, l].
        settings: of the propagation.

    Yields:
        The soft labels of every frame but the first, on the grid: float32 [rows, cols, l], on the device.
        `resize_bilinear` brings them to the frame's size.
    """
    layout = Layout.of((first_maps.shape[0], first_maps.shape[1]), settings, encoder)
    features = features_of(encoder, frames, settings, layout)
    grid = first_maps_on_grid(first_maps, settings, layout)
    for labels in propagate_labels(features, grid, settings, layout):
        yield labels[..., : grid.shape[-1]]
