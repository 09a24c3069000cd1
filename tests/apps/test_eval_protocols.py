"""Protocols from the command line and in streams: what is written, scored, told and refused."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from small import write_davis

from vfs_jax.apps import eval as eval_app
from vfs_jax.apps import propagate, score
from vfs_jax.data.images import read_index_mask
from vfs_jax.errors import InputError
from vfs_jax.evaluation import stream
from vfs_jax.evaluation.protocols import PROTOCOLS

# ml_collections loads config files through a deprecated method of importlib.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

PATCHES = """
import numpy as np

def patches(frames):
    assert frames.dtype == np.uint8
    b, h, w, _ = frames.shape
    cells = frames.reshape(b, h // 8, 8, w // 8, 8, 3).swapaxes(2, 3)
    return cells.reshape(b, h // 8, w // 8, -1).astype("float32") - 128

patches.multiple = 8
"""
# Each protocol at a size that small frames of 64x96 keep.
SMALL = {
    "vfs": {"short_side": 64},
    "crw": {},
    "dino": {"short_side": 64, "multiple": 32},
    "dinov3": {"short_side": 128, "multiple": 8},
    "cropmae": {"short_side": 64, "width": 120},
    "rsp": {"short_side": 64, "multiple": 32},
    "spa_then_temp": {"short_side": 64},
}


@pytest.fixture(autouse=True)
def _one_device(monkeypatch):
    """Every device compiles its own programs; one is enough here."""
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("small"))


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """The name of a function, in the working directory, that gives the pixels of each patch of 8x8."""
    monkeypatch.chdir(tmp_path)
    Path("pixel_patches.py").write_text(PATCHES)
    return "pixel_patches:patches"


def flags(data, workdir, encoder, **changes):
    values = {"data": data, "encoder": encoder, "radius": 4.0} | changes
    options = (f"--config.{name}={value}" for name, value in values.items())
    return ["--config=configs/davis.py", f"--workdir={workdir}", *options]


def overlap(found, truth):
    return np.count_nonzero((found > 0) & (truth > 0)) / np.count_nonzero((found > 0) | (truth > 0))


@pytest.mark.slow
def test_copies_take_the_place_of_frames_and_masks(data, encoder, tmp_path, command):
    """RSP's: masks are of the copies' size, the first one is the copied truth, and scored against copies."""
    options = {"protocol": "rsp", "copies": "64x120", "short_side": 64, "multiple": 8}
    status, _, stderr = command(eval_app, *flags(data, tmp_path / "run", encoder, **options))
    assert status == 0, stderr
    truth = read_index_mask(data / "Annotations/480p/ant/00000.png")
    columns = np.floor((np.arange(120) + 0.5) * 96 / 120).astype(int)
    np.testing.assert_array_equal(read_index_mask(tmp_path / "run/masks/ant/00000.png"), truth[:, columns])
    assert read_index_mask(tmp_path / "run/masks/ant/00003.png").shape == (64, 120)
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["overridden"] == ["copies", "multiple", "radius", "short_side"]
    assert {name: config[name] for name in ("protocol", "radius", "topk", "num_context", "ties", "first_once")} == {
        "protocol": "rsp", "radius": 4.0, "topk": 7, "num_context": 30, "ties": "all", "first_once": True,
    }  # fmt: skip
    assert "overridden" in (tmp_path / "run/report.html").read_text()
    arguments = [f"--results={tmp_path / 'run'}", f"--data={data}", f"--out={tmp_path / 'scores'}"]
    assert command(score, "davis", *arguments)[0] == 0
    for table in ("global.csv", "per_object.csv"):
        assert (tmp_path / "scores" / table).read_text() == (tmp_path / "run" / table).read_text()
    again = flags(data, tmp_path / "run", encoder, **options | {"protocol": "dino"})
    status, _, stderr = command(eval_app, *again)
    assert (status, "protocol: rsp there, dino here" in stderr) == (1, True), stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "dyno"}, "--config.protocol=dyno: there is no such protocol; there are vfs, crw"),
        ({"min_max": "some"}, "--config.min_max=some: choose among none, epsilon"),
        ({"copies": "480"}, "--config.copies=480: write HEIGHTxWIDTH in pixels, or none"),
        ({"protocol": "dino", "short_side": 60, "multiple": 4}, "--config.multiple=4: frames of 64x96 become 60x88"),
        ({"topk": 0}, "--config.topk=0: "),
        ({"temperature": 0}, "--config.temperature=0.0: "),
        ({"num_context": -1}, "--config.num_context=-1: "),
        ({"short_side": 0}, "--config.short_side=0: "),
        ({"radius": -1}, "--config.radius=-1.0: "),
        ({"std": "(1.0,0.0,1.0)"}, "--config.std=(1.0, 0.0, 1.0): "),
        ({"first_once": True, "keep_first": False}, "--config.first_once=True: "),
    ],
    ids=str,
)
def test_bad_settings_are_one_clear_line(data, encoder, tmp_path, command, changes, message):
    status, _, stderr = command(eval_app, *flags(data, tmp_path / "run", encoder, **changes))
    assert status == 1
    assert message in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", PROTOCOLS["video"])
def test_streams_under_every_protocol(name):
    """A textured square that moves is followed, and so is another one that enters at frame 2."""
    rng = np.random.default_rng(0)
    ground, square = rng.integers(0, 120, (64, 96, 3), np.uint8), rng.integers(130, 255, (24, 32, 3), np.uint8)
    frames, masks = np.repeat(ground[None], 5, 0), np.zeros((5, 64, 96), np.uint8)
    for t in range(5):
        frames[t, 8:32, 16 + 8 * (t // 2) : 48 + 8 * (t // 2)] = square
        masks[t, 8:32, 16 + 8 * (t // 2) : 48 + 8 * (t // 2)] = 3
    entering = np.zeros((64, 96), np.uint8)
    entering[40:56, 64:88] = 9
    names: dict[str, object] = {}
    exec(PATCHES, names)
    settings = SMALL[name] | {"radius": 4.0}
    found = list(stream(frames, masks[0], names["patches"], new_labels={2: entering}, protocol=name, **settings))
    assert [mask.shape for mask in found] == [(64, 96)] * 5
    assert overlap(found[0], masks[0]) > 0.9
    assert set(np.unique(found[1])) <= {0, 3}
    assert set(np.unique(found[4])) == {0, 3, 9}
    assert overlap(found[4] == 3, masks[4]) > 0.7
    assert overlap(found[4] == 9, entering) > 0.6


@pytest.mark.slow
def test_ones_own_video_under_a_protocol(data, tmp_path, command):
    """The first mask as given, and DINO's settings in config.json."""
    frames = data / "JPEGImages/480p/ant"
    mask = data / "Annotations/480p/ant/00000.png"
    where = [f"--mask={mask}", "--weights=random:0", f"--out={tmp_path / 'out'}"]
    status, _, stderr = command(propagate, frames, *where, "--protocol=dino", "--short_side=64", "--radius=4")
    assert status == 0, stderr
    np.testing.assert_array_equal(read_index_mask(tmp_path / "out/masks/00000.png"), read_index_mask(mask))
    settings = json.loads((tmp_path / "out/config.json").read_text())["settings"]
    assert (settings["ties"], settings["radius"], settings["std"][0]) == ("all", 4.0, 58.14)
    status, _, stderr = command(propagate, frames, *where, "--protocol=dyno")
    assert (status, "error: --protocol=dyno: there is no such protocol" in stderr) == (1, True), stderr


def test_streams_refuse_patches_that_do_not_fit():
    encoder = lambda frames: frames  # noqa: E731  never called
    encoder.multiple = 14
    with pytest.raises(InputError, match=r"^multiple=64: frames of 64x96 become 480x704"):
        next(stream([np.zeros((64, 96, 3), np.uint8)], np.eye(64, 96, dtype=np.uint8), encoder, protocol="dino"))
