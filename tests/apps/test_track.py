"""vfs-track on a short video made here."""

import functools
import json

import cv2
import numpy as np
import pytest
from odd_videos import cut, encode, paint

from vfs_jax.apps import track
from vfs_jax.evaluation import SiamFCTracker
from vfs_jax.evaluation.report.overlays import LABEL_COLORS
from vfs_jax.evaluation.tracking import siamfc
from vfs_jax.models.weights.resolve import resolve_tracker

av = pytest.importorskip("av")


@pytest.fixture
def frames(tmp_path):
    """Four PNG frames of 60x90 with a textured square that moves; exact in what they hold."""
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 90, (6, 9, 3), dtype=np.uint8), (90, 60))
    texture = cv2.resize(rng.integers(120, 255, (3, 3, 3), dtype=np.uint8), (16, 16))
    (tmp_path / "clip").mkdir()
    out = []
    for t in range(4):
        frame = ground.copy()
        frame[20 + t : 36 + t, 30 + 2 * t : 46 + 2 * t] = texture
        cv2.imwrite(str(tmp_path / "clip" / f"{t:03d}.png"), frame[..., ::-1])
        out.append(frame)
    return tmp_path, out


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Patches at a third of their size: what is tested here lies around the tracker."""
    monkeypatch.setattr(siamfc, "SiamFCTracker", functools.partial(SiamFCTracker, exemplar_size=40, search_size=79))


def call(command, folder, *flags, out="out", video="clip"):
    return command(track, folder / video, "--weights=random:0", f"--out={folder / out}", *flags)


@pytest.mark.slow
def test_boxes_and_overlay(frames, command):
    folder, images = frames
    status, _, stderr = call(command, folder, "--box=31,21,16,16")
    assert status == 0, stderr
    assert "4/4" in stderr
    found = np.loadtxt(folder / "out/boxes.txt", delimiter=",")
    tracker = siamfc.SiamFCTracker(resolve_tracker("random:0")[1])
    tracker.init(images[0], [31, 21, 16, 16])
    expected = [[31, 21, 16, 16], *(tracker.update(image) for image in images[1:])]
    np.testing.assert_allclose(found, expected, atol=6e-4)  # three decimals
    with av.open(str(folder / "out/overlay.mp4")) as file:
        shown = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert (len(shown), shown[0].shape) == (4, (60, 90, 3))
    assert np.abs(shown[0][20, 30:46].astype(int) - LABEL_COLORS[0]).mean() < 60  # the box's upper edge
    assert json.loads((folder / "out/config.json").read_text())["box"] == ["31,21,16,16"]

    # The same command again does the same; another one does not write over it.
    before = (folder / "out/boxes.txt").read_bytes()
    assert call(command, folder, "--box=31,21,16,16")[0] == 0
    assert (folder / "out/boxes.txt").read_bytes() == before
    status, _, stderr = call(command, folder, "--box=30,21,16,16")
    assert status == 1
    assert "out: holds a run of another configuration (box: ['31,21,16,16'] there, ['30,21,16,16'] here)" in stderr
    assert (folder / "out/boxes.txt").read_bytes() == before

    # Two at once, counted from 0; each as if it were alone.
    flags = ["--box=30,20,16,16", "--box=5,5,20,20", "--one_based=False"]
    assert call(command, folder, *flags, out="two")[0] == 0
    boxes = [np.loadtxt(folder / "two" / f"boxes_{index}.txt", delimiter=",") for index in (0, 1)]
    np.testing.assert_allclose(boxes[0] + (1, 1, 0, 0), found, atol=1e-9)
    np.testing.assert_array_equal(boxes[1][0], [5, 5, 20, 20])
    assert not (folder / "two/boxes.txt").exists()


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("31,21,16", "--box=31,21,16: give x,y,w,h"),
        ("31,21,16,0", "--box=31,21,16,0: give x,y,w,h"),
        ("a,b,c,d", "--box=a,b,c,d: give x,y,w,h"),
        ("nan,1,2,3", "--box=nan,1,2,3: give x,y,w,h"),
        ("91,21,16,16", "--box=91,21,16,16: lies outside the first frame of"),
        ("0.3,0.3,0.2,0.2", "--box=0.3,0.3,0.2,0.2: lies between 0 and 1, as shares do"),
    ],
)
def test_a_box_that_is_none_is_one_clear_line(frames, command, box, message):
    folder, _ = frames
    status, _, stderr = call(command, folder, f"--box={box}")
    assert (status, stderr.count("\n")) == (1, 1)
    assert message in stderr
    assert not (folder / "out").exists()
    assert "nowhere: no such file" in call(command, folder, "--box=1,1,2,2", video="nowhere")[2]


@pytest.mark.slow
def test_a_video_that_was_cut_is_followed_to_where_it_ends(tmp_path, command):
    frames = [paint(number, noise=30) for number in range(12)]
    video = cut(encode(tmp_path / "clip.mp4", frames=frames, container={"movflags": "+faststart"}))
    video.rename(tmp_path / "a:b\n%03d.mp4")
    status, _, stderr = call(command, tmp_path, "--box=20,20,16,16", video="a:b\n%03d.mp4", out="c:d\n%03d")
    assert status == 0
    done = len((tmp_path / "c:d\n%03d/boxes.txt").read_text().splitlines())
    assert 2 < done < 10
    assert stderr.splitlines()[-1] == f"vfs-track: WARNING: {tmp_path / 'a:b'} %03d.mp4: {done} of 12 frames decode"
