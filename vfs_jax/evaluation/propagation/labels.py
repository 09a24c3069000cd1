"""Propagate a first frame's labels through a whole video, as VFS evaluates its features: masks, maps, streams."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from beartype import beartype
from jaxtyping import Array, Float, UInt8, jaxtyped

from vfs_jax.correspondence import Memory, propagate_next, start_memory
from vfs_jax.correspondence.coordinates import resize_bilinear, resize_nearest
from vfs_jax.data.mask_datasets import check_objects
from vfs_jax.evaluation.encoders import AnyEncoder, Encoder, as_encoder
from vfs_jax.evaluation.propagation.features import features_of
from vfs_jax.evaluation.propagation.padding import Layout, network_size
from vfs_jax.evaluation.propagation.readout import first_labels, merge_groups, number_labels, resize_maps
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
        means nothing); on the device, so that computing goes on while an earlier one is written. The first is the given
        mask, brought to the network's size and back where that differs.
    """
    output = settings.output
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
            mask = merge_groups(maps, [labels for _, labels in groups], layout, output)
        if number in new_masks:
            entering = np.where(np.isin(new_masks[number], list(known)), np.uint8(0), new_masks[number])
            numbered, labels = number_labels(entering)
            known |= set(labels)
            small = np.asarray(resize_nearest(entering, layout.network))
            back = np.asarray(resize_nearest(small, layout.picture, rule="torch"))
            mask = np.array(mask)
            there = mask[: back.shape[0], : back.shape[1]]
            there[...] = back if number == 0 else np.where(back > 0, back, there)
            grid = first_labels(np.asarray(resize_nearest(numbered, layout.network)), layout.grid(output))
            if number == 0 or grid.shape[-1] > 1:
                groups.append((start(frame, pad_channels(grid), settings, layout), labels))
        yield mask


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


def stream(
    frames: Iterable[np.ndarray],
    first_labels: np.ndarray,
    encoder: AnyEncoder,
    *,
    new_labels: Mapping[int, np.ndarray] | None = None,
    **settings: Any,
) -> Iterator[np.ndarray]:
    """Propagate labels through a video of any length as its frames come, with constant memory.

    Args:
        frames: RGB uint8 [h, w, 3] each, in time order; a list, a generator, a camera.
        first_labels: of the first frame: an index mask uint8 [h, w], or maps, float [h, w, l].
        encoder: a function RGB uint8 [b, h, w, 3] -> features [b, rows, columns, c] of any framework, or the variables
            of a ResNet, as `vfs_jax.models.load_torch` gives them.
        new_labels: index masks uint8 [h, w] of later frames, by frame number, for objects that enter there. With index
            masks only.
        **settings: fields of `Settings`: radius, topk, short_side, ...

    Yields:
        Labels of every frame, of the kind of first_labels: uint8 [h, w], or float32 [h, w, l]. Those of the first are
        the given ones, brought to the network's size and back where that differs.

    Raises:
        ValueError: new_labels come with maps.
        TypeError: an unknown setting.

    Example:
        >>> from vfs_jax.models import backbone_of, init_variables
        >>> variables = backbone_of(init_variables(seed=0, depth=18))  # or those of load_torch("vfs_r18.pth")
        >>> frames = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), np.uint8)
        >>> mask = np.zeros((48, 64), np.uint8)
        >>> mask[16:32, 16:40] = 1
        >>> masks = list(stream(frames, mask, variables, short_side=48, radius=3.0))
        >>> len(masks), masks[2].shape, masks[2].dtype
        (3, (48, 64), dtype('uint8'))
    """
    network = as_encoder(encoder)
    options = Settings(**{"output": network.default_output, **settings})
    if first_labels.dtype == np.uint8:
        check_objects(first_labels, "first_labels")
        for mask in propagate_masks(network, frames, first_labels, options, new_masks=new_labels):
            yield np.asarray(mask)
        return
    if new_labels:
        raise ValueError("new_labels come with index masks only, first_labels holds maps")
    inner = network_size(first_labels.shape[0], first_labels.shape[1], options, network.multiple)
    yield np.asarray(resize_bilinear(resize_maps(first_labels, inner), first_labels.shape[:2]))
    for labels in propagate_maps(network, frames, first_labels, options):
        yield np.asarray(resize_bilinear(labels, first_labels.shape[:2]))
