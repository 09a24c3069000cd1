"""The measurement of precisions runs, at toy size, counts what it says, and rounds what it should."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import precision_masks
import pytest
from PIL import Image

from vfs_jax.data.images import write_index_mask
from vfs_jax.data.mask_datasets import open_davis
from vfs_jax.evaluation.encoders import as_encoder
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.models.winograd import convolve_3x3


@pytest.fixture
def davis(tmp_path):
    """One sequence of four frames: a bright square that moves over noise."""
    rng = np.random.default_rng(0)
    ground, square = rng.integers(0, 120, (64, 96, 3), np.uint8), rng.integers(130, 256, (24, 32, 3), np.uint8)
    for folder in ("JPEGImages/480p/square", "Annotations/480p/square", "ImageSets/2017"):
        (tmp_path / folder).mkdir(parents=True)
    for t in range(4):
        image, mask = ground.copy(), np.zeros((64, 96), np.uint8)
        image[10 + t : 34 + t, 20 + 2 * t : 52 + 2 * t], mask[10 + t : 34 + t, 20 + 2 * t : 52 + 2 * t] = square, 1
        Image.fromarray(image).save(tmp_path / f"JPEGImages/480p/square/{t:05d}.jpg", quality=95)
        write_index_mask(tmp_path / f"Annotations/480p/square/{t:05d}.png", mask)
    (tmp_path / "ImageSets/2017/val.txt").write_text("square\n")
    return tmp_path


@pytest.mark.long
def test_measures_a_small_video(davis, tmp_path, capsys):
    out = tmp_path / "out"
    report = precision_masks.main([f"--data={davis}", f"--out={out}", "--frames=3", "--short_side=64"])
    assert json.loads((out / "precision_masks.json").read_text()) == json.loads(json.dumps(report))
    scores = report["weights"]["perturbed:0"]["sequences"]["square"]
    assert min(score["J"] for score in scores.values()) > 0.3
    for kind, bits in (("tensorfloat32", 11), ("bfloat16", 8)):
        # Each of 13 layers adds a rounding of its operands, half a unit of the last bit at most.
        assert 2.0**-bits / 10 < scores[kind]["rms_of_features"] < 13 * 2.0**-bits
        # So few cells may all agree.
        assert 0 <= scores[kind]["share_of_pixels"] <= scores[kind]["share_of_pixels_worst_frame"] < 0.05
    printed = capsys.readouterr().out
    assert "perturbed:0 square tensorfloat32: J&F 0." in printed
    assert "perturbed:0 mean of 1 sequences, bfloat16: J&F 0." in printed


def test_the_share_is_of_predicted_pixels(davis, monkeypatch):
    """The first mask is given and not counted; 1 and 3 of 64x96 pixels differ in the others."""

    def masks(features, first, settings, layout):
        for index, _ in enumerate(features):
            mask = np.ones((64, 96), np.uint8)
            if settings.dtype == "bfloat16":
                mask[0, : (5, 1, 3)[index]] = 0
            yield mask

    monkeypatch.setattr(precision_masks, "masks_along", masks)
    (sequence,) = open_davis(davis)
    kinds = {
        dtype: (as_encoder(lambda frames, scale=scale: frames[:, ::8, ::8] * np.float32(scale)), Settings(dtype=dtype))
        for dtype, scale in (("float32", 1.0), ("bfloat16", 1.25))
    }
    score = precision_masks.compare(kinds, sequence, frames=3)["bfloat16"]
    assert score["share_of_pixels"] == pytest.approx((1 + 3) / (2 * 64 * 96))
    assert score["share_of_pixels_worst_frame"] == pytest.approx(3 / (64 * 96))
    assert score["rms_of_features"] == pytest.approx(0.25, rel=0.01)  # bfloat16 has 8 bits


def test_operands_of_all_products_are_rounded():
    """Those of convolutions and matrix products, also in programs within the program; sums and the rest are not."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 8, 8, 4)).astype(np.float32), rng.normal(size=(3, 3, 4, 4)).astype(np.float32)
    weights = rng.normal(size=(4, 2)).astype(np.float32)

    def network(x, kernel, weights):
        return jax.jit(lambda x: convolve_3x3(x, kernel) + np.float32(1e-6))(x) @ weights

    def short(array):
        """Rounded to 10 bits of mantissa, ties to even, by integers."""
        bits = np.asarray(array).view(np.uint32)
        return ((bits + 0xFFF + (bits >> 13 & 1)) & ~np.uint32(0x1FFF)).view(np.float32)

    found = precision_masks.with_rounded_operands(network)(x, kernel, weights)
    convolved = convolve_3x3(short(x), short(kernel)) + np.float32(1e-6)
    np.testing.assert_allclose(found, short(convolved) @ short(weights), rtol=1e-6, atol=1e-6)
    assert np.abs(found - network(x, kernel, weights)).max() > 1e-4
    assert jnp.asarray(found).dtype == np.float32
