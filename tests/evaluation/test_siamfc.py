"""The tracker: its boxes against an independent one in PyTorch, its parts against obvious versions, odd input."""

import cv2
import jax
import numpy as np
import pytest
from PIL import Image
from torch_reference import official_weights
from torch_tracker import TorchTracker, cubic_matrix, square

from vfs_jax.data.box_datasets import BoxSequence, open_otb
from vfs_jax.data.images import as_rgb, list_images
from vfs_jax.data.target_crops import crop_target
from vfs_jax.errors import InputError
from vfs_jax.evaluation import SiamFCTracker
from vfs_jax.evaluation.tracking import siamfc
from vfs_jax.models import SiamFCHead, load_torch

# The network at a third of the size: what the tests of odd input need is the arithmetic around it.
SMALL = {"exemplar_size": 40, "search_size": 79}


def sequence(real_data, name):
    if name == "bag":  # from VOT, whose first box is turned: the upright one of its center, area and extent's aspect
        box = [312.5065219452282, 143.90942439486957, 108.9869561095436, 101.18115121026082]
        return BoxSequence("bag", list_images(real_data / "vot_like/bag"), np.array([box]))
    return next(found for found in open_otb(real_data / "otb_like") if found.name == name)


def assert_boxes_are_those_of_pytorch(oracles, tmp_path, monkeypatch, found, frames, *, depth=18, head=True):
    """Responses to 1e-4 of their spread, and boxes to 0.01 pixels where rounding cannot choose another peak.

    Where it can, as far as the responses of this machine are off, the second tracker goes on from our box.
    """
    path = official_weights(oracles, tmp_path, depth, siamfc=True)
    ours = SiamFCTracker(load_torch(path, part="siamfc"), head=head)
    theirs = TorchTracker(depth, path, head=head)
    seen, compute = [], siamfc.responses
    monkeypatch.setattr(siamfc, "responses", lambda *arguments: seen.append(compute(*arguments)) or seen[-1])
    for tracker in (ours, theirs):
        tracker.init(found.frame(0), found.boxes[0])
    boxes, clear = [found.boxes[0]], 0
    for index in range(1, frames):
        box, expected = (tracker.update(found.frame(index)) for tracker in (ours, theirs))
        boxes.append(box)
        off = np.abs(np.asarray(seen[-1]) - theirs.responses).max()
        assert off < 1e-4 * theirs.responses.std()
        if theirs.ahead > 4 * off:  # two pixels, and the cubic's weights add up to 1.9
            clear += 1
            np.testing.assert_allclose(box, expected, atol=0.01, err_msg=f"frame {index}")
        else:
            (theirs.cy, theirs.cx), (theirs.h, theirs.w), theirs.x_size = ours._center, ours._size, ours._extent
    assert clear > 0
    assert np.abs(np.diff(boxes, axis=0)[:, :2]).max() > 1  # it moves
    tracked, seconds = ours.track(found.frames[:3], found.boxes[0])
    np.testing.assert_array_equal(tracked, boxes[:3])
    assert (seconds > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("head", [True, pytest.param(False, marks=pytest.mark.long)])
def test_boxes_are_those_of_pytorch(real_data, oracles, tmp_path, monkeypatch, head):
    assert_boxes_are_those_of_pytorch(oracles, tmp_path, monkeypatch, sequence(real_data, "Crossing"), 6, head=head)


@pytest.mark.long
@pytest.mark.parametrize("name", ["Crossing", "Soccer", "bag"])
def test_boxes_are_those_of_pytorch_over_100_frames(real_data, oracles, tmp_path, monkeypatch, name):
    assert_boxes_are_those_of_pytorch(oracles, tmp_path, monkeypatch, sequence(real_data, name), 100)


@pytest.mark.long
def test_boxes_of_resnet50(real_data, oracles, tmp_path, monkeypatch):
    assert_boxes_are_those_of_pytorch(oracles, tmp_path, monkeypatch, sequence(real_data, "Crossing"), 6, depth=50)


def test_crops_are_those_of_the_obvious_way():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (45, 60, 3), dtype=np.uint8)
    color = image.mean((0, 1), dtype=np.float64)
    kinds = set()
    for _ in range(400):
        center = rng.uniform(-60, 110, 2).astype(np.float32)
        extent = float(rng.uniform(0, 150))
        patch = crop_target(image, center, extent, 31, color=color)
        np.testing.assert_array_equal(patch, square(image, center[1], center[0], extent, 31))
        padded = (patch == np.round(color)).all(-1)
        kinds.add("black" if not patch.any() else ("padded" if padded.any() else "inside"))
    assert kinds == {"black", "padded", "inside"}


