"""Whole protocols held to the official code of their authors: frames, first labels, windows, labels, masks."""

import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from small import FixedGrid
from test_tasks import vip  # noqa: F401  a made-up data set is a fixture

from vfs_jax.correspondence.affinity import window_offsets
from vfs_jax.data.copies import copy_sequences
from vfs_jax.data.mask_datasets import open_davis
from vfs_jax.errors import InputError
from vfs_jax.evaluation.encoders import as_encoder
from vfs_jax.evaluation.encoders.network import to_lab
from vfs_jax.evaluation.propagation.features import features_of, prepare_frame
from vfs_jax.evaluation.propagation.first_masks import first_labels, number_labels
from vfs_jax.evaluation.propagation.labels import masks_along, propagate_labels
from vfs_jax.evaluation.propagation.padding import Layout, network_size
from vfs_jax.evaluation.propagation.readout import merge_groups
from vfs_jax.evaluation.protocols import PROTOCOLS, settings_of
from vfs_jax.models import backbone_of, init_variables, load_weights, normalize_images


class PatchGrid(FixedGrid):
    """An encoder of square patches."""

    def __init__(self, patch):
        self.patch = patch

    def grid_size(self, height, width, output):
        return height // self.patch, width // self.patch


GRID = FixedGrid((15, 20))
ORACLE = {"spa_then_temp": "stt"}  # what the arrays are called, where that is not the protocol's name
# The official runs on given features: a network's input of 240x320 for frames of 250x334.
RUNS = {
    "crw": {},
    "cropmae": {"short_side": 240, "width": 320},
    "spa_then_temp": {"short_side": 240, "width": 320},
    "dino": {"short_side": 240},
    "dinov3": {"short_side": 240},
    "rsp": {"short_side": 240},
}
SMALL = {
    "dino": {"num_context": 3, "radius": 3.0},
    "dinov3": {"num_context": 3, "radius": math.sqrt(9.5)},
    "rsp": {"num_context": 3, "radius": 3.0},
    "crw": {"num_context": 3, "radius": 4.0},
    "cropmae": {"num_context": 3, "radius": 4.0},
    "spa_then_temp": {"num_context": 3, "radius": 3.0},
}
CASES = {
    "released": {name: {} for name in RUNS},
    "released_d8": {"spa_then_temp": {}},
    "small": SMALL,
    "small_d8": {"spa_then_temp": SMALL["spa_then_temp"]},
    "small_square": {"dinov3": {"num_context": 3, "radius": 3.0, "window": "square"}},
    "nowindow": {name: {"radius": math.inf} for name in RUNS},
    "ties": {name: {} for name in RUNS},
}


@pytest.fixture(scope="module")
def arrays(oracles):
    return np.load(oracles / "protocols.npz")


