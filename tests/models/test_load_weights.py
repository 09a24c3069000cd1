"""Networks read from tensor names: every naming of a vision transformer, wrappers, and one strict error."""

import argparse
import dataclasses
import logging

import jax
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file
from test_vit import KINDS
from torch_vit import TorchViT, randomize

from vfs_jax.errors import InputError
from vfs_jax.models import ResNet, ViT, init_variables, load_torch, load_weights, save_torch
from vfs_jax.models.weights.architectures import NETWORKS, resnet_of
from vfs_jax.models.weights.resolve import resolve

# The names of transformers' and timm's files for those of the official ones, in a block and around.
TRANSFORMERS = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "register_tokens": "embeddings.register_tokens",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "blocks": "encoder.layer",
    "attn.q": "attention.attention.query",
    "attn.k": "attention.attention.key",
    "attn.v": "attention.attention.value",
    "attn.proj": "attention.output.dense",
    "norm": "layernorm",
}
OF_VIT = TRANSFORMERS | {"norm1": "layernorm_before", "norm2": "layernorm_after"}
OF_VIT |= {"mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}
OF_DINOV2 = TRANSFORMERS | {"ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1"}
OF_DINOV2 |= {"mlp.w12": "mlp.weights_in", "mlp.w3": "mlp.weights_out"}
OF_DINOV3 = OF_DINOV2 | {
    "patch_embed.proj": "embeddings.patch_embeddings",
    "blocks": "layer",
    "attn.q": "attention.q_proj",
    "attn.k": "attention.k_proj",
    "attn.v": "attention.v_proj",
    "attn.proj": "attention.o_proj",
    "mlp.w1": "mlp.gate_proj",
    "mlp.w2": "mlp.up_proj",
    "mlp.w3": "mlp.down_proj",
    "mlp.fc1": "mlp.up_proj",
    "mlp.fc2": "mlp.down_proj",
    "norm": "norm",
}
TIMM_EVA = {
    "register_tokens": "reg_token",
    "ls1.gamma": "gamma_1",
    "ls2.gamma": "gamma_2",
    "mlp.w1": "mlp.fc1_g",
    "mlp.w2": "mlp.fc1_x",
    "mlp.w3": "mlp.fc2",
}
TIMM_DINOV2 = {"register_tokens": "reg_token", "mlp.w12": "mlp.fc1", "mlp.w3": "mlp.fc2"}


def rename(name, table):
    """A name of an official file in another naming, piece by piece."""
    block, number, rest = "", "", name
    if name.startswith("blocks."):
        _, number, rest = name.split(".", 2)
        block = f"{table.get('blocks', 'blocks')}.{number}."
    module, _, kind = rest.rpartition(".")
    return block + table.get(rest, f"{table.get(module, module)}.{kind}" if module else rest)


def split(state):
    """Queries, keys and values on their own; of masked keys no bias."""
    parts = {}
    for name, tensor in state.items():
        if name.endswith("bias_mask") or name == "rope_embed.periods":
            continue
        if ".attn.qkv." not in name:
            parts[name] = tensor
            continue
        for part, third in zip("qkv", tensor.chunk(3), strict=True):
            if not (part == "k" and name.endswith("bias") and f"{name}_mask" in state):
                parts[name.replace("qkv", part)] = third
    return parts


def timm_eva(state):
    """DINOv3 as timm has it: fused weights, biases of queries and values apart."""
    kept = {n: t for n, t in state.items() if "qkv.bias" not in n and n != "rope_embed.periods"}
    for name in [n for n in state if n.endswith("qkv.bias")]:
        q, _, v = state[name].chunk(3)
        kept |= {name.replace("qkv.bias", "q_bias"): q, name.replace("qkv.bias", "v_bias"): v}
    return {rename(n, TIMM_EVA): t for n, t in kept.items()}


def timm_registers(state):
    """DINOv2 with registers as timm has it: the class token's position is in the token."""
    state = {rename(n, TIMM_DINOV2): t for n, t in state.items()}
    position = state["pos_embed"][:, :1]
    return state | {"cls_token": state["cls_token"] + position, "pos_embed": state["pos_embed"][:, 1:]}


NAMINGS = {
    "dino official": ("dino", lambda state: state),
    "dino transformers": ("dino", lambda state: {rename(n, OF_VIT): t for n, t in split(state).items()}),
    "mae transformers": ("dino", lambda state: {f"vit.{rename(n, OF_VIT)}": t for n, t in split(state).items()}),
    "dinov2 official": ("dinov2", lambda state: state),
    "dinov2 transformers": ("dinov2", lambda state: {rename(n, OF_DINOV2): t for n, t in split(state).items()}),
    "dinov2 timm": ("dinov2", lambda state: {rename(n, TIMM_DINOV2): t for n, t in state.items()}),
    "registers transformers": ("dinov2_reg", lambda state: {rename(n, OF_DINOV2): t for n, t in split(state).items()}),
    "registers timm": ("dinov2_reg", timm_registers),
    "dinov3 official": (
        "dinov3",
        lambda state: {n.replace("register_tokens", "storage_tokens"): t for n, t in state.items()},
    ),
    "dinov3 transformers": ("dinov3", lambda state: {rename(n, OF_DINOV3): t for n, t in split(state).items()}),
    "dinov3 timm": ("dinov3", timm_eva),
    "dinov3 timm without bias": ("dinov3_without_bias", timm_eva),
}
IMAGES = np.random.default_rng(0).standard_normal((1, 12, 20, 3)).astype(np.float32)


def model_of(kind):
    """A model whose heads are those that a file of its width is taken to have."""
    shape = dataclasses.replace(KINDS[kind], width=128, heads=2, depth=1)
    model = TorchViT(shape)
    randomize(model, seed=5)
    return model


@pytest.mark.parametrize("naming", NAMINGS)
def test_a_vision_transformer_is_told_by_its_names(tmp_path, naming):
    kind, named = NAMINGS[naming]
    model = model_of(kind)
    tensors = named(dict(model.state_dict()))
    save_file({name: tensor.numpy().copy() for name, tensor in tensors.items()}, tmp_path / "weights.safetensors")
    network, variables = load_weights(tmp_path / "weights.safetensors")
    assert isinstance(network, ViT)
    shape = model.shape
    assert (network.patch, network.depth, network.registers) == (shape.patch, shape.depth, shape.registers)
    assert (network.positions, network.epsilon) == (shape.positions, shape.epsilon)
    with torch.no_grad():
        expected = model(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2)))["norm"].numpy()
    features = jax.jit(network.apply)(variables, IMAGES)["norm"]
    # Float32's noise is 6e-6 of the standard deviation.
    assert np.abs(features - expected).max() < 1e-4 * expected.std()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", ["dino", "dinov2", "dinov3", "dinov3_without_bias"])