def test_the_peak_is_that_of_the_obvious_way():
    rng = np.random.default_rng(0)
    settings = siamfc.TrackerSettings()
    window, matrix = siamfc._hann_window(settings), cubic_matrix(18, 272)
    for offset in (0, -3):  # all negative: the penalty raises the other sizes then
        found = (rng.normal(size=(3, 18, 18)) + offset).astype(np.float32)
        large = [
            matrix @ response @ matrix.T * factor for response, factor in zip(found, (0.9745, 1, 0.9745), strict=True)
        ]
        best = int(np.argmax([response.max() for response in large]))
        response = large[best] - large[best].min()
        blended = 0.824 * response / response.sum() + 0.176 * window
        row, col = divmod(int(blended.argmax()), 272)
        second, first = np.sort(blended, axis=None)[-2:]
        assert first - second > 1e-5 * first  # float32 cannot take another one
        displacement, scale = siamfc.locate(found, window, settings)
        assert displacement.tolist() == [(row - 135.5) / 2, (col - 135.5) / 2]
        assert scale == 1.0375 ** (best - 1)
        np.testing.assert_allclose(
            # OpenCV's places are float32: off by 1e-6 of a cell, across which the response may rise by 8.
            cv2.resize(found[0], (272, 272), interpolation=cv2.INTER_CUBIC),
            large[0] / 0.9745,
            atol=2e-5,
        )


@pytest.mark.slow
def test_the_heads_search_half_moves_to_the_exemplar(variables):
    """Correlating behind the head is correlating features with the kernel, plus the constant: it is linear."""
    rng = np.random.default_rng(0)
    patch, search = (rng.integers(0, 256, (1, side, side, 3), dtype=np.uint8) for side in (32, 64))
    z, x = (jax.jit(siamfc.tracking_features)(variables, each) for each in (patch, search))
    head = SiamFCHead(512)
    parameters = head.init(jax.random.key(0), z, x)
    zh, xh = head.apply(parameters, z, x)
    expected = 1e-3 * np.array(
        [[(zh[0] * xh[0, i : i + 4, j : j + 4]).sum() for j in range(5)] for i in range(5)], np.float64
    )
    kernel, constant = siamfc.exemplar_kernel(variables, parameters["params"], patch, out_scale=1e-3)
    found = siamfc.responses(variables, kernel, constant, search)
    # Float32's 6e-8 times the root of the 8,192 products that are summed is 5e-6.
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def moving_square(size=(60, 80), steps=4):
    """A bright textured square that moves by (3, 2) a frame over dark ground; the frames and the first box, 1-based."""
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 90, (6, 8, 3), dtype=np.uint8), size[::-1])
    texture = cv2.resize(rng.integers(120, 255, (3, 3, 3), dtype=np.uint8), (16, 16))
    frames = []
    for t in range(steps):
        frame = ground.copy()
        frame[20 + 2 * t : 36 + 2 * t, 30 + 3 * t : 46 + 3 * t] = texture
        frames.append(frame)
    return frames, np.array([31.0, 21.0, 16.0, 16.0])


def follow(variables, frames, box):
    tracker = SiamFCTracker(variables, **SMALL)
    tracker.init(frames[0], box)
    return np.array([tracker.update(frame) for frame in frames[1:]])


