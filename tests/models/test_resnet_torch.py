"""The backbone against an independent PyTorch ResNet and against recorded outputs of the official code."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch_reference import BLOCKS, Backbone, official_weights, randomise, save

from vfs_jax.models import ResNet, depth_of, load_torch, normalize_images

TRAIN, EVALUATE = (1, 2, 2, 2), (1, 2, 1, 1)
PLAIN, TRACK = (1, 1, 1, 1), (1, 1, 2, 4)


def deviation(ours, theirs):
    """The largest difference in units of the standard deviation; [b, h, w, c] against torch's [b, c, h, w]."""
    theirs = theirs.numpy().transpose(0, 2, 3, 1)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    return np.abs(np.asarray(ours) - theirs).max() / theirs.std()


# The tolerances: torch and XLA sum in different orders; float32 noise of the network itself is up to 2e-5 of the
# standard deviation, that of float64 a billionth of it.
@pytest.mark.parametrize(
    ("depth", "strides", "dilations", "size", "dtype"),
    [
        (18, TRAIN, PLAIN, (37, 51), np.float32),
        (18, EVALUATE, TRACK, (45, 40), np.float64),
        pytest.param(50, EVALUATE, TRACK, (41, 39), np.float64, marks=pytest.mark.slow),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (
                (18, TRAIN, TRACK, (37, 51), np.float64),
                (34, TRAIN, PLAIN, (64, 37), np.float64),
                (34, EVALUATE, TRACK, (33, 40), np.float32),
                (50, TRAIN, PLAIN, (64, 37), np.float32),
                (101, EVALUATE, TRACK, (35, 48), np.float64),
                (152, EVALUATE, PLAIN, (35, 48), np.float64),
            )
        ),
    ],
)
@pytest.mark.slow
def test_every_block_equals_torch(tmp_path, depth, strides, dilations, size, dtype):
    reference = randomise(Backbone(depth, strides, dilations), seed=depth).eval()
    variables = load_torch(save(torch.nn.ModuleDict({"backbone": reference}), tmp_path / "r.pth"))
    assert depth_of(variables) == depth
    images = np.random.default_rng(depth).standard_normal((2, *size, 3)).astype(dtype)
    names = (*(f"res{i + 2}.{j}" for i, n in enumerate(BLOCKS[depth]) for j in range(n)), "res2", "res5")
    with torch.no_grad():
        theirs = reference.to(getattr(torch, dtype.__name__))(torch.from_numpy(images.transpose(0, 3, 1, 2)))
    with jax.enable_x64(dtype == np.float64):
        model = ResNet(depth, strides, dilations, outputs=names, dtype=dtype)
        ours = jax.jit(model.apply)(jax.tree.map(dtype, variables), images)
        assert set(ours) == set(names)
        for name in names:
            assert deviation(ours[name], theirs[name]) <= {np.float32: 1e-4, np.float64: 1e-9}[dtype], name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "kind", "dilations"),
    [
        (18, "rng", PLAIN),
        pytest.param(50, "framecrop", TRACK, marks=pytest.mark.slow),
        pytest.param(18, "rng", TRACK, marks=pytest.mark.long),
        pytest.param(50, "rng", TRACK, marks=pytest.mark.long),
        pytest.param(18, "frame", PLAIN, marks=pytest.mark.long),
        pytest.param(50, "frame", PLAIN, marks=pytest.mark.long),
    ],
)
def test_features_equal_the_official_code(oracles, real_data, tmp_path, depth, kind, dilations):
    recorded = np.load(oracles / "features.npz")
    if kind == "rng":
        images = np.random.default_rng(11).standard_normal((1, 96, 128, 3)).astype(np.float32)
    else:
        frame = cv2.imread(str(real_data / "davis_like/JPEGImages/480p/blackswan/00000.jpg"))
        images = normalize_images(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)[None])
        sample = np.asarray(images).reshape(-1)[:: recorded["frame.normalised.stride"]]
        np.testing.assert_allclose(
            sample, recorded["frame.normalised.sample"], rtol=0, atol=5e-7
        )  # one last place of 3
        images = images[:, :240, :320] if kind == "framecrop" else images

    variables = load_torch(official_weights(oracles, tmp_path, depth))
    stages = ("res2", "res3", "res4", "res5")
    ours = jax.jit(ResNet(depth, EVALUATE, dilations, stages).apply)(variables, jnp.asarray(images))
    for stage in stages:
        key = f"r{depth}.dil{''.join(map(str, dilations))}.{kind}.{stage}"
        assert ours[stage].shape == tuple(recorded[f"{key}.shape"])
        difference = np.asarray(ours[stage]).reshape(-1)[:: recorded[f"{key}.stride"]] - recorded[f"{key}.sample"]
        assert np.abs(difference).max() <= 1e-4 * recorded[f"{key}.std"], stage  # twice 2e-5, float32's noise, and room
        assert abs(ours[stage].mean() - recorded[f"{key}.mean"]) <= 1e-4 * recorded[f"{key}.std"]