def test_what_is_written_comes_back(tmp_path, kind, suffix):
    state = dict(model_of(kind).state_dict())
    torch.save(state, tmp_path / "weights.pth")
    network, variables = load_weights(tmp_path / "weights.pth")
    save_torch(variables, tmp_path / f"again{suffix}")
    again, same = load_weights(tmp_path / f"again{suffix}")
    assert again == network
    jax.tree.map(np.testing.assert_array_equal, same, variables)
    if suffix == ".pth":  # the names of the official file
        written = torch.load(tmp_path / "again.pth", weights_only=True)
        assert {n.replace("storage_", "register_") for n in written} == set(state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{n}": t for n, t in state.items()},
        lambda state: {"model": {f"backbone.module._orig_mod.encoder.{n}": t for n, t in state.items()}},
        lambda state: {"state_dict": {"model": {f"model.{n}": t for n, t in state.items()}}, "epoch": 3},
        lambda state: {n.replace("blocks.0.", "blocks.0._fsdp_wrapped_module."): t for n, t in state.items()},
        lambda state: (
            {f"teacher.backbone.{n}": t for n, t in state.items()}
            | {f"student.backbone.{n}": 2 * t for n, t in state.items()}
        ),
        lambda state: {"teacher": {f"backbone.{n}": t for n, t in state.items()}, "student": {"a": torch.zeros(1)}},
        lambda state: {"weights": state, "optimizer": {"state": {}, "param_groups": []}},
    ],
)
def test_wrappers_are_peeled_off_in_any_order_and_depth(tmp_path, wrap):
    state = dict(model_of("dino").state_dict())
    torch.save(state, tmp_path / "plain.pth")
    torch.save(wrap(state), tmp_path / "wrapped.pth")
    jax.tree.map(
        np.testing.assert_array_equal, load_torch(tmp_path / "wrapped.pth"), load_torch(tmp_path / "plain.pth")
    )


