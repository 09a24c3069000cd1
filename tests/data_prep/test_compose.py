"""Composed sequences: masks, boxes and points follow from the formula of each pose, and every layout is written."""

from pathlib import Path

import cv2
import matplotlib.path
import numpy as np
import pytest
import scipy.io
from PIL import Image

from data_prep import compose
from vfs_jax.errors import InputError


@pytest.fixture
def photos() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (220, 240)) for _ in range(3)]


def one_piece(path: np.ndarray, label: int = 1) -> compose.Piece:
    texture = np.full((64, 64, 3), 200, np.uint8)
    return compose.Piece(texture, np.array([0.05, 0.03, 0.04]), np.array([0.2, 1.0, 2.0]), label, path)


def test_mask_is_the_polygon_of_the_outline():
    """Independent: the outline as a fine polygon, moved forwards; a pixel is in where its center is inside."""
    piece = one_piece(np.array([[50.3, 41.7, 0.7, 0.9]]))
    columns, rows = np.meshgrid(np.arange(110), np.arange(90))
    coverage = piece.coverage(0, columns, rows)
    angles = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    u, v = piece.outline(angles) * (np.cos(angles), np.sin(angles))
    c, s = np.cos(0.7), np.sin(0.7)
    polygon = np.stack([50.3 + 0.9 * (c * u - s * v), 41.7 + 0.9 * (s * u + c * v)], axis=-1)
    inside = matplotlib.path.Path(polygon).contains_points(np.stack([columns.ravel(), rows.ravel()], axis=-1))
    assert inside.sum() > 1000
    np.testing.assert_array_equal(coverage > 0.5, inside.reshape(90, 110))


def test_points_stay_on_the_same_texture():
    """A marked point shows the same color in every pose: the texture moves with the points."""
    ramp = np.stack([*np.meshgrid(np.arange(64), np.arange(64)), np.zeros((64, 64))], axis=-1).astype(np.uint8)
    poses = np.array([[60, 60, 0, 1.0], [60, 60, 1.2, 1.0], [70, 55, -2.5, 1.7], [40, 70, 3.0, 0.8]], float)
    piece = compose.Piece(ramp, np.array([0.05, 0.03, 0.04]), np.array([0.2, 1.0, 2.0]), 1, poses)
    seen = []
    for frame in range(len(poses)):
        color = piece.color(frame, *np.meshgrid(np.arange(128), np.arange(128)))
        points = piece.points(frame)
        seen.append([cv2.getRectSubPix(color, (1, 1), (float(x), float(y)))[0, 0, :2] for x, y in points])
    np.testing.assert_allclose(seen, np.broadcast_to(seen[0], np.shape(seen)), atol=0.6)  # two interpolations
    assert np.ptp(np.asarray(seen[0]), axis=0).min() > 15


def test_sequence_is_seeded_and_consistent(photos):
    background = np.full((12, 96, 160, 3), 90, np.uint8)
    first, again, other = (compose.compose(np.random.default_rng(seed), background, photos) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert (first.masks != other.masks).any()
    untouched = (first.frames == 90).all(-1)
    assert untouched.any()
    assert not first.masks[untouched].any()  # nothing is labeled where the background shows
    unlabeled = ~untouched & (first.masks == 0)
    assert unlabeled.sum() > 0.2 * (first.masks > 0).sum()  # the look-alikes are there and are background
    for label in (1, 2):
        seen = first.masks == label
        assert seen[0].any()
        for t in range(len(seen)):
            rows, columns = np.nonzero(seen[t])
            x, y, w, h = first.boxes[t, label - 1]
            if len(rows):
                assert x <= columns.min()
                assert y <= rows.min()
                assert columns.max() < x + w
                assert rows.max() < y + h
        sizes = first.boxes[:, label - 1, 2:].prod(-1)
        assert (
            max(sizes[0], sizes[-1]) / min(sizes[0], sizes[-1]) > 2
        )  # the scale changes by two, the area by about four


def test_nothing_covered_equals_its_box():
    """A single piece without others: the mask's own extent is the box, exactly."""
    piece = one_piece(np.array([[30.0, 30.0, 0.3, 0.5]]))
    inside = piece.coverage(0, *np.meshgrid(np.arange(64), np.arange(64))) > 0.5
    x, y, w, h = compose._box(inside)
    rows, columns = np.nonzero(inside)
    assert (x, y, w, h) == (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert compose._box(np.zeros((4, 4), bool)) == (0, 0, 0, 0)


def test_layouts_on_disk(tmp_path: Path):
    video = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 25, (160, 96))
    rng = np.random.default_rng(0)
    for _ in range(5):
        writer.write(cv2.resize(rng.integers(0, 256, (6, 10, 3), dtype=np.uint8), (160, 96)))
    writer.release()
    compose.write_sequences(tmp_path / "out", video, seed=1, sequences=1, frames=4, height=96)
    davis, otb, jhmdb = (tmp_path / "out" / layout for layout in ("davis", "otb", "jhmdb"))
    assert (davis / "ImageSets/2017/val.txt").read_text() == "composed_00\n"
    masks = [np.asarray(Image.open(davis / f"Annotations/480p/composed_00/{t:05d}.png")) for t in range(4)]
    assert set(np.unique(masks[0])) == {0, 1, 2}
    assert (otb / "composed_00_1/img/0001.jpg").read_bytes() == (
        davis / "JPEGImages/480p/composed_00/00000.jpg"
    ).read_bytes()
    boxes = np.loadtxt(otb / "composed_00_2/groundtruth_rect.txt", delimiter=",")
    rows, columns = np.nonzero(masks[0] == 2)
    # OTB counts from 1; where the piece is not covered in frame 0 its box is the mask's extent, else it is larger.
    assert boxes.shape == (4, 4)
    assert boxes[0, 0] <= columns.min() + 1
    assert boxes[0, 1] <= rows.min() + 1
    joints = scipy.io.loadmat(jhmdb / "joint_positions/composed/composed_00/joint_positions.mat")["pos_img"]
    assert joints.shape == (2, 10, 4)
    x, y = joints[:, 0, 0] - 1  # center of piece 1
    assert boxes[0, 0] > 0
    assert abs(x - masks[0].shape[1] / 2) < masks[0].shape[1] / 2
    assert abs(y - masks[0].shape[0] / 2) < masks[0].shape[0] / 2
    frame = cv2.imread(str(jhmdb / "Frames/composed/composed_00/00001.png"))
    assert frame.shape == (96, 160, 3)

    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}
    video.unlink()  # not even the background is read a second time
    compose.write_sequences(tmp_path / "out", video, seed=1, sequences=1, frames=4, height=96)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")} == written


def test_a_video_that_does_not_decode_is_named(tmp_path: Path):
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"notes\.mp4: not one frame can be decoded"):
        compose.read_background(tmp_path / "notes.mp4", 3, 48)


def test_too_few_photographs_are_refused():
    photo = np.zeros((240, 240, 3), np.uint8)
    with pytest.raises(ValueError, match="each of 2 objects needs a photograph of its own, got 1"):
        compose.compose(np.random.default_rng(0), np.zeros((3, 48, 80, 3), np.uint8), [photo])
