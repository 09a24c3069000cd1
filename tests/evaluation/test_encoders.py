"""Encoders that are not ours: functions of any framework, and features on disk."""

import csv
import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from small import draw_variables, write_davis

from vfs_jax.data.images import write_index_mask
from vfs_jax.data.mask_datasets import MaskSequence
from vfs_jax.errors import InputError
from vfs_jax.evaluation import evaluate, stream
from vfs_jax.evaluation.data_sets import SPLITS
from vfs_jax.evaluation.encoders import FunctionEncoder, NetworkEncoder, StoredFeatures, as_encoder, name_encoders
from vfs_jax.evaluation.encoders import network as networks
from vfs_jax.evaluation.propagation.features import features_of
from vfs_jax.evaluation.propagation.padding import Layout
from vfs_jax.evaluation.propagation.settings import Settings
from vfs_jax.evaluation.runs.propagation import propagate_sequence
from vfs_jax.evaluation.tasks.masks import Davis
from vfs_jax.models import ResNet, ViT

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), np.uint8)
HOW = {"outputs": ("features",), "dtype": "float32", "precision": "float32"}


def patches(frames):
    """The colors of each 8x8 patch: [b, rows, columns, 192]."""
    b, h, w, _ = frames.shape
    cells = frames.reshape(b, h // 8, 8, w // 8, 8, 3).swapaxes(2, 3)
    return cells.reshape(b, h // 8, w // 8, -1) / np.float32(255)


def by_torch(frames):
    """The same, channels first within, on the tape."""
    torch = pytest.importorskip("torch")
    images = torch.from_numpy(frames).float().permute(0, 3, 1, 2).requires_grad_() / 255
    cells = torch.nn.functional.unfold(images, 8, stride=8).unflatten(-1, (frames.shape[1] // 8, -1))
    return cells.unflatten(1, (3, 64)).transpose(1, 2).flatten(1, 2).permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    "function",
    [patches, by_torch, lambda frames: jnp.asarray(patches(frames))],
    ids=["numpy", "torch", "jax"],
)
def test_arrays_of_any_framework(function):
    encoder = FunctionEncoder(function, "mine:patches")
    assert encoder.grid_size(16, 24, "features") == (2, 3)
    features = encoder(FRAMES, range(3), **HOW)["features"]
    np.testing.assert_allclose(np.asarray(features), patches(FRAMES), rtol=1e-6)
    half = encoder(FRAMES, range(3), outputs=("features",), dtype="bfloat16", precision="float32")["features"]
    assert half.dtype == jnp.bfloat16


@pytest.mark.parametrize(("precision", "of_products"), [("float32", "HIGHEST"), ("tensorfloat32", "HIGH")])
@pytest.mark.parametrize("network", [ResNet(18, outputs=("res4",)), ViT(16, 64, 2, 2, outputs=("norm",))])
def test_products_are_as_precise_as_the_settings_say(monkeypatch, network, precision, of_products):
    """On a CPU all are float32's; what GPUs and TPUs are told stands in the program."""
    programs = []
    encode = networks._encode

    def trace(*arguments, **options):
        programs.append(str(encode.trace(*arguments, **options).jaxpr))
        return {network.outputs[0]: jnp.zeros((4, 1, 1, 1), np.float32)}

    monkeypatch.setattr(networks, "_encode", trace)
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3), np.float32))
    settings = Settings(short_side=32, output=network.outputs[0], precision=precision)
    encoder = NetworkEncoder(network, variables)
    layout = Layout.of((32, 32), settings, encoder)
    list(features_of(encoder, np.zeros((2, 32, 32, 3), np.uint8), settings, layout))
    (program,) = programs
    found = re.findall(
        r"(?:conv_general_dilated|dot_general)\[.*?precision=\(?(?:Precision\.)?(\w+)", program, re.DOTALL
    )
    assert len(found) == program.count("conv_general_dilated[") + program.count("dot_general[") > 5
    assert set(found) - {"HIGHEST"} == {of_products} - {"HIGHEST"}


