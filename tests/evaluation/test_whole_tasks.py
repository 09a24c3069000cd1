"""Whole tasks, files in and score out, held to a second computation: PyTorch in float64, full affinity, Pillow, loops.

What the two share is the data set's reader and OpenCV's resizing of frames, which the protocol names.
"""

import math

import cv2
import numpy as np
import pytest
import torch
from full_affinity import full_video
from full_masks import full_mask
from PIL import Image
from test_tasks import evaluate, jhmdb, moving_square, tracks, vip  # noqa: F401  the made-up data sets are fixtures
from torch_reference import Backbone, randomise, save

from vfs_jax.data.images import read_frame, read_index_mask
from vfs_jax.data.mask_datasets import open_vip
from vfs_jax.data.point_datasets import open_jhmdb, open_tapvid
from vfs_jax.evaluation.propagation.labels import Settings
from vfs_jax.evaluation.tasks.masks import Vip
from vfs_jax.evaluation.tasks.points import Jhmdb, Tapvid
from vfs_jax.models import load_torch

OPTIONS = {"num_context": 2, "radius": 4.0, "topk": 10, "temperature": 0.07}
SQUARE = Settings(short_side=56, square=True, radius=4.0, num_context=2)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A PyTorch ResNet-18 at stride 8 in float64, and our variables of the same numbers."""
    module = torch.nn.Module()
    module.backbone = randomise(Backbone(18, (1, 2, 1, 1)), seed=3).eval()
    path = save(module, tmp_path_factory.mktemp("weights") / "r18.pth")
    return module.backbone.double(), load_torch(path)


def second_features(backbone, images, size):
    """Frames RGB uint8 [h, w, 3] to features of res4 at stride 8, [t, rows, cols, c]."""
    mean, std = (np.array(rgb) for rgb in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
    resized = [cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR) for image in images]
    batch = torch.from_numpy((np.stack(resized) - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return backbone(batch)["res4"].permute(0, 2, 3, 1).numpy()


def bilinear(maps, size):
    """[t, h, w, l] to [t, *size, l] in float64."""
    maps = torch.from_numpy(np.asarray(maps, np.float64)).permute(0, 3, 1, 2)
    large = torch.nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    return large.permute(0, 2, 3, 1).numpy()


def back(picture, size):
    """[h, w, l] to [*size, l] by PyTorch's nearest."""
    picture = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].double()
    return torch.nn.functional.interpolate(picture, size=size, mode="nearest")[0].permute(1, 2, 0).numpy()


