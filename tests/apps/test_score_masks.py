"""vfs-score masks: two folders of index masks, against a computation that shares no code."""

import csv
import functools
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from small import write_davis

from vfs_jax.apps import score
from vfs_jax.data.images import write_index_mask

COLUMNS = ("J-Mean", "F-Mean")


@pytest.fixture
def vfs_score(command):
    return functools.partial(command, score)


def write(folder, masks, step=1):
    folder.mkdir(parents=True)
    for number, mask in enumerate(masks):
        write_index_mask(folder / f"{step * number:05d}.png", mask)


def video(frames=7, h=40, w=56):
    """Labels 3, 200 and 255; 200 enters at frame 2 and 255 at frame 4. The results are the same a pixel aside."""
    truth = np.zeros((frames, h, w), np.uint8)
    for t in range(frames):
        truth[t, 5 + t : 15 + t, 5:20] = 3
        if t >= 2:
            truth[t, 20:30, 2 * t : 14 + 2 * t] = 200
        if t >= 4:
            truth[t, 5:12, 30 + t : 40 + t] = 255
    result = np.roll(truth, (1, 2), (1, 2))
    result[5][result[5] == 3] = 0  # lost in one frame
    return truth, result


def contour_points(mask):
    h, w = mask.shape
    rows, cols = np.minimum(np.arange(h) + 1, h - 1), np.minimum(np.arange(w) + 1, w - 1)
    diagonal = (mask != mask[np.ix_(rows, cols)]) & (np.arange(h) < h - 1)[:, None] & (np.arange(w) < w - 1)
    return (mask != mask[:, cols]) | (mask != mask[rows]) | diagonal


def measures(result, truth):
    j = (result & truth).sum() / (result | truth).sum() if (result | truth).any() else 1.0
    a, b = contour_points(result), contour_points(truth)
    if not a.any() or not b.any():
        return j, float(a.any() == b.any())
    reach = math.ceil(0.008 * math.hypot(*truth.shape))
    precision = (ndimage.distance_transform_edt(~b)[a] <= reach).mean()
    recall = (ndimage.distance_transform_edt(~a)[b] <= reach).mean()
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def expected(result, truth, label, margin=1):
    entry = next(t for t in range(len(truth)) if (truth[t] == label).any())
    values = [measures(result[t] == label, truth[t] == label) for t in range(entry + margin, len(truth) - margin)]
    return np.mean(values, axis=0)


def table(path):
    with (path / "per_object.csv").open() as file:
        return {row["Sequence"]: [float(row[column]) for column in COLUMNS] for row in csv.DictReader(file)}


@pytest.mark.parametrize(("flag", "margin"), [("--noall_frames", 1), ("--all_frames", 0)])
def test_labels_as_they_are_from_the_frame_at_which_they_enter(tmp_path, vfs_score, flag, margin):
    truth, result = video()
    write(tmp_path / "truth/bike", truth)
    write(tmp_path / "results/bike", result)
    out = tmp_path / "out"
    status, printed, _ = vfs_score(
        "masks", f"--data={tmp_path / 'truth'}", f"--results={tmp_path / 'results'}", f"--out={out}", flag
    )
    assert status == 0
    found = table(out)
    assert list(found) == ["bike_3", "bike_200", "bike_255"]
    for label in (3, 200, 255):
        np.testing.assert_allclose(found[f"bike_{label}"], expected(result, truth, label, margin), atol=1e-12)
    with (out / "global.csv").open() as file:
        (row,) = csv.DictReader(file)
    np.testing.assert_allclose([float(row[column]) for column in COLUMNS], np.mean(list(found.values()), axis=0))
    assert "bike_255" in printed


def test_frames_that_have_truth(tmp_path, vfs_score):
    """Truth of every fifth frame, results of all: the frames between do not count, nor those behind the last."""
    truth, result = video()
    write(tmp_path / "truth/bike", truth, step=5)
    write(tmp_path / "results/bike", result, step=5)
    for number in (1, 7, 33):
        write_index_mask(tmp_path / f"results/bike/{number:05d}.png", np.full((40, 56), 9, np.uint8))
    out = tmp_path / "out"
    flags = f"--data={tmp_path / 'truth'}", f"--results={tmp_path / 'results'}", f"--out={out}"
    assert vfs_score("masks", *flags)[0] == 0
    np.testing.assert_allclose(table(out)["bike_3"], expected(result, truth, 3), atol=1e-12)
    for path in (tmp_path / "results/bike").iterdir():
        path.rename(path.with_name(f"{int(path.stem) + 2}.png"))
    status, _, stderr = vfs_score("masks", *flags)
    assert status == 1
    assert "belongs to no frame" in stderr