@pytest.mark.parametrize("framework", ["numpy", "torch", "jax"])
def test_memory_that_is_used_again(framework):
    """Large enough for JAX to copy it in the background, and aligned so that JAX could take it as it is."""
    kept = np.empty(2**21 + 16, np.float32)
    kept = kept[-kept.ctypes.data % 64 // 4 :][: 2**21].reshape(1, 512, 512, 8)
    take = {"numpy": np.asarray, "torch": pytest.importorskip("torch").from_numpy, "jax": jnp.asarray}[framework]

    def function(frames):
        kept[:] = frames[0, 0, 0, 0]
        return take(kept)

    encoder = FunctionEncoder(function, "mine:kept")
    for value in range(1, 6):
        features = encoder(np.full((1, 512, 512, 3), value, np.uint8), range(1), **HOW)["features"]
        kept[:] = 0
        np.testing.assert_array_equal(features, value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda frames: patches(frames)[0], r"gives float32\[2, 3, 192\]"),
        (lambda frames: patches(frames).astype(np.int32), r"gives int32"),
        (lambda frames: patches(frames)[:, :, :, :0], r"gives float32\[1, 2, 3, 0\]"),
        (lambda frames: None, "raised"),
        (lambda frames: 1 / 0, r"raised ZeroDivisionError \(division by zero\) at .*test_encoders.py:"),
        (
            lambda frames: np.moveaxis(patches(np.repeat(frames, 8, 1)), -1, 1),
            "gives features of 192x16 cells for frames of 16x24",
        ),
    ],
)
def test_functions_that_do_not_fit(function, message):
    with pytest.raises(InputError, match=f"^encoder=mine:f: {message}"):
        FunctionEncoder(function, "mine:f").grid_size(16, 24, "features")


def test_a_function_whose_grid_changes():
    encoder = FunctionEncoder(lambda frames: patches(frames)[:, : 2 if not frames.any() else 1], "mine:f")
    with pytest.raises(InputError, match=r"gave \[3, 1, 3, 192\] for 3 frames and 2x3 cells"):
        encoder(FRAMES, range(3), **HOW)


@pytest.mark.parametrize("whole", [True, False])
def test_features_on_disk(tmp_path, whole):
    features = patches(FRAMES)
    if whole:
        np.save(tmp_path / "ant.npy", features.astype(np.float16))
    else:
        (tmp_path / "ant").mkdir()
        for number, each in enumerate(features):
            np.save(tmp_path / f"ant/{number:05d}.npy", each.astype(np.float16))
    encoder = StoredFeatures(tmp_path).of_sequence("ant")
    StoredFeatures(tmp_path).check("ant", 3, (16, 24))
    assert encoder.grid_size(16, 24, "features") == (2, 3)
    found = encoder(FRAMES[:2], [2, 0], **HOW)["features"]
    np.testing.assert_array_equal(np.asarray(found), features[[2, 0]].astype(np.float16).astype(np.float32))
    with pytest.raises(InputError, match="frame 3"):
        StoredFeatures(tmp_path).check("ant", 4, (16, 24))


def write_torn(path):
    np.save(path, patches(FRAMES))
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, r"ant/00000.npy: no such features; write ant.npy \[t, rows, columns, c\]"),
        (lambda path: np.save(path, patches(FRAMES)[0]), r"is \[2, 3, 192\]; write floats \[t, rows"),
        (lambda path: np.save(path, np.zeros((3, 2, 3, 8), np.uint8)), "is uint8"),
        (lambda path: np.save(path, np.zeros((3, 384, 30, 52), np.float32)), "384x30 cells for frames of 16x24"),
        (lambda path: np.save(path, np.array([{}], object), allow_pickle=True), "is no whole .npy file"),
        (write_torn, "is no whole .npy file"),
        (lambda path: path.write_bytes(b""), "is no whole .npy file"),
    ],
)
def test_features_on_disk_that_do_not_fit(tmp_path, write, message):
    write(tmp_path / "ant.npy")
    with pytest.raises(InputError, match=message):
        StoredFeatures(tmp_path).check("ant", 3, (16, 24))


def test_names(tmp_path, monkeypatch):
    (tmp_path / "my_encoders.py").write_text(
        "def grid(frames): return frames\n"
        "class Big:\n"
        "    multiple, name = 14, 'big'\n"
        "    def __call__(self, frames): return frames\n"
        "big, number, odd = Big(), 3, Big()\n"
        "odd.multiple = 0\n"
    )
    (tmp_path / "broken_encoders.py").write_text("1 / 0")
    (tmp_path / "grid").mkdir()
    monkeypatch.chdir(tmp_path)
    found = name_encoders(encoder="my_encoders:grid, my_encoders:big", features=str(tmp_path / "grid"))
    assert [each.name for each in found] == ["grid", "big", "grid-2"]
    assert [each.encoder.multiple for each in found] == [1, 14, 1]
    for source, message in {
        "my_encoders": "write MODULE:FUNCTION",
        "my_encoders:bag": "has no bag",
        "our_encoders:big": "no module our_encoders",
        "my_encoders:number": "is a int, not a function",
        "my_encoders:odd": "its multiple is 0",
        "broken_encoders:f": "raised ZeroDivisionError",
    }.items():
        with pytest.raises(InputError, match=f"^encoder={source}: .*{message}"):
            name_encoders(encoder=source)
    with pytest.raises(InputError, match="features=nowhere: there is no such folder"):
        name_encoders(features="nowhere")


def test_the_network_of_random_weights_where_nothing_is_named(monkeypatch):
    named = "vfs_jax.models.weights.resolve.init_variables"
    monkeypatch.setattr(named, lambda seed, depth: draw_variables(seed))
    (found,) = name_encoders()
    assert (found.name, type(found.encoder)) == ("random-0", NetworkEncoder)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [0, 2, 5])
