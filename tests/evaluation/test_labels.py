"""Masks through a video: the official numbers, and a second computation that holds all frames at once."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from full_affinity import full_video
from full_masks import full_mask
from PIL import Image
from small import layout_on

from vfs_jax.data.images import read_frame
from vfs_jax.data.mask_datasets import open_davis
from vfs_jax.evaluation import stream
from vfs_jax.evaluation.encoders import as_encoder, of_network
from vfs_jax.evaluation.propagation.features import iterate_features, stack_frames
from vfs_jax.evaluation.propagation.first_masks import first_labels
from vfs_jax.evaluation.propagation.frames import resize_frame
from vfs_jax.evaluation.propagation.labels import pad_channels, propagate_masks
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.readout import merge_groups
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.runs.own_video import Masks
from vfs_jax.models import ResNet


def video(frames=6, h=64, w=96):
    """A textured square on a textured ground, two pixels to the right and one down a frame, and its masks."""
    rng = np.random.default_rng(1)
    ground = rng.integers(0, 120, (h, w, 3), dtype=np.uint8)
    square = rng.integers(130, 255, (24, 32, 3), dtype=np.uint8)
    images, masks = np.repeat(ground[None], frames, 0), np.zeros((frames, h, w), np.uint8)
    for t in range(frames):
        images[t, 10 + t : 34 + t, 20 + 2 * t : 52 + 2 * t] = square
        masks[t, 10 + t : 34 + t, 20 + 2 * t : 52 + 2 * t] = 1
        masks[t, 10 + t : 34 + t, 36 + 2 * t : 52 + 2 * t] = 2
    return images, masks


@pytest.mark.slow
@pytest.mark.parametrize("short_side", [64, 48])
def test_equal_to_the_whole_video_at_once(variables, short_side):
    images, masks = video()
    settings = Settings(short_side=short_side, radius=4.0, num_context=2, batch_frames=4)
    found = [np.asarray(mask) for mask in propagate_masks(as_encoder(variables), images, masks[0], settings)]

    inner = {64: (64, 96), 48: (48, 72)}[short_side]
    small = np.array(Image.fromarray(masks[0]).resize(inner[::-1], Image.Resampling.NEAREST))
    resized = np.stack([resize_frame(image, inner) for image in images])
    encoded = [
        as_encoder(variables)(image[None], [0], outputs=("res4",), dtype="float32", precision="float32")
        for image in resized
    ]
    features = np.concatenate([each["res4"] for each in encoded])
    grid = np.array(Image.fromarray(small).resize(features.shape[2:0:-1], Image.Resampling.NEAREST))
    soft, slack = full_video(features, np.eye(3)[grid], radius=4.0, num_context=2)
    for mask, *labels in zip(found[1:], soft[1:], slack[1:], strict=True):
        expected, clear = full_mask(*labels, mask.shape)
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(mask[clear], expected[clear])
    assert {0, 1, 2} == set(np.unique(found[-1]))
    if short_side == 64:
        np.testing.assert_array_equal(found[0], masks[0])
    else:  # there and back: floor((i + .5) * scale) into the network's size, floor(i * scale) out of it
        rows, cols = np.arange(64) * 48 // 64, np.arange(96) * 72 // 96
        np.testing.assert_array_equal(found[0], small[np.ix_(rows, cols)])


def test_frames_of_a_filled_batch_do_not_matter(variables):
    images, masks = video(frames=6)  # a whole batch of four, and two frames of the next
    settings = Settings(short_side=64, radius=4.0, num_context=2, batch_frames=4)
    five = list(propagate_masks(as_encoder(variables), images[:5], masks[0], settings))
    six = list(propagate_masks(as_encoder(variables), images, masks[0], settings))
    assert (len(five), len(six)) == (5, 6)
    for a, b in zip(five, six, strict=False):
        np.testing.assert_array_equal(a, b)


def test_frames_are_read_as_they_are_needed(variables):
    images, masks = video(frames=2)
    endless = itertools.cycle(images)
    settings = Settings(short_side=64, radius=4.0, num_context=2, batch_frames=4)
    assert len(list(itertools.islice(propagate_masks(as_encoder(variables), endless, masks[0], settings), 7))) == 7


def test_features_are_on_the_grid(variables):
    images, _ = video(frames=1, h=61, w=75)
    settings = Settings(short_side=61, batch_frames=1)
    layout = Layout.of((61, 75), settings, of_network(ResNet(18), {}))
    batches = stack_frames(images, settings.batch_frames)
    (features,) = iterate_features(as_encoder(variables), batches, settings, layout, outputs=("res2", "res4"))
    assert features["res4"].shape == (*layout.grid("res4"), 256) == (8, 10, 256)
    assert features["res2"].shape == (*layout.grid("res2"), 64) == (16, 19, 64)


def test_official_first_labels(oracles, inputs):
    expected = np.load(oracles / "label_propagation.npz")
    found = first_labels(inputs.video_first_mask(), Settings(), layout_on((12, 20), (96, 160)))
    np.testing.assert_array_equal(found.argmax(-1), expected["video.first_shrunk"])
    for key in (key for key in expected.files if key.startswith("nearest.")):
        size, grid = (tuple(map(int, part.split("x"))) for part in key.split(".")[1:])
        labels = first_labels(inputs.nearest_map(*size), Settings(), layout_on(grid, size))
        np.testing.assert_array_equal(labels.argmax(-1), expected[key])


@pytest.mark.parametrize("name", ["r5", "r5_first_free", "r5_no_first", "nowindow", "r5_context3"])
def test_official_masks(oracles, name):
    expected = np.load(oracles / "label_propagation.npz")
    layout = Layout.of((96, 160), Settings(short_side=96), of_network(ResNet(18), {}))
    softs = expected[f"video.{name}.soft"]
    found = [merge_groups([jnp.asarray(soft)], [tuple(range(soft.shape[-1]))], layout, Settings()) for soft in softs]
    np.testing.assert_array_equal(found, expected[f"video.{name}.pred"][1:])


def test_highest_label_that_is_lost_has_no_channel():
    # Quirk: label 3 covers one pixel that the grid skips, so there are channels 0..2 only.
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 2
    mask[0, 0] = 3
    labels = first_labels(mask, Settings(), layout_on((2, 2), (16, 16)))
    assert labels.shape == (2, 2, 3)
    assert labels[..., 1].sum() == 0


def test_labels_cost_what_occurs(variables, monkeypatch):
    """Labels {3, 200, 255} go as {1, 2, 3} do, in as many channels; the highest, lost in shrinking, has none."""
    images, masks = video(frames=4)
    masks[0][0, 0] = 3  # one pixel that the grid skips
    settings = Settings(short_side=64, radius=4.0, num_context=2)
    shapes = []
    target = "vfs_jax.evaluation.propagation.labels.pad_channels"
    monkeypatch.setattr(target, lambda maps: shapes.append(maps.shape[-1]) or pad_channels(maps))

    def run(first):
        frames = propagate_masks(as_encoder(variables), images, first, settings)
        return np.stack([np.asarray(mask) for mask in frames])

    expected = run(masks[0])
    renamed = np.array([0, 3, 200, 255], np.uint8)
    np.testing.assert_array_equal(run(renamed[masks[0]]), renamed[expected])
    assert shapes == [3, 3]
    layout = Layout.of((64, 96), settings, of_network(ResNet(18), {}))
    assert Masks(renamed[masks[0]]).grid(layout, settings).shape[-1] == 3
    assert set(np.unique(expected[1:])) == {0, 1, 2}


def test_mask_by_hand():
    # Two cells side by side to four pixels: weights 0, 1/4, 3/4, 1 of the right cell.
    # Label 1 is 0.2 on the left and 0.4 on the right: 0.2 .25 .35 .4, scaled to 0 .25 .75 1.
    # Label 0 is 0.9 and 0.6: 0.9 .825 .675 .6, scaled to 1 .75 .25 0: larger everywhere, it wins the left half alone.
    labels = jnp.asarray([[[0.9, 0.2, 0.0], [0.6, 0.4, 0.0]]], jnp.float32)
    four, two = (Layout((1, width), (8, 16), (8, 16), (1, width), of_network(ResNet(18), {})) for width in (4, 2))
    assert merge_groups([labels], [(0, 9)], four, Settings()).tolist() == [[0, 0, 9, 9]]
    # Equal maps: the lowest label wins; a map of zeros stays zero and never wins.
    assert merge_groups([jnp.ones((1, 2, 2), jnp.float32)], [(0, 1)], two, Settings()).tolist() == [[0, 0]]


def test_objects_that_enter_later(variables):
    """Another object enters at frame 2: the first ones do not change, its own mask is kept and followed from there."""
    images, masks = video()
    settings = Settings(short_side=64, radius=4.0, num_context=2)
    alone = [np.asarray(mask) for mask in propagate_masks(as_encoder(variables), images, masks[0], settings)]
    entering = np.where(masks[2] > 0, masks[2], 0).astype(np.uint8)
    entering[48:64, 64:96] = 5
    found = list(stream(images, masks[0], variables, new_labels={2: entering}, **dataclasses.asdict(settings)))
    for t in (0, 1):
        np.testing.assert_array_equal(found[t], alone[t])
    assert (found[2][48:64, 64:96] == 5).all()
    np.testing.assert_array_equal(np.where(found[2] == 5, 0, found[2]), np.where(entering == 5, 0, alone[2]))
    assert {0, 1, 2, 5} == set(np.unique(found[-1]))  # the ground does not move: it stays where it entered
    assert (found[-1][52:60, 72:92] == 5).mean() > 0.8


def test_stream_of_maps(variables):
    """Float maps come back as maps, each channel for itself; a one-hot mask's channel is that of the mask."""
    images, masks = video(frames=3)
    settings = Settings(short_side=64, radius=4.0, num_context=2)
    maps = np.eye(3, dtype=np.float32)[masks[0]]
    found = list(stream(images, maps, variables, **dataclasses.asdict(settings)))
    np.testing.assert_array_equal(found[0], maps)
    assert found[2].shape == (64, 96, 3)
    np.testing.assert_allclose(found[2].sum(-1), 1, atol=1e-5)  # weights of the ten keys sum to 1, bilinear keeps it
    with pytest.raises(ValueError, match="index masks only"):
        list(stream(images, maps, variables, new_labels={1: masks[1]}))
    with pytest.raises(TypeError, match="topkk"):
        list(stream(images, masks[0], variables, topkk=3))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_stream_of_no_frames(variables, dtype):
    shape = (64, 96) if dtype == np.uint8 else (64, 96, 2)
    assert list(stream([], np.ones(shape, dtype), variables)) == []


def test_stream_from_one_buffer(variables):
    """A camera may write every frame into the memory of the last."""
    images, masks = video(frames=5)
    buffer = np.empty_like(images[0])

    def camera():
        for image in images:
            buffer[:] = image
            yield buffer

    settings = dataclasses.asdict(Settings(short_side=64, radius=4.0, num_context=2))
    expected = list(stream(images, masks[0], variables, **settings))
    np.testing.assert_array_equal(list(stream(camera(), masks[0], variables, **settings)), expected)


@pytest.mark.slow
def test_real_video(real_data, variables):
    """Two frames of a real video at a quarter of its size: random features follow the dog for two frames."""
    (dog,) = open_davis(real_data / "davis_like", sequences=["dog"])
    settings = Settings(short_side=120, radius=12.0)
    found = list(propagate_masks(as_encoder(variables), map(read_frame, dog.frames[:3]), dog.mask(0), settings))
    for index, mask in enumerate(found):
        assert mask.shape == (480, 854)
        truth = dog.mask(index) > 0
        assert np.count_nonzero(truth & (np.asarray(mask) > 0)) / np.count_nonzero(truth | (np.asarray(mask) > 0)) > 0.6