def compare_samples(found, arrays, name, tolerance):
    """Against an array that is sampled, with its shape, mean and deviation, or whole."""
    found = np.asarray(found)
    if name in arrays:
        np.testing.assert_allclose(found, arrays[name], rtol=0, atol=tolerance)
        return
    assert list(found.shape) == list(arrays[f"{name}.shape"])
    sample = found.reshape(-1)[:: int(arrays[f"{name}.stride"])]
    np.testing.assert_allclose(sample, arrays[f"{name}.sample"], rtol=0, atol=tolerance)
    assert found.mean(dtype=np.float64) == pytest.approx(float(arrays[f"{name}.mean"]), abs=tolerance)
    assert found.std(dtype=np.float64) == pytest.approx(float(arrays[f"{name}.std"]), abs=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", RUNS)
def test_official_runs(oracles, arrays, inputs, name, case):
    oracle = f"{ORACLE.get(name, name)}.{case}"
    if name not in CASES[case] or f"{oracle}.pred" not in arrays:
        return
    features = inputs.protocol_tie_features() if case == "ties" else inputs.protocol_features()
    size = tuple(map(int, arrays[f"{oracle.split('.')[0]}.size"]))
    settings = settings_of(name, "video", GRID, **RUNS[name], **CASES[case][name])
    layout = Layout.of(size, settings, GRID)
    mask = inputs.protocol_first_mask(*size)

    first = first_labels(number_labels(mask)[0], settings, layout)
    expected = arrays[f"{oracle.split('.')[0]}.first"]
    if settings.soft_first:
        np.testing.assert_allclose(first, expected, rtol=0, atol=1e-6)
    else:
        np.testing.assert_array_equal(first, np.eye(3)[expected] if expected.ndim == 2 else expected)
    soft = np.stack(list(propagate_labels(features, first, settings, layout)))
    compare_samples(soft[..., :3], arrays, f"{oracle}.soft", 1e-5)
    assert not soft[..., 3:].any()
    masks = np.stack([np.asarray(each) for each in masks_along(features, mask, settings, layout)])
    # The official outputs of CRW and CropMAE pass through OpenCV's bilinear, whose weights are rounded otherwise.
    assert np.sum(masks != arrays[f"{oracle}.pred"]) <= (50 if settings.soft_first else 20)


WINDOWS = {
    "dino.window12": settings_of("dino", "video", GRID),
    "dinov3.window12": settings_of("dinov3", "video", GRID),
    "crw.window12": settings_of("crw", "video", GRID),
    "crw.window4": settings_of("crw", "video", GRID, radius=4.0),
    "cropmae.window20": settings_of("cropmae", "video", GRID),
    "stt.window24": settings_of("spa_then_temp", "video", GRID),
    "stt.window6": settings_of("spa_then_temp", "video", GRID, radius=3.0),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_official_windows(arrays, name):
    """bool [query, key] on a grid of 15x20."""
    allowed = np.zeros((15, 20, 15, 20), bool)
    for down, right in window_offsets(WINDOWS[name].radius, WINDOWS[name].window, 15, 20):
        rows, cols = (np.arange(side)[max(-by, 0) : side - max(by, 0)] for side, by in ((15, down), (20, right)))
        allowed[rows[:, None], cols, rows[:, None] + down, cols + right] = True
    expected = np.unpackbits(arrays[name])[: 300 * 300].reshape(300, 300)
    np.testing.assert_array_equal(allowed.reshape(300, 300), expected)


def blackswan(real_data, settings):
    (sequence,) = copy_sequences(open_davis(real_data / "davis_like", sequences=["blackswan"]), settings.copies)
    return sequence


@pytest.mark.parametrize(
    ("name", "oracle", "changes"),
    [
        ("crw", "crw.frame", {}),
        ("cropmae", "cropmae.frame", {}),
        ("dino", "dino.frame", {}),
        ("rsp", "rsp.frame", {}),
        ("dinov3", "dinov3.frame960", {}),
        ("dinov3", "dinov3.frame480", {"short_side": 480}),
    ],
)
def test_official_frames(real_data, arrays, name, oracle, changes):
    """As the network receives them, normalized; float32, in which numbers around 2 err by 2e-7 an operation."""
    settings = settings_of(name, "davis", GRID, **changes)
    sequence = blackswan(real_data, settings)
    frame = prepare_frame(sequence.frame(0), Layout.of(sequence.size, settings, GRID))
    compare_samples(normalize_images(frame, settings.mean, settings.std), arrays, oracle, 1e-6)


@pytest.mark.parametrize("name", sorted({*RUNS} - {"dinov3"}))
def test_official_first_labels_of_a_real_mask(real_data, arrays, name):
    oracle = arrays[f"{ORACLE.get(name, name)}.blackswan.first"]
    grid = FixedGrid(oracle.shape[:2])
    settings = settings_of(name, "davis", grid)
    sequence = blackswan(real_data, settings)
    first = first_labels(sequence.mask(0), settings, Layout.of(sequence.size, settings, grid))
    expected = np.eye(2)[oracle] if oracle.ndim == 2 else oracle
    np.testing.assert_allclose(first, expected, rtol=0, atol=1e-6 if settings.soft_first else 0)


def test_sizes():
    """As the peers' scripts compute them: landscape, portrait and square frames."""
    frames = ((480, 854), (854, 480), (500, 500))
    expected = {
        "vfs": ((480, 854), (854, 480), (480, 480)),
        "spa_then_temp": ((480, 854), (854, 480), (480, 480)),
        "crw": frames,
        "dino": ((480, 832), (832, 480), (480, 448)),
        "dinov3": ((960, 1712), (1712, 960), (960, 960)),
        "cropmae": ((480, 880),) * 3,
    }
    for name, sizes in expected.items():
        assert tuple(network_size(*each, settings_of(name, "davis", GRID)) for each in frames) == sizes
    cropmae = settings_of("cropmae", "vip", GRID)
    assert [network_size(*each, cropmae) for each in frames] == [(448, 880), (880, 448), (880, 832)]
    crw = settings_of("crw", "davis", GRID, short_side=320)
    assert network_size(480, 854, crw) == (320, 320)  # its cropSize squashes


def test_patches_that_do_not_fit_are_told():
    assert network_size(480, 854, settings_of("vfs", "davis", GRID), multiple=14) == (476, 854)
    assert network_size(480, 854, settings_of("dinov3", "davis", GRID, multiple=14), multiple=14) == (966, 1722)
    for name, step in (("dino", 64), ("crw", 1), ("spa_then_temp", 1)):
        with pytest.raises(InputError, match=f"^multiple={step}: .* 480x8.., .* multiples of 14; set multiple"):
            network_size(480, 854, settings_of(name, "davis", GRID), multiple=14)


def test_unknown_protocols_name_what_there_is():
    with pytest.raises(InputError, match=r"^protocol=dyno: there is no such protocol; there are vfs, crw, dino"):
        settings_of("dyno", "davis", GRID)
    with pytest.raises(InputError, match=r"^protocol=dino: .* jhmdb; there are vfs, crw, cropmae, spa_then_temp$"):
        settings_of("dino", "jhmdb", GRID)
    with pytest.raises(InputError, match=r"^protocol=crw: .* vip; there are vfs, cropmae, spa_then_temp$"):
        settings_of("crw", "vip", GRID)
    with pytest.raises(InputError, match=r"^window=diamond: choose among circle, square$"):
        settings_of("dino", "davis", GRID, window="diamond")
    with pytest.raises(TypeError, match="topkk"):
        settings_of("dino", "davis", GRID, topkk=3)


def test_radius_depends_on_the_network():
    """VFS: 18 cells for bottleneck ResNets; Spa-then-Temp: 35 where a cell is 4 pixels wide."""
    assert {name: settings_of(name, "davis", GRID).radius for name in ("vfs", "rsp")} == {"vfs": 12.0, "rsp": 30.0}
    deep = as_encoder(jax.eval_shape(lambda: backbone_of(init_variables(seed=0, depth=50))))
    assert [settings_of("vfs", task, deep).radius for task in ("davis", "vip", "jhmdb")] == [18.0, 18.0, 5.0]
    assert settings_of("vfs", "davis", deep, radius=7.0).radius == 7.0
    assert settings_of("vfs", "davis", deep, radius=math.inf).radius is None
    assert settings_of("dino", "davis", deep).radius == 12.0
    radii = [settings_of("spa_then_temp", task, deep, output=output).radius for task in ("davis", "jhmdb", "vip")
             for output in ("res4", "res2")]  # fmt: skip
    assert radii == [12.0, 35.0, 5.0, 12.0, 16.0, 35.0]


def test_square_frames_of_dino():
    """Its script exchanges the sides of a square frame's mask grid: labels of 4x3 cells lie on 3x4 in reading order."""
    encoder = PatchGrid(16)
    settings = settings_of("dino", "video", encoder, short_side=64, multiple=16, num_context=1)
    layout = Layout.of((70, 70), settings, encoder)
    assert layout.network == (64, 64)
    settings = settings_of("dino", "video", encoder, short_side=64, multiple=48)
    layout = Layout.of((70, 70), settings, encoder)
    assert (layout.network, layout.grid("")) == ((64, 48), (4, 3))
    mask = np.random.default_rng(0).integers(0, 3, (70, 70), np.uint8)
    small = np.array(Image.fromarray(mask).resize((4, 3), Image.Resampling.NEAREST))
    first = first_labels(mask, settings, layout)
    np.testing.assert_array_equal(first, np.eye(3)[small].reshape(4, 3, 3))
    soft = np.random.default_rng(1).random((4, 3, 3), np.float32)
    large = torch.nn.functional.interpolate(
        torch.tensor(soft.reshape(3, 4, 3)).permute(2, 0, 1)[None], scale_factor=16, mode="bilinear"
    )[0].numpy()
    low, high = large.min((1, 2), keepdims=True), large.max((1, 2), keepdims=True)
    at_network = ((large - low) / (high - low)).argmax(0).astype(np.uint8)
    expected = np.array(Image.fromarray(at_network).resize((70, 70), Image.Resampling.NEAREST))
    found = merge_groups([jnp.asarray(soft)], [(0, 1, 2)], layout, settings)
    assert np.mean(np.asarray(found) != expected) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "winner"), [("dino", 1), ("dinov3", 0), ("vfs", 0), ("crw", 1)], ids=lambda value: str(value)
)
def test_a_constant_map(name, winner):
    """0 / 0 where one label fills the frame: NaN wins in DINO's script; scaled to 0 it loses to the background."""
    settings = settings_of(name, "video", GRID, short_side=240)
    layout = Layout.of((240, 320), settings, GRID)
    labels = jnp.zeros((15, 20, 4), jnp.float32).at[..., 1].set(0.7)
    found = np.asarray(merge_groups([labels], [(0, 1)], layout, settings))
    assert (found == winner).all()