def test_features_that_are_no_numbers_end_an_evaluation(tmp_path, wrong):
    """Named by sequence and frame, wherever in a batch; no result of the sequence appears."""
    size = (48, 64)
    paths = []
    for t in range(6):
        paths.append(tmp_path / f"{t:05d}.png")
        Image.fromarray(np.full((*size, 3), 10 * t, np.uint8)).save(paths[-1])
    write_index_mask(tmp_path / "mask.png", np.eye(*size, dtype=np.uint8))
    sequence = MaskSequence("dog", tuple(paths), (tmp_path / "mask.png",))

    def features(frames):
        out = np.tile(frames[:, ::8, ::8].astype(np.float32), (1, 1, 1, 2)) + 1
        out[frames[:, 0, 0, 0] == 10 * wrong, 1, 2, 3] = np.inf if wrong else np.nan
        return out

    settings = Settings(short_side=48, radius=3.0, batch_frames=4)
    with pytest.raises(InputError, match=rf"dog: the features of frame {wrong} hold NaN or infinity"):
        propagate_sequence(Davis(), as_encoder(features), sequence, tmp_path / "run", settings)
    assert not (tmp_path / "run/masks/dog").exists()
    images = [np.asarray(Image.open(path)) for path in paths]
    with pytest.raises(InputError, match=rf"the features of frame {wrong} hold NaN"):
        list(stream(images, np.eye(*size, dtype=np.uint8), features, short_side=48, radius=3.0))


@pytest.fixture(scope="module")
def small_davis(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("davis"))


def dots(frames):
    """The colors of every eighth pixel."""
    return frames[:, 4::8, 4::8].astype(np.float32) - 128


@pytest.mark.slow
def test_evaluate_in_one_call(small_davis, tmp_path):
    settings = {"short_side": 64, "radius": 3.0, "num_context": 2}
    found = evaluate(dots, small_davis, out=tmp_path / "run", **settings)
    assert found == evaluate(dots, small_davis, **settings)
    with (tmp_path / "run/global.csv").open() as file:
        (written,) = csv.DictReader(file)
    assert {name: float(value) for name, value in written.items()} == found
    assert 0.3 < found["J&F-Mean"] < 1
    one = evaluate(dots, str(small_davis), sequences=["ant"], max_frames=3, **settings)
    assert one != found
    assert evaluate(dots, small_davis, **settings | {"short_side": 32}) != found
    assert {task: importlib.import_module(f"vfs_jax.configs.{task}").get_config().split for task in SPLITS} == SPLITS


def test_another_function_does_not_go_on_with_the_results_of_the_first(small_davis, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("vfs_jax.evaluation.runs.evaluation.propagate_all", interrupted)
    for encoder in (dots, lambda frames: 2 * dots(frames) / 2):
        with pytest.raises(KeyboardInterrupt):
            evaluate(encoder, small_davis, out=tmp_path / "run", short_side=64)
    with pytest.raises(InputError, match=r"another configuration \(features_found: 67.*, 128 there, 13.*, 256 here\)"):
        evaluate(lambda frames: 2 * dots(frames), small_davis, out=tmp_path / "run", short_side=64)


@pytest.mark.parametrize(
    ("encoder", "changes", "message"),
    [
        (dots, {"task": "chess"}, "task=chess: there are davis"),
        (dots, {"protocol": "sam"}, "protocol=sam: there is no such protocol"),
        (dots, {"protocol": "rsp", "task": "jhmdb"}, "protocol=rsp: publishes no settings for jhmdb"),
        (3, {}, "encoder=int: is a int, not a function"),
        ("nowhere.pth", {}, "nowhere.pth: no such weights"),
    ],
)
def test_evaluate_says_what_is_wrong(small_davis, encoder, changes, message):
    with pytest.raises(InputError, match=message):
        evaluate(encoder, small_davis, **changes)


@pytest.mark.slow
def test_networks_of_every_family(small_davis):
    """A ResNet's variables, a network with its variables and a string of weights are encoders too."""
    settings = {"short_side": 64, "radius": 3.0, "num_context": 2, "sequences": ["ant"], "max_frames": 3}
    variables = draw_variables()
    assert evaluate(variables, small_davis, **settings) == evaluate((ResNet(18), variables), small_davis, **settings)
    tiny = ViT(patch=8, width=24, depth=1, heads=3, hidden=48, grid=8)
    weights = jax.jit(lambda: tiny.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3))))()
    found = evaluate((tiny, weights), small_davis, protocol="dino", **settings)
    assert 0 <= found["J&F-Mean"] <= 1
    with pytest.raises(InputError, match="multiple"):
        evaluate((tiny.clone(patch=24), weights), small_davis, protocol="dino", **settings)