def test_the_teacher_is_taken_and_said_so(tmp_path, caplog):
    state = dict(model_of("dino").state_dict())
    head = {"head.mlp.0.weight": torch.zeros(3), "head.last_layer.weight_g": torch.zeros(3)}
    teacher = {f"backbone.{n}": t for n, t in state.items()} | head
    student = {f"module.backbone.{n}": t + 1 for n, t in state.items()}
    torch.save({"student": student, "teacher": teacher, "epoch": 3}, tmp_path / "full.pth")
    with caplog.at_level(logging.WARNING):
        network, variables = load_weights(tmp_path / "full.pth")
    assert network.family == "dino"
    np.testing.assert_array_equal(variables["params"]["norm"]["bias"], state["norm.bias"])
    assert "full.pth: holds a student and a teacher; took the teacher" in caplog.text
    assert "left out 2 tensors under head" in caplog.text
    assert "no published network has its sizes" in caplog.text


def test_one_error_names_every_tensor_that_does_not_fit(tmp_path):
    state = {f"module.{n}": t for n, t in model_of("dinov2").state_dict().items()}
    del state["module.blocks.0.norm1.weight"]
    state["module.blocks.0.mlp.w3.bias"] = torch.zeros(5)
    state["module.norm.bias"] = torch.full((128,), torch.nan)
    state["module.blocks.0.attn.rel_pos"] = torch.zeros(2)
    state["module.extra"] = torch.zeros(2)
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(InputError) as caught:
        load_weights(tmp_path / "wrong.pth")
    assert str(caught.value) == (
        f"{tmp_path}/wrong.pth: does not fit the vision transformer dinov2_128x1_4; choose another file or part; "
        "1 missing: blocks.0.norm1.weight; 2 unexpected: module.blocks.0.attn.rel_pos, module.extra; "
        "1 misshapen: module.blocks.0.mlp.w3.bias (is float32[5], not float[128]); 1 not finite: module.norm.bias"
    )


def test_a_resnet_that_is_not_finite_is_refused_by_name(tmp_path):
    variables = init_variables(0, 18)
    variables["params"]["backbone"]["res2_0"]["conv1"]["kernel"] *= np.inf
    save_torch(variables, tmp_path / "r18.pth")
    with pytest.raises(InputError, match=r"; 1 not finite: backbone\.layer1\.0\.conv1\.conv\.weight$"):
        load_torch(tmp_path / "r18.pth")


def test_two_networks_in_one_file_are_refused(tmp_path):
    state = dict(model_of("dino").state_dict())
    torch.save({f"{p}.{n}": t for p in ("encoder", "backbone") for n, t in state.items()}, tmp_path / "two.pth")
    with pytest.raises(InputError, match=r"holds encoder\.cls_token and backbone\.cls_token; save the tensors of one"):
        load_weights(tmp_path / "two.pth")


@pytest.mark.parametrize("part", ["vfs", "siamfc"])
def test_a_vision_transformer_has_no_heads(tmp_path, part):
    torch.save(model_of("dino").state_dict(), tmp_path / "vit.pth")
    with pytest.raises(InputError, match="holds a vision transformer, which has no heads"):
        load_torch(tmp_path / "vit.pth", part=part)


