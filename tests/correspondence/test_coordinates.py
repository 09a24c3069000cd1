"""Resizing held to Pillow, PyTorch and OpenCV, and to going there and back."""

import itertools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vfs_jax.correspondence import coordinates

SIZES = [*range(1, 40), 58, 60, 107, 114, 240, 427, 480, 720, 854, 1080, 1280]
RULES = ("pillow", "torch", "torch-exact", "opencv")


def nearest_by_library(before, after, rule):
    """Which pixel of an axis each library takes: what becomes of a picture of the pixels' numbers."""
    axis = np.arange(before, dtype=np.float32)
    if rule == "pillow":
        return np.asarray(Image.fromarray(axis[None]).resize((after, 1), Image.Resampling.NEAREST))[0]
    if rule == "opencv":
        return cv2.resize(axis[None], (after, 1), interpolation=cv2.INTER_NEAREST)[0]
    mode = rule.replace("torch", "nearest")
    return torch.nn.functional.interpolate(torch.tensor(axis)[None, None], size=after, mode=mode)[0, 0].numpy()


@pytest.mark.parametrize("rule", RULES)
def test_nearest_is_the_librarys_to_the_pixel(rule):
    """All pairs of some sizes and seeded ones; 832 -> 854, 880 -> 52 are among those that the plain formulas miss."""
    seeded = np.random.default_rng(0).integers(1, 2200, (1000, 2)).tolist()
    for before, after in [*itertools.product(SIZES, SIZES), *seeded, (832, 854), (880, 52), (850, 107)]:
        found = coordinates.nearest_source(after, before, rule)
        np.testing.assert_array_equal(found, nearest_by_library(before, after, rule), f"{before} -> {after}")


@pytest.mark.slow
def test_nearest_of_masks(oracles):
    """Pillow's results on seeded maps [H, W] of numbers 0..5."""
    expected = np.load(oracles / "label_propagation.npz")
    names = [name for name in expected if name.startswith("nearest.")]
    assert len(names) == 5
    for name in names:
        before, after = (tuple(int(n) for n in part.split("x")) for part in name.split(".")[1:])
        mask = np.random.default_rng(34).integers(0, 6, before, dtype=np.uint8)
        result = coordinates.resize_nearest(mask, after)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, expected[name])
        np.testing.assert_array_equal(coordinates.resize_nearest(jnp.asarray(mask), after), expected[name])


@pytest.mark.parametrize(("before", "after"), [((60, 107), (480, 854)), ((60, 107), (321, 99)), ((96, 160), (12, 20))])
def test_bilinear_is_torch(before, after):
    """Float32 both: a coordinate of up to 107 cells may be rounded another way, by 7.6e-6, times a slope of up to 1."""
    maps = np.random.default_rng(0).uniform(size=(2, *before, 3)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.tensor(maps).permute(0, 3, 1, 2), size=after, mode="bilinear", align_corners=False
    )
    result = coordinates.resize_bilinear(maps, after)
    np.testing.assert_allclose(result, expected.permute(0, 2, 3, 1).numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        jax.jit(coordinates.resize_bilinear, static_argnums=1)(maps[0], after), result[0], atol=1e-6
    )


def test_bilinear_keeps_constants_and_dtype():
    maps = jnp.full((3, 4, 2), 0.7, jnp.bfloat16)
    result = coordinates.resize_bilinear(maps, (7, 5))
    assert result.dtype == jnp.bfloat16
    np.testing.assert_allclose(result.astype(np.float32), float(maps[0, 0, 0]), rtol=2**-8)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 12), st.sampled_from(RULES), st.data())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_nearest_there_and_back(height, width, factor, rule, data):
    """Enlarged by a whole factor and brought back, a mask is the same, by either rule both ways."""
    mask = np.arange(height * width).reshape(height, width)
    large = coordinates.resize_nearest(mask, (height * factor, width), rule=rule)
    back = data.draw(st.sampled_from(RULES))
    np.testing.assert_array_equal(coordinates.resize_nearest(large, (height, width), rule=back), mask)


def test_bad_sizes_name_what_came():
    with pytest.raises(ValueError, match="at least 1 pixel, got 5 -> 0"):
        coordinates.resize_nearest(np.zeros((5, 5)), (0, 3))
    with pytest.raises(TypeError, match="i64"):
        coordinates.resize_bilinear(np.zeros((5, 5, 1), np.int64), (2, 3))
