"""The measurement of bfloat16 features runs, at toy size, and counts what it says."""

import json
from types import SimpleNamespace

import bf16_masks
import numpy as np
import pytest
from PIL import Image

from vfs_jax.data.images import write_index_mask


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
    report = bf16_masks.main([f"--data={davis}", f"--out={out}", "--frames=3", "--short_side=64"])
    assert json.loads((out / "bf16_masks.json").read_text()) == json.loads(json.dumps(report))
    score = report["weights"]["perturbed:0"]["sequences"]["square"]
    assert score["frames"] == 3
    # So few cells may all agree; both masks overlap the square.
    assert 0 <= score["share_of_pixels"] <= score["share_of_pixels_worst_frame"] < 0.05
    assert min(score["J"].values()) > 0.3
    assert "perturbed:0 square, 3 frames:" in capsys.readouterr().out


def test_the_share_is_of_predicted_pixels(monkeypatch):
    """Masks 4x5, three frames: the first is given and not counted; 1 and 3 of 20 pixels differ in the others."""

    def masks(encoder, frames, first, settings):
        for index, _ in enumerate(frames):
            mask = np.ones((4, 5), np.uint8)
            if settings.dtype == "bfloat16":
                mask[0, : (5, 1, 3)[index]] = 0
            yield mask

    class Sequence(SimpleNamespace):
        def __len__(self):
            return 7

    monkeypatch.setattr(bf16_masks, "propagate_masks", masks)
    monkeypatch.setattr(bf16_masks, "as_encoder", lambda variables: variables)
    sequence = Sequence(name="x", frame=lambda index: index, mask=lambda index: np.ones((4, 5), np.uint8))
    score = bf16_masks.compare({"params": {}}, sequence, bf16_masks.Settings(), frames=3)
    assert score["share_of_pixels"] == pytest.approx((1 + 3) / 40)
    assert score["share_of_pixels_worst_frame"] == pytest.approx(3 / 20)
    assert score["J"] == {"float32": 1, "bfloat16": pytest.approx((19 + 17) / 40)}