def test_peers_resnets_come_back_from_files(tmp_path):
    """CRW's padded convolutions may stand behind a padding layer; its head is left out."""
    crw = resnet_of("crw", 18)
    image = np.zeros((1, 32, 32, 3), np.float32)
    variables = jax.tree.map(
        lambda leaf: np.random.default_rng(leaf.size).standard_normal(leaf.shape).astype(np.float32),
        jax.eval_shape(crw.init, jax.random.key(0), image),
    )
    save_torch(variables, tmp_path / "crw.pth", layout="torchvision")
    tensors = torch.load(tmp_path / "crw.pth", weights_only=True)
    assert not [name for name in tensors if "layer4" in name]
    quirky = {n.replace("conv2.weight", "conv2.1.weight"): t for n, t in tensors.items()}
    torch.save({"model": {f"encoder.model.{n}": t for n, t in quirky.items()}}, tmp_path / "quirky.pth")
    network, loaded = load_weights(tmp_path / "quirky.pth")
    assert network == crw
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_networks_have_names_of_their_own_and_tell_their_outputs():
    assert len({network.name for network in NETWORKS.values()}) == len(NETWORKS)
    for name, network in NETWORKS.items():
        assert network.name == name
        assert network.default_output in network.output_names
        assert network.stride_of(network.default_output) > 0
    crw = resnet_of("crw", 18)
    assert crw.output_names == (*(f"res{i}.{j}" for i in (2, 3, 4) for j in (0, 1)), "res2", "res3", "res4")
    with pytest.raises(ValueError, match="take one or more of res2, "):
        jax.eval_shape(crw.clone(outputs=("res5",)).init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    assert isinstance(NETWORKS["resnet18"], ResNet)
    leaves = flatten_dict(jax.eval_shape(crw.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32)))
    assert not [leaf for leaf in leaves if leaf[1].startswith("res5")]


def test_a_name_tells_what_tensors_cannot(tmp_path, caplog):
    spa_then_temp = resnet_of("spa_then_temp", 18, stride=4)
    whole = init_variables(1, 18)  # a file with the last stage is an ordinary ResNet's, unless it is said
    save_torch(whole, tmp_path / "stt.pth")
    network, variables = load_weights(tmp_path / "stt.pth", name="spa_then_temp_resnet18_d4")
    assert network == spa_then_temp
    assert "names do not tell" not in caplog.text
    assert not [name for name in variables["params"] if name.startswith("res5")]
    network, _, about = resolve(f"spa_then_temp_resnet18_d4:{tmp_path}/stt.pth")
    assert (network, about["network"]) == (spa_then_temp, spa_then_temp.name)
    assert load_weights(tmp_path / "stt.pth")[0].name == "resnet18"
    for name, message in (
        ("resnet50", "stt.pth: does not fit ResNet-50; .*missing"),
        ("dino_vits16", "stt.pth: does not hold a dino_vits16"),
        ("resnet19", "stt.pth: there is no network 'resnet19'; choose among resnet18, "),
    ):
        with pytest.raises(InputError, match=message):
            load_weights(tmp_path / "stt.pth", name=name)


def test_what_is_no_tensor_is_passed_over_where_none_is_wanted(tmp_path):
    state = dict(model_of("dino").state_dict())
    torch.save(state | {"args": argparse.Namespace(a=1), "epoch": 3}, tmp_path / "beside.pth")
    assert load_weights(tmp_path / "beside.pth")[0].family == "dino"
    torch.save(state | {"norm.bias": 3.0, "cls_token": argparse.Namespace(a=1)}, tmp_path / "instead.pth")
    told = r"2 misshapen: cls_token \(is argparse.Namespace, not .*\), norm.bias \(is float, not float\[128\]\)$"
    with pytest.raises(InputError, match=told):
        load_weights(tmp_path / "instead.pth")
