"""Padding to shared sizes: it changes no result, and a data set of many sizes compiles few programs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_affinity import assert_propagated, full_video
from full_masks import full_mask

from vfs_jax.correspondence.coordinates import resize_bilinear
from vfs_jax.evaluation.encoders import as_encoder, of_network
from vfs_jax.evaluation.propagation.features import iterate_features, prepare_frame, stack_frames
from vfs_jax.evaluation.propagation.first_masks import first_labels
from vfs_jax.evaluation.propagation.labels import masks_along, propagate_labels
from vfs_jax.evaluation.propagation.padding import Layout, plan_canvases, plan_layouts
from vfs_jax.evaluation.propagation.readout import _axis, _scaled, merge_groups
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.models import ResNet

SETTINGS = Settings(short_side=57, radius=3.0, num_context=2, batch_frames=2)
VIEWS = {
    "circle": {},
    "no window": {"radius": None},
    "all keys": {"topk": None},
    "CRW": {"first_frame_windowed": False, "fill_first": True, "temperature": 0.05},
    "res2": {"output": "res2.1"},
    "bfloat16": {"dtype": "bfloat16"},
}


@pytest.fixture(scope="module")
def trained(variables):
    """Weights whose BatchNorms shift everything, so that whatever leaks in from padding shows."""
    rng = np.random.default_rng(3)

    def shift(path, leaf):
        name = path[-1].key
        if name == "kernel":
            return leaf
        low, high = (0.5, 1.5) if name in ("scale", "var") else (-0.5, 0.5)
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(shift, variables)


def video(frames=4, h=57, w=83):
    """Noise that moves by two pixels a frame, and a first mask that touches the right and the lower edge."""
    rng = np.random.default_rng(1)
    ground = rng.integers(0, 255, (h, w + 2 * frames, 3), dtype=np.uint8)
    mask = np.zeros((h, w), np.uint8)
    mask[30:, 50:], mask[5:20, 10:40] = 1, 2
    return np.stack([ground[:, 2 * t : 2 * t + w] for t in range(frames)]), mask


def padded(layout: Layout) -> Layout:
    """The same video on a larger canvas, by amounts that are no multiple of a cell."""
    canvas = layout.network[0] + 21, layout.network[1] + 13
    shown = layout.picture[0] + 5, layout.picture[1] + 9
    return dataclasses.replace(layout, canvas=canvas, shown=shown, padded=True)


def reference(features, first, settings):
    """Soft labels and slack of unpadded features: the full recurrence."""
    names = (
        "radius",
        "topk",
        "temperature",
        "window",
        "num_context",
        "first_frame_windowed",
        "keep_first",
        "fill_first",
    )
    return full_video(np.stack(features), first, **{name: getattr(settings, name) for name in names})


def features_of(variables, frames, layout, settings):
    prepared = stack_frames((prepare_frame(frame, layout) for frame in frames), settings.batch_frames)
    encoder = as_encoder(variables)
    for each in iterate_features(encoder, prepared, settings, layout):
        yield each[settings.output]


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_padding_changes_nothing(trained, view):
    settings = dataclasses.replace(SETTINGS, **VIEWS[view])
    frames, mask = video()
    layout = Layout.of((57, 83), settings, of_network(ResNet(18), {}))
    rows, cols = layout.grid(settings.output)
    first = np.random.default_rng(0).random((rows, cols, 3), np.float32)
    used = padded(layout)
    found = list(propagate_labels(features_of(trained, frames, used, settings), first, settings, used))
    assert all(np.isfinite(each).all() for each in found)
    labels = np.stack([np.asarray(each)[:rows, :cols, :3] for each in found])
    if view == "bfloat16":  # its rounding takes other keys: padding changes no more than bfloat16 itself
        alone, wide = (
            np.stack(list(propagate_labels(features_of(trained, frames, layout, each), first, each, layout)))[..., :3]
            for each in (settings, SETTINGS)
        )
        assert np.abs(labels - alone).mean() < 2 * np.abs(wide - alone).mean()
        return
    features = list(features_of(trained, frames, layout, settings))
    expected, slack = reference(features, first, settings)
    assert_propagated(labels, expected[1:], slack[1:], tolerance=1e-4)  # features are float32's too
    if settings.topk is not None:
        masks = masks_along(features_of(trained, frames, used, settings), mask, settings, used)
        cut = [np.asarray(each)[:57, :83] for each in masks]
        np.testing.assert_array_equal(cut[0], mask)
        expected, slack = reference(features, first_labels(mask, settings, layout), settings)
        for ours, *each in zip(cut[1:], expected[1:], slack[1:], strict=True):
            expected, clear = full_mask(*each, mask.shape)
            assert clear.mean() > 0.5
            np.testing.assert_array_equal(ours[clear], expected[clear])


@pytest.mark.slow
def test_features_at_every_depth(trained):
    """Equal up to rounding right to the frame's edges, at every block."""
    frames, _ = video(frames=2)
    outputs = tuple(f"res{stage}.{block}" for stage in (2, 3, 4, 5) for block in (0, 1))
    layout = Layout.of((57, 83), SETTINGS, of_network(ResNet(18), {}))
    results = []
    for used in (layout, padded(layout)):
        prepared = stack_frames((prepare_frame(frame, used) for frame in frames), SETTINGS.batch_frames)
        results.append(next(iterate_features(as_encoder(trained), prepared, SETTINGS, used, outputs=outputs)))
    for output in outputs:
        rows, cols = layout.grid(output)
        alone, wide = np.asarray(results[0][output]), np.asarray(results[1][output])
        assert alone.shape[:2] == (rows, cols) < wide.shape[:2]
        norm = np.linalg.norm(alone, axis=-1, keepdims=True)
        np.testing.assert_allclose(wide[:rows, :cols] / norm, alone / norm, atol=1e-5)
        mask = padded(layout).key_mask(output)
        assert mask.shape == wide.shape[:2]
        assert mask[:rows, :cols].all()
        assert mask.sum() == rows * cols
        assert not wide[~mask].any()


