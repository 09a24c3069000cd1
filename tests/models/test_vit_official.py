"""Vision transformers and peers' ResNets with seeded weights, from files in every naming, against the official code."""

import argparse
import importlib.util
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch_reference import official_weights

from vfs_jax.models import load_weights
from vfs_jax.models.weights.architectures import resnet_of

# What the oracle's README measured between torch and itself in float64 is at most 1.4e-5 of the standard deviation.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def make_vit_weights(oracles):
    spec = importlib.util.spec_from_file_location("make_vit_weights", oracles / "make_vit_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recorded(oracles):
    return np.load(oracles / "vit_features.npz")


def write(make, path, model, naming="official", wrapper=None):
    arrays = make.make_weights(model, naming)
    if path.suffix == ".safetensors":
        save_file(arrays, path)
        return path
    tensors = {
        name: torch.from_numpy(array).to(torch.bfloat16) if name.endswith("periods") else torch.from_numpy(array)
        for name, array in arrays.items()
    }
    if wrapper == "dino":
        head = {name: torch.from_numpy(make.fill(name, shape)) for name, shape in make.DINO_HEAD.items()}
        student = {f"module.backbone.{name}": torch.zeros_like(tensor) for name, tensor in tensors.items()}
        student |= {f"module.{name}": tensor for name, tensor in head.items()}
        teacher = {f"backbone.{name}": tensor for name, tensor in tensors.items()} | head
        args = argparse.Namespace(arch="vit_small", patch_size=16)
        tensors = {"student": student, "teacher": teacher, "epoch": 100, "args": args, "optimizer": {"state": {}}}
    torch.save({wrapper: tensors} if wrapper == "model" else tensors, path)
    return path


def deviation(recorded, key, array):
    """The largest difference from a recorded array, in its standard deviations."""
    array = np.asarray(array)
    assert array.shape == tuple(recorded[f"{key}.shape"])
    difference = array.reshape(-1)[:: recorded[f"{key}.stride"]] - recorded[f"{key}.sample"]
    return np.abs(difference).max() / recorded[f"{key}.std"]


def image(size):
    height, width = map(int, size.split("x"))
    return np.random.default_rng((201, height, width)).standard_normal((1, height, width, 3)).astype(np.float32)


def normed(features, variables, epsilon):
    """The final norm of a block's output, which the official functions apply to every block."""
    norm = variables["params"]["norm"]
    features = np.asarray(features, np.float64)
    features = features - features.mean(-1, keepdims=True)
    features = features / np.sqrt(features.var(-1, keepdims=True) + epsilon)
    return features * np.asarray(norm["scale"]) + np.asarray(norm["bias"])


LONG = pytest.mark.long
SLOW = pytest.mark.slow
OFFICIAL = [
    ("dino_vits16_d3", "96x160", ".pth", "dino"),
    pytest.param("dino_vits16_d3", "160x96", ".pth", None, marks=SLOW),
    pytest.param("dino_vits16_d3", "224x224", ".safetensors", None, marks=SLOW),
    pytest.param("dino_vits8_d3", "96x160", ".pth", None, marks=SLOW),
    pytest.param("dino_vits16", "96x160", ".pth", "dino", marks=LONG),
    pytest.param("dino_vits16", "224x224", ".pth", None, marks=LONG),
    ("dinov2_swiglu_tiny", "98x154", ".safetensors", None),
    pytest.param("dinov2_swiglu_tiny", "518x518", ".pth", None, marks=LONG),
    pytest.param("dinov2_vits14_d3", "98x154", ".pth", None, marks=SLOW),
    pytest.param("dinov2_vits14_d3", "154x98", ".pth", None, marks=LONG),
    pytest.param("dinov2_vits14_d3", "224x224", ".pth", None, marks=LONG),
    pytest.param("dinov2_vits14_d3", "518x518", ".pth", None, marks=LONG),
    pytest.param("dinov2_vits14_reg_d3", "98x154", ".pth", None, marks=SLOW),
    pytest.param("dinov2_vits14_reg_d3", "224x224", ".pth", None, marks=LONG),
    pytest.param("dinov2_vits14_reg_d3", "518x518", ".pth", None, marks=LONG),
    ("dinov3_vits16plus_d2", "96x160", ".pth", None),
    pytest.param("dinov3_vits16_d3", "96x160", ".pth", None, marks=SLOW),
    pytest.param("dinov3_vits16_d3", "224x224", ".pth", None, marks=LONG),
    pytest.param("dinov3_vits16", "96x160", ".pth", None, marks=LONG),
    pytest.param("dinov3_vits16", "160x96", ".pth", None, marks=LONG),
    pytest.param("dinov3_vits16", "224x224", ".pth", None, marks=LONG),
    pytest.param("mae_vitb16_d3", "96x160", ".pth", "model", marks=SLOW),
    pytest.param("mae_vitb16_d3", "160x96", ".pth", "model", marks=LONG),
    pytest.param("mae_vitb16_d3", "224x224", ".pth", "model", marks=LONG),
]


@pytest.mark.parametrize(("model", "size", "suffix", "wrapper"), OFFICIAL)
def test_features_equal_the_official_code(make_vit_weights, recorded, tmp_path, model, size, suffix, wrapper):
    path = write(make_vit_weights, tmp_path / f"weights{suffix}", model, wrapper=wrapper)
    network, variables = load_weights(path)
    family, width, depth, heads, patch, grid, registers, *_ = make_vit_weights.MODELS[model]
    assert (network.family, network.width, network.depth, network.heads) == (family, width, depth, heads)
    assert (network.patch, network.registers) == (patch, registers)
    assert grid in (None, network.grid)
    network = network.clone(outputs=network.output_names)
    features = {name: array[0] for name, array in jax.jit(network.apply)(variables, image(size)).items()}
    assert deviation(recorded, f"{model}.{size}.tokens", features["norm"]) < TOLERANCE
    if f"{model}.{size}.prenorm.sample" in recorded:
        assert deviation(recorded, f"{model}.{size}.prenorm", features[f"block.{depth - 1}"]) < TOLERANCE
    for block in range(depth):
        if f"{model}.{size}.block{block}.sample" in recorded:
            found = normed(features[f"block.{block}"], variables, network.epsilon)
            assert deviation(recorded, f"{model}.{size}.block{block}", found) < TOLERANCE


@pytest.mark.parametrize(
    ("model", "key"),
    [
        pytest.param("dino_vits16_d3", "dino_vits16_d3.96x160.tokens", marks=SLOW),
        ("dinov2_swiglu_tiny", "dinov2_swiglu_tiny.98x154.tokens"),
        pytest.param("dinov2_vits14_reg_d3", "dinov2_vits14_reg_d3.98x154.tokens", marks=LONG),
        # Without the file's rounded periods they are transformers' exact ones.
        ("dinov3_vits16_d3", "dinov3_vits16_d3.96x160.float32_periods.tokens"),
        pytest.param("mae_vitb16_d3", "mae_vitb16_d3.96x160.tokens", marks=LONG),
    ],
)
def test_transformers_names_give_the_same(make_vit_weights, recorded, tmp_path, model, key):
    path = write(make_vit_weights, tmp_path / "model.safetensors", model, naming="hf")
    network, variables = load_weights(path)
    assert network.family == make_vit_weights.MODELS[model][0]
    features = jax.jit(network.apply)(variables, image(key.split(".")[1]))["norm"][0]
    assert deviation(recorded, key, features) < TOLERANCE


@SLOW
def test_an_image_of_480x832_equals_the_official_code(make_vit_weights, recorded, tmp_path, real_data):
    """DINO's frame: 30x52 patches of positions stored for 14x14."""
    cv2 = pytest.importorskip("cv2")
    frame = cv2.imread(str(real_data / "davis_like/JPEGImages/480p/blackswan/00000.jpg"))
    frame = cv2.resize(frame, (832, 480))[..., ::-1].astype(np.float32) / 255
    frame = (frame - np.float32([0.485, 0.456, 0.406])) / np.float32([0.228, 0.224, 0.225])
    network, variables = load_weights(write(make_vit_weights, tmp_path / "weights.pth", "dino_vits16_d3"))
    features = jax.jit(network.apply)(variables, frame[None])["norm"][0]
    assert deviation(recorded, "dino_vits16_d3.frame.tokens", features) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("case", ["crw.r18.reflect", "stt.r18.d8", pytest.param("stt.r18.d4", marks=SLOW)])
def test_peers_resnets_equal_their_code(oracles, tmp_path, caplog, case):
    recorded = np.load(oracles / "protocols.npz")
    is_crw = case.startswith("crw")
    path = official_weights(oracles, tmp_path, 18, layout="torchvision" if is_crw else "vfs")
    content = torch.load(path, weights_only=True)
    tensors = {n: t for n, t in content.get("state_dict", content).items() if ".layer4." not in f".{n}"}
    if is_crw:
        tensors = {"model": {f"encoder.model.{n}": t for n, t in tensors.items() if not n.startswith("fc.")}}
        tensors["model"]["selfsim_fc.0.weight"] = torch.zeros(128, 256)
    torch.save(tensors, path)
    with caplog.at_level(logging.WARNING):
        network, variables = load_weights(path)
    assert (network.family, network.color) == (("crw", "rgb") if is_crw else ("spa_then_temp", "lab"))
    if case.endswith("d4"):
        assert "names do not tell it from stride 4" in caplog.text
        network = resnet_of("spa_then_temp", 18, stride=4)
    assert network.stride_of("res4") == (4 if case.endswith("d4") else 8)
    images = np.random.default_rng(11).standard_normal((1, 96, 128, 3)).astype(np.float32)
    features = jax.jit(network.apply)(variables, jnp.asarray(images))["res4"][0]
    assert deviation(recorded, f"{case}.rng", features) < TOLERANCE