def test_the_constants_are_the_published_ones():
    """What a task's protocols share and differ in, as plain numbers."""
    context = {
        name: (each.num_context, each.topk, each.temperature, each.window, each.first_frame_windowed, each.ties)
        for name, each in PROTOCOLS["davis"].items()
    }
    assert context == {
        "vfs": (20, 10, 0.07, "circle", True, "first"),
        "crw": (20, 10, 0.05, "circle", False, "first"),
        "dino": (7, 5, 0.1, "square", True, "all"),
        "dinov3": (7, 5, 0.2, "circle", True, "all"),
        "cropmae": (20, 7, 0.7, "circle", False, "first"),
        "rsp": (30, 7, 0.1, "square", True, "all"),
        "spa_then_temp": (20, 10, 0.07, "square", True, "first"),
    }
    radii = {task: {name: each.radius for name, each in PROTOCOLS[task].items()} for task in ("vip", "jhmdb")}
    assert radii == {
        "vip": {"vfs": 12.0, "cropmae": 20.0, "spa_then_temp": 16.0},
        "jhmdb": {"vfs": 5.0, "crw": 12.0, "cropmae": 20.0, "spa_then_temp": 5.0},
    }
    assert {name for name, each in PROTOCOLS["davis"].items() if each.copies != "none"} == {"rsp"}
    assert not any(each.copies != "none" for each in PROTOCOLS["video"].values())