def test_no_padded_position_is_a_key():
    """Whatever features the padding has, here those of the frame's left part."""
    rng = np.random.default_rng(2)
    layout = Layout.of((57, 83), SETTINGS, of_network(ResNet(18), {}))
    rows, cols = layout.grid("res4")
    features = rng.standard_normal((4, rows, cols, 8)).astype(np.float32)
    first = rng.random((rows, cols, 3), np.float32)
    expected, slack = reference(features, first, SETTINGS)
    wide = np.pad(features, ((0, 0), (0, 2), (0, 1), (0, 0)), mode="wrap")
    for labels, *each in zip(
        propagate_labels(wide, first, SETTINGS, padded(layout)), expected[1:], slack[1:], strict=True
    ):
        assert_propagated(labels[:rows, :cols, :3], *each)


def test_output_is_scaled_over_the_frame_alone():
    """Huge values in the padding change no pixel; the enlargement is that of resize_bilinear, bit for bit."""
    rng = np.random.default_rng(0)
    labels = rng.random((5, 7, 3), np.float32)
    layout = Layout((33, 50), (40, 56), (56, 72), (40, 64), of_network(ResNet(18), {}), padded=True)
    alone = Layout((33, 50), (40, 56), (40, 56), (33, 50), of_network(ResNet(18), {}))
    canvas = np.full((7, 9, 3), 1e6, np.float32)
    canvas[:5, :7] = labels
    found = np.asarray(merge_groups([jnp.asarray(canvas)], [(0, 1, 2)], layout, SETTINGS))
    assert found.shape == (40, 64)
    expected = merge_groups([jnp.asarray(labels)], [(0, 1, 2)], alone, SETTINGS)
    np.testing.assert_array_equal(found[:33, :50], expected)

    spread = np.asarray(_scaled(jnp.asarray(labels), _axis(5, 33, 33), _axis(7, 50, 50)))
    large = np.asarray(resize_bilinear(labels, (33, 50)))
    low, high = large.min((0, 1), keepdims=True), large.max((0, 1), keepdims=True)
    # Some ten roundings of numbers in 0..1.
    np.testing.assert_allclose(spread, (large - low) / (high - low), rtol=0, atol=1e-6)


def test_few_canvases():
    sizes = {(480, width): 10 for width in (640, 654, 720, 853, 854, 910)} | {(853, 480): 50}
    assert plan_canvases(sizes, 7) == {size: size for size in sizes}
    found = plan_canvases(sizes, 3)
    assert len(set(found.values())) == 3
    assert all(size[0] <= canvas[0] and size[1] <= canvas[1] for size, canvas in found.items())
    assert found[(853, 480)] == (853, 480)  # no landscape size fits it cheaply
    layouts = plan_layouts(sizes, Settings(), of_network(ResNet(18), {}), max_sizes=3)
    assert not layouts[(853, 480)].padded
    assert layouts[(480, 854)].padded
    assert layouts[(480, 854)].canvas == layouts[(480, 853)].canvas


def test_strides_of_the_network(variables):
    """grid_size is the size of what the network gives, for odd sizes too."""
    images = jnp.zeros((1, 57, 83, 3), jnp.float32)
    network = ResNet(18, strides=(1, 2, 1, 1), outputs=("res2", "res3.0", "res4", "res5.1"))
    shapes = jax.eval_shape(lambda: network.apply(variables, images))
    for output, features in shapes.items():
        assert features.shape[1:3] == Layout.of((57, 83), Settings(short_side=57), of_network(ResNet(18), {})).grid(
            output
        )
