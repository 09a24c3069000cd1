"""Propagate labels through a video as its frames come."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from vfs_jax.correspondence.coordinates import resize_bilinear
from vfs_jax.data.mask_datasets import check_objects
from vfs_jax.evaluation.encoders import AnyEncoder, as_encoder
from vfs_jax.evaluation.propagation.frames import resize_maps
from vfs_jax.evaluation.propagation.labels import propagate_maps, propagate_masks
from vfs_jax.evaluation.propagation.padding import network_size
from vfs_jax.evaluation.protocols import settings_of


def stream(
    frames: Iterable[np.ndarray],
    first_labels: np.ndarray,
    encoder: AnyEncoder,
    *,
    new_labels: Mapping[int, np.ndarray] | None = None,
    protocol: str = "vfs",
    **settings: Any,
) -> Iterator[np.ndarray]:
    """Propagate labels through a video of any length as its frames come, with constant memory.

    Args:
        frames: RGB uint8 [h, w, 3] each, in time order; a list, a generator, a camera.
        first_labels: of the first frame: an index mask uint8 [h, w], or maps, float [h, w, l].
        encoder: a function RGB uint8 [b, h, w, 3] -> features [b, rows, columns, c] of any framework, or a network with
            its variables as `vfs_jax.models.load_weights` gives them, or a ResNet's variables.
        new_labels: index masks uint8 [h, w] of later frames, by frame number, for objects that enter there. With index
            masks only.
        protocol: that decides all that no setting does: "vfs", "dino", ..., see `vfs_jax.evaluation.protocols`.
        **settings: fields of `Settings`: radius, topk, short_side, ...

    Yields:
        Labels of every frame, of the kind of first_labels: uint8 [h, w], or float32 [h, w, l]. Those of the first are
        the given ones, brought to the network's size and back where the protocol does so.

    Raises:
        ValueError: new_labels come with maps.
        TypeError: an unknown setting.
        InputError: an unknown protocol, or an encoder whose patches do not divide its frames.

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
    options = settings_of(protocol, "video", network, **settings)
    if first_labels.dtype == np.uint8:
        check_objects(first_labels, "first_labels")
        for mask in propagate_masks(network, frames, first_labels, options, new_masks=new_labels):
            yield np.asarray(mask)
        return
    if new_labels:
        raise ValueError("new_labels come with index masks only, first_labels holds maps")
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        return
    inner = network_size(first_labels.shape[0], first_labels.shape[1], options, network.multiple)
    yield np.asarray(resize_bilinear(resize_maps(first_labels, inner), first_labels.shape[:2]))
    for labels in propagate_maps(network, itertools.chain([first], iterator), first_labels, options):
        yield np.asarray(resize_bilinear(labels, first_labels.shape[:2]))
