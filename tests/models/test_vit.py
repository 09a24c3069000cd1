"""The vision transformers against an independent PyTorch one, and attention against its definition."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict, unflatten_dict
from torch_vit import Shape, TorchViT, randomize

from vfs_jax.models import ViT
from vfs_jax.models import attention as attention_module
from vfs_jax.models.attention import attend
from vfs_jax.models.weights.architectures import NETWORKS
from vfs_jax.models.weights.vit_names import join, official_name, rename

DINO = Shape()
KINDS = {
    "dino": DINO,
    "dinov2": dataclasses.replace(DINO, layer_scale=True, gated="fused"),
    "dinov2_reg": dataclasses.replace(DINO, layer_scale=True, registers=2, positions="antialiased"),
    "dinov3": dataclasses.replace(DINO, layer_scale=True, registers=2, positions="rotary", gated="split", epsilon=1e-5),
    "dinov3_without_bias": dataclasses.replace(DINO, positions="rotary", qkv_bias=False, heads=1, epsilon=1e-5),
    "timm": dataclasses.replace(DINO, positions="antialiased"),
}
KEY = jax.random.key(0)


def ours(shape: Shape, **options: object) -> ViT:
    fields = {**dataclasses.asdict(shape), "gated": bool(shape.gated)}
    return ViT(**fields, **options)


def variables_of(model: TorchViT, network: ViT, dtype: type) -> dict:
    """The parameters of a PyTorch model in our tree."""
    state = model.state_dict()
    names = rename(state)
    arrays = join({names[name]: tensor.numpy() for name, tensor in state.items()})
    template = flatten_dict(jax.eval_shape(network.init, KEY, jnp.zeros((1, 8, 8, 3)))["params"])
    leaves = {}
    for leaf, expected in template.items():
        array = arrays[official_name(leaf)]
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T if leaf[-1] == "kernel" else array
        leaves[leaf] = array.reshape(expected.shape).astype(dtype)
    return {"params": unflatten_dict(leaves)}


# Non-square both ways, more and fewer patches than the native 5x5, pixels left over, the native grid, and 20x20 pixels'
# grid from an image that is not square, which the official code interpolates.
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("size", "dtype"),
    [((28, 12), np.float64), ((10, 47), np.float64), ((20, 20), np.float64), ((20, 22), np.float32)],
)
def test_every_output_equals_torch(kind, size, dtype):
    shape = KINDS[kind]
    model = TorchViT(shape).to(torch.float64)
    randomize(model, seed=3)
    images = np.random.default_rng(0).standard_normal((2, *size, 3)).astype(dtype)
    with torch.no_grad():
        theirs = model(torch.from_numpy(images.transpose(0, 3, 1, 2)).double())
    with jax.enable_x64(dtype == np.float64):
        network = ours(shape, outputs=("block.0", "block.1", "norm"), dtype=dtype)
        features = jax.jit(network.apply)(variables_of(model, network, dtype), images)
    assert set(features) == set(network.output_names) == set(theirs)
    # Noise of float64 is 1e-14 of the standard deviation, of float32 6e-6.
    tolerance = {np.float64: 1e-11, np.float32: 1e-4}[dtype]
    for name, expected in theirs.items():
        assert features[name].dtype == dtype
        assert features[name].shape == expected.shape
        difference = np.abs(np.asarray(features[name]) - expected.numpy()).max()
        assert difference <= tolerance * expected.std().item(), name


@pytest.mark.slow
def test_outputs_stop_at_the_deepest_one_and_dtypes_hold():
    network = ours(KINDS["dinov3"])
    images = jnp.ones((1, 12, 8, 3))
    variables = jax.jit(network.init)(KEY, images)
    shallow = network.clone(outputs=("block.0",))
    assert len(str(jax.make_jaxpr(shallow.apply)(variables, images))) < 0.7 * len(
        str(jax.make_jaxpr(network.apply)(variables, images))
    )
    whole = jax.jit(network.clone(outputs=network.output_names).apply)(variables, images)
    np.testing.assert_allclose(
        jax.jit(shallow.apply)(variables, images)["block.0"], whole["block.0"], rtol=0, atol=1e-6
    )
    half = jax.jit(network.clone(dtype=jnp.bfloat16).apply)(variables, images)["norm"]
    assert half.dtype == jnp.bfloat16
    # bfloat16 has 8 bits: two blocks of it stay within a few hundredths of a standard deviation.
    assert np.abs(half.astype(np.float32) - whole["norm"]).max() < 0.1 * whole["norm"].std()


def test_what_a_network_says_of_itself():
    network = NETWORKS["dino_vits8"]
    assert (network.multiple, network.stride_of("block.3"), network.default_output) == (8, 8, "norm")
    assert (network.name, network.family, network.color) == ("dino_vits8", "dino", "rgb")
    assert network.output_names == (*(f"block.{i}" for i in range(12)), "norm")


@pytest.mark.parametrize(
    ("network", "size", "message"),
    [
        (ViT(outputs=("block.12",)), (16, 16), r"outputs \('block.12',\): take one or more of block.0, .*, norm"),
        (ViT(outputs=()), (16, 16), "take one or more"),
        (ViT(), (15, 32), r"images of \(15, 32\) pixels hold no patch of 16"),
    ],
)
def test_what_cannot_be_is_told(network, size, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(network.init, KEY, jnp.zeros((1, *size, 3)))


# The parameters that the models' pages and papers name, in millions; of DINOv2 with its mask token.
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("dino_vits16", 21.7),
        ("dinov2_vitg14", 1136.5),
        ("dinov3_vith16plus", 840.5),
        ("dinov3_vit7b16", 6716.0),
    ],
)
@pytest.mark.slow
def test_published_networks_have_their_numbers_of_parameters(name, millions):
    network = NETWORKS[name]
    image = jnp.zeros((1, network.patch, network.patch, 3))
    count = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(network.init, KEY, image)["params"]))
    assert abs(count / 1e6 - millions) < max(0.06, 0.001 * millions)


def softmax_attention(query, key, value):
    scores = np.einsum("bhnd,bhmd->bhnm", query, key) / query.shape[-1] ** 0.5
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhnm,bhmd->bhnd", weights / weights.sum(-1, keepdims=True), value)


@pytest.mark.parametrize("rows", [1000, 4, 1])
def test_attention_by_chunks_is_attention(monkeypatch, rows):
    monkeypatch.setattr(attention_module, "_CPU_BYTES", rows * 4 * 13)
    monkeypatch.setattr(attention_module, "_DEVICE_BYTES", rows * 4 * 13 * 6)
    query = 30 * np.random.default_rng(0).standard_normal((2, 3, 11, 8)).astype(np.float32)  # far from uniform
    key, value = np.random.default_rng(1).standard_normal((2, 2, 3, 13, 8)).astype(np.float32)
    expected = softmax_attention(*(x.astype(np.float64) for x in (query, key, value)))
    np.testing.assert_allclose(attend(*map(jnp.asarray, (query, key, value))), expected, rtol=0, atol=1e-5)
    one_go = attention_module._all_heads(*(x.reshape(6, -1, 8) for x in (query * 8**-0.5, key, value)))
    np.testing.assert_allclose(one_go.reshape(expected.shape), expected, rtol=0, atol=1e-5)


def test_attention_holds_no_array_of_all_pairs():
    """At 6,241 tokens the scores of all pairs and heads would take 935 MB."""
    x = jax.ShapeDtypeStruct((1, 6, 6241, 64), jnp.float32)
    memory = jax.jit(attend).lower(x, x, x).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 80e6
