"""Key frames that share a window, which of their positions are keys, and the order in which their matches count."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vfs_jax.correspondence.affinity import Window, accumulation_dtype, window_offsets
from vfs_jax.correspondence.arguments import Number
from vfs_jax.correspondence.backends import Implementation, check_implementation, implementations
from vfs_jax.correspondence.tiles import FeatureMaps, feature_maps


@dataclasses.dataclass(frozen=True)
class SearchSpec:
    """Which keys a query position may match, whether scores are cosines, and what finds the matches.

    Attributes:
        radius: of the window in grid cells; None for no window.
        window: "circle" (Euclidean distance < radius) or "square" (both row and column distance <= radius).
        first_frame_windowed: False frees the first key frame from the window.
        normalize: divide every feature vector by max(its Euclidean norm, 1e-12) first.
        implementation: what finds the matches; None for the best on the platform.
    """

    radius: Number | None
    window: Window
    first_frame_windowed: bool
    normalize: bool
    implementation: Implementation | None

    def __post_init__(self) -> None:
        window_offsets(self.radius, self.window, 1, 1)
        check_implementation(self.implementation, self.radius)

    @property
    def first_frame_free(self) -> bool:
        """Whether the first key frame has another window than the rest."""
        return not self.first_frame_windowed and self.radius is not None

    def feature_maps(self, features: jax.Array, mask: jax.Array | None = None) -> FeatureMaps:
        """Make features [t, h, w, c] ready to be compared, as `tiles.feature_maps` and for the kernel if it is used."""
        return self.lay_out(feature_maps(features, normalize=self.normalize, mask=mask))

    def lay_out(self, maps: FeatureMaps) -> FeatureMaps:
        """Lay feature maps out for the kernel too, if it is used."""
        if (self.implementation or implementations()[0]) != "hopper" or self.radius is None:
            return maps
        # Imported where it is used, since it takes a third of a second that only GPUs repay.
        from vfs_jax.correspondence import hopper

        offsets = window_offsets(self.radius, self.window, *maps.values.shape[1:3])
        if not len(offsets) or not hopper.fits(maps.values.dtype, offsets):
            return maps
        return maps._replace(kernel=hopper.prepare(maps.values, offsets))


class KeyGroup(NamedTuple):
    """Key frames that share a window.

    Attributes:
        frames: t frames in one or several pieces, so that a frame can be handed on without copying it.
        radius: of the window in grid cells; None for none.
        order: int [t], where the frames are stored, in order of time; None where that is the order of storage.
        valid: bool [t] in order of storage, False for frames that are no keys; None where all are.
        mask: bool [h, w], False for positions that are keys in no frame; None where all are. It costs less than a mask
            for each frame, which its feature maps hold.
    """

    frames: tuple[FeatureMaps, ...]
    radius: Number | None
    order: jax.Array | None = None
    valid: jax.Array | None = None
    mask: jax.Array | None = None

    @property
    def num_frames(self) -> int:
        """The number of frames."""
        return sum(len(piece.values) for piece in self.frames)


def group_frames(keys: jax.Array, spec: SearchSpec, valid: jax.Array | None, mask: jax.Array | None) -> list[KeyGroup]:
    """Sort key frames [t, h, w, c] into groups that share a window; valid: [t], mask: [h, w] or [t, h, w]."""
    shared, own = (mask, None) if mask is None or mask.ndim == 2 else (None, mask)
    maps = spec.feature_maps(keys, own)

    def group(frames: slice, radius: Number | None) -> KeyGroup:
        piece = jax.tree.map(lambda array: array[frames], maps)
        return KeyGroup((piece,), radius, valid=None if valid is None else valid[frames], mask=shared)

    if not spec.first_frame_free:
        return [group(slice(None), spec.radius)]
    rest = [group(slice(1, None), spec.radius)] if len(keys) > 1 else []
    return [group(slice(1), None), *rest]


def windows(query: FeatureMaps, groups: list[KeyGroup], window: Window) -> Iterator[tuple[KeyGroup, np.ndarray, int]]:
    """Give each group whose window is not empty, the offsets in it, and the number of frames before the group."""
    before = 0
    for keys in groups:
        offsets = window_offsets(keys.radius, window, *query.values.shape[1:3])
        if len(offsets):
            yield keys, offsets, before
        before += keys.num_frames


def scale_and_bias(keys: KeyGroup) -> tuple[jax.Array, jax.Array]:
    """Give what the scores of a key are multiplied with, and what is then added: -inf where there is no key.

    Returns:
        Two arrays [t, h, w] in order of storage, float32, or float64 for such features.
    """
    scales, masks = [], []
    for piece in keys.frames:
        dtype = accumulation_dtype(piece.values)
        scales.append(jnp.ones(piece.values.shape[:3], dtype) if piece.scales is None else piece.scales)
        masks.append(jnp.ones(piece.values.shape[:3], bool) if piece.mask is None else piece.mask)
    allowed = jnp.concatenate(masks)
    if keys.valid is not None:
        allowed &= keys.valid[:, None, None]
    if keys.mask is not None:
        allowed &= keys.mask[None]
    return jnp.concatenate(scales), jnp.where(allowed, 0, -jnp.inf).astype(dtype)


def in_time(scores: jax.Array, keys: KeyGroup, in_bounds: jax.Array) -> jax.Array:
    """Bring scores [t, q, o] into order of time, [q, t, o], -inf where no key is; in_bounds: bool [q, o]."""
    allowed = in_bounds[None] if keys.valid is None else in_bounds[None] & keys.valid[:, None, None]
    scores = jnp.where(allowed, scores, -jnp.inf)
    return (scores if keys.order is None else scores[keys.order]).swapaxes(0, 1)


def matches_among(candidates: jax.Array, position: jax.Array, keys: KeyGroup, topk: int) -> tuple[jax.Array, jax.Array]:
    """Find the topk matches among candidates [q, t, o], in order of time, that lie at position [q, o].

    Returns:
        Scores [q, k], falling, -inf for missing ones, and index [q, k]: frame, as stored, * h * w + position.
    """
    queries, frames, offsets = candidates.shape
    scores, chosen = jax.lax.top_k(candidates.reshape(queries, frames * offsets), min(topk, frames * offsets))
    frame = chosen // offsets if keys.order is None else keys.order[chosen // offsets]
    size = keys.frames[0].values.shape[1] * keys.frames[0].values.shape[2]
    return scores, frame * size + jnp.clip(jnp.take_along_axis(position, chosen % offsets, axis=1), 0, size - 1)
