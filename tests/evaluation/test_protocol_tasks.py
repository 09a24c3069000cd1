"""JHMDB and VIP under the protocols of peers: what is drawn, read off and counted, held to loops and libraries."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from full_affinity import full_video
from PIL import Image
from small import FixedGrid
from test_tasks import vip  # noqa: F401  a made-up data set is a fixture

from vfs_jax.data.images import read_index_mask
from vfs_jax.data.mask_datasets import open_vip
from vfs_jax.data.point_datasets import JointSequence
from vfs_jax.errors import InputError
from vfs_jax.evaluation.metrics import miou, pck
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.protocols import settings_of
from vfs_jax.evaluation.tasks.masks import Vip
from vfs_jax.evaluation.tasks.points import Jhmdb


@pytest.mark.slow
@pytest.mark.parametrize(("name", "peaks"), [("crw", 3), ("cropmae", 5)])
def test_joints_drawn_and_read_on_the_grid(tmp_path, name, peaks):
    """JHMDB as CRW and CropMAE do it, held to loops: Gaussians of 4x4 cells, the mean of the best cells, their PCK."""
    cells, (height, width), count, joints = 8, (60, 96), 4, 3
    rng = np.random.default_rng(4)
    truth = rng.uniform((4, 4), (width - 4, height - 4), (count, joints, 2))
    truth[0, 0] = (3.0, 2.0)  # int() towards zero moves it, and the border cuts it
    features = rng.standard_normal((count, cells, cells, 16)).astype(np.float32)
    features[1:] = features[:1] + 0.5 * features[1:]
    encoder = FixedGrid((cells, cells))
    settings = settings_of(name, "jhmdb", encoder, num_context=2)
    clip = JointSequence("clip", (Path("0.png"),) * count, truth)
    layout = Layout.of((height, width), settings, encoder)
    assert layout.network == (320, 320)
    task = Jhmdb(settings.rules)
    jobs = task.write(iter(features), clip, task.output(tmp_path, clip), settings, layout)
    for job in jobs:
        job()

    first = np.zeros((cells, cells, joints))
    for joint, (x, y) in enumerate(truth[0] * [cells / width, cells / height]):
        left, top = int(x - 1.5), int(y - 1.5)
        for row, col in np.ndindex(cells, cells):
            if left <= col < int(x + 2.5) and top <= row < int(y + 2.5):
                first[row, col, joint] = math.exp(-((col - left - 2) ** 2 + (row - top - 2) ** 2) / 0.5)
    known = {field: getattr(settings, field) for field in
             ("radius", "topk", "temperature", "num_context", "first_frame_windowed", "fill_first")}  # fmt: skip
    soft, slack = full_video(features, first, **known)
    found = np.load(tmp_path / "clip.npy")
    right, judged, clear = np.zeros((5, joints)), np.zeros(joints), 0
    for t, joint in np.ndindex(count, joints):
        best = np.argsort(-soft[t, ..., joint], axis=None, kind="stable")[: peaks + 1]
        *values, following = soft[t, ..., joint].ravel()[best]
        rows, cols = np.divmod(best[:peaks], cells)
        place = np.average(cols, weights=values) / cells * width, np.average(rows, weights=values) / cells * height
        if values[-1] - following > 1e-4 and slack[t].max() < 1e-5:
            clear += 1
            np.testing.assert_allclose(found[t, joint], place, atol=1e-2)
        if t > 0:
            box = 0.6 * np.linalg.norm(truth[t].max(axis=0) - truth[t].min(axis=0))
            distance = np.linalg.norm(found[t, joint] - truth[t, joint]) / box
            right[:, joint] += [distance <= share for share in (0.1, 0.2, 0.3, 0.4, 0.5)]
            judged[joint] += 1
    assert clear > 6
    summary = task.summary([task.score(tmp_path, clip)])
    np.testing.assert_allclose(list(summary.values()), (right / judged).mean(axis=1))


def test_what_counts_by_crws_rules():
    truth = np.array([[[10.0, 10.0], [40.0, 50.0]]] * 2)
    predicted = truth.copy()
    predicted[1, 0] = (0.0, 10.0)
    predicted[1, 1, 0] = -1
    vfs, crw = (pck.distances(predicted, truth, rules=rules) for rules in ("vfs", "crw"))
    np.testing.assert_array_equal(np.isnan(vfs), [[False, False], [True, True]])
    np.testing.assert_array_equal(np.isnan(crw), [[True, True], [False, True]])
    labels = np.array([[0, 1, 20, 255]], np.uint8)
    assert miou.confusion(np.zeros_like(labels), labels, ignore_others=True).sum() == 2
    with pytest.raises(InputError, match="holds class 20"):
        miou.confusion(np.zeros_like(labels), labels)


@pytest.mark.slow
def test_parts_of_people_as_cropmae_has_them(vip, tmp_path):  # noqa: F811
    """VIP: a longer side, the other floored to 64; masks by OpenCV's nearest and bilinear, back by Pillow's."""
    (video,) = open_vip(vip)
    encoder = FixedGrid((4, 8))
    settings = settings_of("cropmae", "vip", encoder, long_side=128, num_context=2)
    layout = Layout.of(video.size, settings, encoder)
    assert (layout.network, layout.grid("")) == ((64, 128), (4, 8))
    features = np.random.default_rng(0).standard_normal((1, 4, 8, 16)).astype(np.float32).repeat(len(video), 0)
    task = Vip(settings.rules)
    for job in task.write(iter(features), video, task.output(tmp_path / "out", video), settings, layout):
        job()

    at_network = cv2.resize(video.mask(0), (128, 64), interpolation=cv2.INTER_NEAREST)
    classes = np.unique(at_network)
    one_hot = np.stack([at_network == each for each in classes], axis=-1).astype(np.float32)
    soft = cv2.resize(cv2.resize(one_hot, (8, 4)), (128, 64))
    first = Image.fromarray(classes[soft.argmax(-1)].astype(np.uint8)).resize((96, 64), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(read_index_mask(tmp_path / "out/videos1/00000000.png"), first)
    assert read_index_mask(tmp_path / "out/videos1/00000001.png").shape == (64, 96)
    score = task.score(tmp_path / "out", video)
    assert 0 < score.value < 1