@pytest.mark.parametrize(
    "box",
    [
        [31, 21, 0, 16],
        [31, 21, 16, -1],
        [np.nan, 21, 16, 16],
        [31, 21, np.inf, 16],
        [31, 21, 16],
        [[31, 21, 16, 16]],
    ],
)
def test_a_box_that_is_none_is_refused(variables, box):
    frames, _ = moving_square()
    with pytest.raises(ValueError, match=r"box \[.*take four numbers, the width and the height above 0"):
        SiamFCTracker(variables, **SMALL).init(frames[0], box)


@pytest.mark.slow
@pytest.mark.parametrize(
    "box",
    [
        [1000, 21, 16, 16],  # outside: a black exemplar
        [-500, -500, 16, 16],
        [40, 30, 1, 1],
        [40, 30, 0.01, 0.01],
        [-100, -100, 500, 400],  # larger than the frame
        [1, 1, 1e7, 1e7],
        [75, 55, 20, 20],  # reaches out
    ],
)
def test_odd_boxes_are_followed(variables, box):
    frames, _ = moving_square()
    boxes = follow(variables, frames, box)
    assert np.isfinite(boxes).all()
    assert (boxes[:, 2:] > 0).all()


@pytest.mark.slow
def test_odd_frames(variables):
    frames, box = moving_square()
    expected = follow(variables, frames, box)
    np.testing.assert_array_equal(follow(variables, [Image.fromarray(frame) for frame in frames], box), expected)
    wide = [frame.astype(np.uint16) * 256 + 7 for frame in frames]  # 16 bits: the upper eight count
    np.testing.assert_array_equal(follow(variables, wide, box), expected)
    alpha = [np.dstack([frame, np.full(frame.shape[:2], 9, np.uint8)]) for frame in frames]
    np.testing.assert_array_equal(follow(variables, alpha, box), expected)
    gray = [frame[..., 0] for frame in frames]
    found = follow(variables, gray, box)
    np.testing.assert_array_equal(follow(variables, [np.dstack([g, g, g]) for g in gray], box), found)
    np.testing.assert_array_equal(follow(variables, [g[..., None] for g in gray], box), found)
    np.testing.assert_array_equal(follow(variables, [Image.fromarray(g) for g in gray], box), found)
    deep = [Image.fromarray(g.astype(np.uint16) * 256) for g in gray]
    assert deep[0].mode == "I;16"
    np.testing.assert_array_equal(follow(variables, deep, box), found)


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8)],
)
def test_a_frame_that_is_none_is_refused(variables, frame):
    with pytest.raises(ValueError, match="a frame of dtype"):
        as_rgb(frame)
    with pytest.raises(ValueError, match="a frame of dtype"):
        SiamFCTracker(variables).init(frame, [1, 1, 2, 2])


def test_frames_may_change_their_size(variables):
    """Boxes stay in pixels of the current frame: a frame that grows to the right and below changes nothing inside."""
    frames, box = moving_square()
    larger = [cv2.copyMakeBorder(frame, 0, 40, 0, 60, cv2.BORDER_REFLECT) for frame in frames[2:]]
    boxes = follow(variables, [*frames[:2], *larger], box)
    assert np.isfinite(boxes).all()
    np.testing.assert_array_equal(boxes[0], follow(variables, frames[:2], box)[0])


def test_a_response_that_is_no_number_ends_tracking(variables, tmp_path):
    broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), variables)
    tracker = SiamFCTracker(broken, **SMALL)
    files = [tmp_path / f"{t}.png" for t in range(2)]
    for file in files:
        Image.fromarray(np.full((60, 80, 3), 9, np.uint8)).save(file)
    with pytest.raises(InputError, match=r"1\.png: the network's response holds NaN or infinity"):
        tracker.track(files, [20, 20, 20, 20])


def test_misuse(variables):
    tracker = SiamFCTracker(variables)
    with pytest.raises(RuntimeError, match="update before init"):
        tracker.update(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="hold no SiamFC head"):
        SiamFCTracker(variables, head=True)
    with pytest.raises(TypeError, match="scales"):
        SiamFCTracker(variables, scales=3)
    with pytest.raises(InputError, match="scale_count=2"):
        SiamFCTracker(variables, scale_count=2)