def test_official_frames_in_lab(real_data, arrays):
    """Spa-then-Temp's networks read OpenCV's Lab of floats, which is up to 4e-3 from the textbook's."""
    settings = settings_of("spa_then_temp", "davis", GRID)
    sequence = blackswan(real_data, settings)
    frame = prepare_frame(sequence.frame(0), Layout.of(sequence.size, settings, GRID))
    normalized = (to_lab(frame) - np.float32([50, 0, 0])) / np.float32([50, 127, 127])
    compare_samples(normalized, arrays, "stt.frame", 5e-3)


@pytest.mark.long
@pytest.mark.parametrize(("name", "frames", "changes"), [("dino", 6, {}), ("dinov3", 4, {"short_side": 480})])
def test_official_runs_from_files_to_masks(oracles, real_data, arrays, tmp_path, name, frames, changes):
    """ViT S/16 of seeded weights on blackswan: features, labels, masks."""
    if f"{name}.blackswan.soft" not in arrays:
        return
    path = tmp_path / "weights.pth"
    script = [sys.executable, oracles / "make_vit_weights.py", "--model", f"{name}_vits16", "--out", path]
    subprocess.run(script, check=True)
    encoder = as_encoder(load_weights(path))
    settings = settings_of(name, "davis", encoder, **changes)
    sequence = blackswan(real_data, settings)
    layout = Layout.of(sequence.size, settings, encoder)
    features = list(features_of(encoder, map(sequence.frame, range(frames)), settings, layout))
    first = first_labels(sequence.mask(0), settings, layout)
    expected = arrays[f"{name}.blackswan.first"]
    np.testing.assert_array_equal(first, np.eye(2)[expected] if expected.ndim == 2 else expected)
    soft = np.stack(list(propagate_labels(features, first, settings, layout)))[..., :2]
    off = np.abs(soft - arrays[f"{name}.blackswan.soft"])
    assert off.mean() < 1e-4  # rounding may take another key here and there
    assert np.mean(off.max(axis=-1) < 1e-4) > 0.995
    masks = np.stack([np.asarray(each) for each in masks_along(features, sequence.mask(0), settings, layout)])
    packed = arrays[f"{name}.blackswan.pred"]
    official = np.unpackbits(packed)[: masks.size].reshape(masks.shape)
    assert np.sum(masks != official, axis=(1, 2)).max() <= 50