def test_a_folder_an_object(tmp_path, vfs_score):
    """SA-V: VIDEO/OBJECT/NAME.png, whatever value the object has, from the object's first mask on."""
    truth, result = video()
    for label, name in ((3, "000"), (200, "001")):
        shown = [mask for mask in truth if (mask == label).any()]
        start = len(truth) - len(shown)
        for kind, masks, value in (("truth", truth, 1), ("results", result, 255)):
            folder = tmp_path / kind / "sav_1" / name
            folder.mkdir(parents=True)
            for number in range(start, len(masks)):
                write_index_mask(folder / f"{4 * number:05d}.png", ((masks[number] == label) * value).astype(np.uint8))
    out = tmp_path / "out"
    flags = f"--data={tmp_path / 'truth'}", f"--results={tmp_path / 'results'}", f"--out={out}"
    assert vfs_score("masks", *flags)[0] == 0
    found = table(out)
    for label, name in ((3, "sav_1_000"), (200, "sav_1_001")):
        np.testing.assert_allclose(found[name], expected(result, truth, label), atol=1e-12)
    write_index_mask(tmp_path / "results/sav_1/001/00016.png", truth[4])
    status, _, stderr = vfs_score("masks", *flags)
    assert (status, "holds labels 3, 200, 255; a folder an object" in stderr) == (1, True)


def test_an_object_that_enters_last_is_left_out(tmp_path, vfs_score):
    truth, _ = video()
    truth[:-1][truth[:-1] == 255] = 0
    for kind in ("truth", "results"):
        write(tmp_path / kind / "bike", truth)
    out = tmp_path / "out"
    with pytest.warns(UserWarning, match="object 255 enters too late"):
        vfs_score("masks", f"--data={tmp_path / 'truth'}", f"--results={tmp_path / 'results'}", f"--out={out}")
    assert table(out)["bike_3"] == [1, 1]
    assert np.isnan(table(out)["bike_255"]).all()
    with (out / "global.csv").open() as file:
        assert float(next(csv.DictReader(file))["J&F-Mean"]) == 1


def lose_video(root):
    (root / "results/bike").rename(root / "results/bikes")


def lose_mask(root):
    (root / "results/bike/00003.png").unlink()


def add_label(root):
    write_index_mask(root / "results/bike/00003.png", np.full((40, 56), 7, np.uint8))


def shrink(root):
    write_index_mask(root / "results/bike/00003.png", np.zeros((20, 28), np.uint8))


def count_from_one(root):
    for path in sorted((root / "results/bike").iterdir(), reverse=True):
        path.rename(path.with_name(f"{int(path.stem) + 1:05d}.png"))


def add_mask(root):
    write_index_mask(root / "results/bike/copy.png", np.zeros((40, 56), np.uint8))


def mix(root):
    (root / "truth/bike/001").mkdir()


def pack(root):
    (root / "truth/bike").rename(root / "bike")
    (root / "truth/Annotations/480p").mkdir(parents=True)
    (root / "bike").rename(root / "truth/Annotations/480p/bike")


def empty_truth(root):
    for path in (root / "truth/bike").iterdir():
        write_index_mask(path, np.zeros((40, 56), np.uint8))


def blur(root):
    Image.fromarray(np.zeros((40, 56), np.uint8)).save(root / "results/bike/00003.png", format="JPEG")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lose_video, "results/bike: is missing"),
        (lose_mask, "results/bike/00003.png: no such file"),
        (add_label, "00003.png: holds label 7, the objects are 3, 200, 255"),
        (shrink, "00003.png: mask and ground truth are of sizes 28x20 and 56x40"),
        (count_from_one, "bike: its names are 1 too high, 00001 to 00007, the frames are 00000 to 00006"),
        (add_mask, "bike/copy.png: belongs to no frame"),
        (mix, "truth/bike: holds masks and folders"),
        (pack, "truth: is a whole data set; give the folder of its masks, "),
        (empty_truth, "truth/bike: its masks hold no object"),
        (blur, "00003.png: is a JPEG"),
    ],
)
def test_bad_folders_are_one_clear_line(tmp_path, vfs_score, spoil, message):
    truth, result = video()
    write(tmp_path / "truth/bike", truth)
    write(tmp_path / "results/bike", result)
    spoil(tmp_path)
    flags = f"--data={tmp_path / 'truth'}", f"--results={tmp_path / 'results'}", f"--out={tmp_path / 'out'}"
    status, _, stderr = vfs_score("masks", *flags)
    assert status == 1
    assert message in stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_results_of_no_video_are_named(tmp_path, vfs_score):
    truth, result = video()
    write(tmp_path / "truth/bike", truth)
    for name in ("bike", "bikes", "car"):
        write(tmp_path / "results" / name, result)
    flags = f"--data={tmp_path / 'truth'}", f"--results={tmp_path / 'results'}", f"--out={tmp_path / 'out'}"
    status, printed, _ = vfs_score("masks", *flags)
    assert status == 0
    assert "results/bikes and 1 more: belongs to no sequence and is not scored" in printed


@pytest.mark.parametrize("task", ["masks", "davis"])
def test_scoring_masks_does_without_jax(tmp_path, task):
    """JAX takes longer to import than a data set of masks to score."""
    if task == "davis":
        data = write_davis(tmp_path / "data")
        results = data / "Annotations/480p"
    else:
        data = results = tmp_path / "truth"
        write(data / "bike", video()[0])
    program = f"""if True:
        import sys
        from vfs_jax.apps import score
        score.FLAGS(["score", "--data={data}", "--results={results}", "--out={tmp_path / "out"}"])
        score.run(["{task}"])
        print([name for name in ("jax", "flax", "matplotlib", "scipy") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