def peak(picture):
    """(x, y) of [h, w]: the mean of the five highest pixels, by value; and by how much the fifth is above the sixth."""
    index = np.argsort(-picture, axis=None, kind="stable")[:6]
    *values, sixth = picture.ravel()[index]
    x, y = (np.average(each, weights=values) for each in (index[:5] % picture.shape[1], index[:5] // picture.shape[1]))
    return np.array([x, y]), values[-1] - sixth


@pytest.mark.slow
def test_vip(vip, tmp_path, network):  # noqa: F811
    backbone, variables = network
    (video,) = open_vip(vip)
    _, summary = evaluate(Vip(), variables, [video], tmp_path / "run", SQUARE)

    first = Image.fromarray(video.mask(0)).resize((56, 56), Image.Resampling.NEAREST)
    grid = np.array(first.resize((7, 7), Image.Resampling.NEAREST))
    labels = np.eye(int(grid.max()) + 1)[grid]
    soft, slack = full_video(second_features(backbone, map(read_frame, video.frames), (56, 56)), labels, **OPTIONS)

    files = sorted((tmp_path / "run/masks/videos1").glob("*.png"))
    found = np.stack([read_index_mask(path) for path in files])
    np.testing.assert_array_equal(found[0], back(np.array(first)[..., None], (64, 96))[..., 0])
    for mask, *each in zip(found[1:], soft[1:], slack[1:], strict=True):
        expected, clear = full_mask(*each, mask.shape)
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(mask[clear], expected[clear])
    assert np.mean(found[1:] != found[:1]) > 0.01  # something moved

    inside, either = np.zeros(20), np.zeros(20)
    for mask, path in zip(found, video.masks, strict=True):
        truth = np.array(Image.open(path))
        for label in range(20):
            a, b = (mask == label) & (truth != 255), truth == label
            inside[label] += np.sum(a & b)
            either[label] += np.sum(a | b)
    present = either > 0
    assert summary["mIoU"] == pytest.approx(np.mean(inside[present] / either[present]), abs=5e-5)  # given to 0.01%


@pytest.mark.slow
def test_jhmdb(jhmdb, tmp_path, network):  # noqa: F811
    backbone, variables = network
    (clip,) = open_jhmdb(jhmdb)
    _, summary = evaluate(Jhmdb(), variables, [clip], tmp_path / "run", SQUARE)

    first = np.zeros((64, 96, 2), np.float32)
    for joint, (x, y) in enumerate(clip.joints[0]):
        center_x, center_y = int(x - 12) + 12, int(y - 12) + 12
        for row in range(64):
            for col in range(96):
                if abs(row - center_y) <= 12 and abs(col - center_x) <= 12:
                    first[row, col, joint] = math.exp(-((row - center_y) ** 2 + (col - center_x) ** 2) / 32)
    inner = cv2.resize(first, (56, 56), interpolation=cv2.INTER_LINEAR)
    features = second_features(backbone, [clip.frame(t) for t in range(4)], (56, 56))
    soft, slack = full_video(features, bilinear(inner[None], (7, 7))[0], **OPTIONS)
    pictures = [*bilinear(inner[None], (64, 96)), *bilinear(soft[1:], (64, 96))]
    found = np.load(tmp_path / "run/joints/wave/one.npy")
    clear = 0
    for t, joint in np.ndindex(4, 2):
        expected, ahead = peak(pictures[t][..., joint])
        if ahead > 2 * (1e-4 + slack[t].max()):  # float32 averages the same five pixels
            clear += 1
            np.testing.assert_allclose(found[t, joint], expected, atol=0.01)  # pixels; float32 maps
    assert clear >= 4
    assert np.abs(found[1:] - found[:1]).max() > 0.5  # something moved

    for threshold in (0.1, 0.2, 0.3, 0.4, 0.5):
        shares = []
        for joint in range(2):
            hits = []
            for t in range(4):
                assert (found[t, :, 0] > 0).all()
                body = 0.6 * math.dist(clip.joints[t].min(0), clip.joints[t].max(0))
                hits.append(math.dist(found[t, joint], clip.joints[t, joint]) / body <= threshold)
            shares.append(sum(hits) / len(hits))
        assert summary[f"PCK@{threshold}"] == pytest.approx(sum(shares) / 2, abs=1e-9)


@pytest.mark.slow
def test_tapvid(tracks, tmp_path, network):  # noqa: F811
    backbone, variables = network
    (video,) = open_tapvid(tracks)
    settings = Settings(short_side=72, radius=4.0, num_context=2)
    _, summary = evaluate(Tapvid(occlusion_threshold=0.9), variables, [video], tmp_path / "run", settings)
    with np.load(tmp_path / "run/tracks/square.npz") as file:
        found, hidden = file["tracks"], file["occluded"]

    features = second_features(backbone, moving_square(), (72, 108))
    rows, cols = np.mgrid[:9, :14] + 0.5
    counts = {threshold: np.zeros(3) for threshold in (1, 2, 4, 8, 16)}  # hits, wrong, truly visible
    right = total = clear = 0
    for point in range(2):
        query = int(np.flatnonzero(~video.occluded[point])[0])
        x, y = video.points[point, query] * (14, 9)
        first = np.exp(-((cols - x) ** 2 + (rows - y) ** 2) / 2)[..., None]
        soft, slack = full_video(features[query:], first, **OPTIONS)
        pictures = bilinear(soft, (256, 256))[..., 0]
        for t, picture in enumerate(pictures, start=query):
            expected, ahead = peak(picture)
            off = 1e-4 + slack[t - query].max()
            if ahead > 2 * off:  # float32 averages the same five pixels
                clear += 1
                np.testing.assert_allclose(found[point, t], expected + 0.5, atol=0.02)  # of 256 pixels; float32 maps
            share = picture.max() / pictures[0].max()
            assert hidden[point, t] == (share < 0.9) or abs(share - 0.9) < 2 * off
            if t == query:
                continue
            seen, shown = not video.occluded[point, t], not hidden[point, t]
            right, total = right + (seen == shown), total + 1
            for threshold, count in counts.items():
                near = math.dist(found[point, t], video.points[point, t] * 256) < threshold
                count += (seen and shown and near, shown and not (seen and near), seen)
    assert total == 5
    assert clear >= 4
    assert summary["OcclusionAccuracy"] == pytest.approx(right / total)
    jaccards = [hit / (visible + wrong) for hit, wrong, visible in counts.values()]
    assert summary["AverageJaccard"] == pytest.approx(np.mean(jaccards))
