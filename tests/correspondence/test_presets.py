"""The presets of configs/davis.py: plain numbers, and the obvious recurrence (full_affinity.py) under each of them."""

import math

import numpy as np
import pytest
from full_affinity import assert_propagated, full_video

from vfs_jax.configs import davis
from vfs_jax.correspondence import propagate_video

_VFS = {"num_context": 20, "topk": 10, "temperature": 0.07, "window": "circle", "first_frame_windowed": True,
        "keep_first": True, "fill_first": False, "first_once": False, "ties": "first"}  # fmt: skip
# As the papers and releases state them, besides what does not differ from VFS's own settings.
EXPECTED = {
    "r18": _VFS | {"radius": 12.0},
    "r50": _VFS | {"radius": 18.0},
    "crw": _VFS | {"temperature": 0.05, "radius": 12.0, "first_frame_windowed": False, "fill_first": True},
    "dino": _VFS | {"num_context": 7, "topk": 5, "temperature": 0.1, "window": "square", "radius": 12.0,
                    "first_once": True, "ties": "all"},
    "dinov3": _VFS | {"num_context": 7, "topk": 5, "temperature": 0.2, "radius": math.sqrt(144.5),
                      "first_once": True, "ties": "all"},
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_presets_are_plain_values(name):
    config = davis.get_config(name)
    assert {key: config[key] for key in EXPECTED[name]} == EXPECTED[name]
    assert all(type(config[key]) in (bool, int, float, str) for key in EXPECTED[name])
    assert (config.short_side, config.output, config.depth) == (480, "res4", 50 if name == "r50" else 18)


def test_dinov3_reaches_a_distance_of_twelve():
    """Its window includes the distance 12; the operator's circle is strict, hence the square root of 144.5."""
    radius = davis.get_config("dinov3").radius
    assert 12 < radius < math.hypot(12, 1)  # the next larger distance between cells is sqrt(145)


@pytest.mark.parametrize(
    "name", ["crw", pytest.param("dino", marks=pytest.mark.slow), pytest.param("dinov3", marks=pytest.mark.slow)]
)
def test_presets_are_the_full_recurrence(name):
    """On a grid wider than the window, over more frames than DINO's context of seven."""
    config = davis.get_config(name)
    options = {key: config[key] for key in EXPECTED[name]}
    rng = np.random.default_rng(5)
    base = rng.standard_normal((5, 30, 8))
    video = [np.roll(base, t // 2, 1) + 0.3 * rng.standard_normal(base.shape) for t in range(10)]
    features = np.stack(video).astype(np.float32)
    first = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (5, 30))]
    assert_propagated(propagate_video(features, first, **options), *full_video(features, first, **options))
