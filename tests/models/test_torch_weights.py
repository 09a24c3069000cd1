"""PyTorch checkpoints: every layout bit for bit, one strict error, and nothing in a file is ever run."""

import logging
import os
import pickle
import sys

import flax
import jax
import numpy as np
import pytest
import torch
from torch_reference import Backbone, TorchVFS, official_weights, randomise, torchvision_names

from vfs_jax.errors import InputError
from vfs_jax.models import VFS, ResNet, SiamFCHead, backbone_of, depth_of, load_torch, save_torch


def random_state(depth, seed=0):
    """The tensors of a whole VFS file, with "iteration"."""
    state = dict(randomise(TorchVFS(depth), seed).state_dict())
    return state | {"iteration": torch.tensor(5.0)}


def backbone_tensors(state):
    return {n.removeprefix("backbone."): t for n, t in state.items() if n.startswith("backbone.")}


def siamfc_head(width, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"weight": (width, width, 1, 1), "bias": (width,)}
    return {f"head.{b}_convs.0.{k}": torch.randn(s, generator=generator) for b in "zx" for k, s in shapes.items()}


def assert_same_bits(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype == np.float32
        assert a.tobytes() == b.tobytes()


def assert_same_tensors(written, original):
    assert set(written) == set(original)
    for name, tensor in original.items():
        assert written[name].dtype == tensor.dtype, name
        if name.endswith("num_batches_tracked") or name == "iteration":
            assert written[name] == 0  # counters start again
        else:
            assert torch.equal(written[name], tensor), name


@pytest.fixture(scope="module")
def state18():
    return random_state(18)


@pytest.fixture(scope="module")
def loaded18(state18, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vfs.pth"
    torch.save({"state_dict": state18, "meta": {}}, path)
    return load_torch(path, part="vfs")


def test_the_loaded_tree_is_that_of_the_network(loaded18):
    key, views = jax.random.key(0), np.zeros((1, 2, 1, 32, 32, 3), np.float32)
    expected = jax.eval_shape(VFS(18).init, key, views)
    assert jax.tree.map(lambda leaf: leaf.shape, loaded18) == jax.tree.map(lambda leaf: leaf.shape, expected)


def test_values_land_where_they_belong(loaded18, state18):
    params, stats = loaded18["params"], loaded18["batch_stats"]
    kernel = state18["backbone.layer2.0.downsample.conv.weight"].numpy()  # [out, in, h, w]
    assert params["backbone"]["res3_0"]["shortcut_conv"]["kernel"][0, 0, 5, 7] == kernel[7, 5, 0, 0]
    weight = state18["img_head.predictor_fcs.0.weight"].numpy()  # [out, in]
    assert params["predictor"]["linear1"]["kernel"][3, 100] == weight[100, 3]
    assert stats["projector"]["bn3"]["var"][9] == state18["img_head.projection_fcs.7.running_var"].numpy()[9]


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.long)])
def test_vfs_layout_comes_back_bit_for_bit(tmp_path, depth):
    state = random_state(depth, seed=3)
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "in.pth")
    variables = load_torch(tmp_path / "in.pth", part="vfs")
    save_torch(variables, tmp_path / "out.pth", layout="vfs")
    assert_same_tensors(torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"], state)
    assert_same_bits(load_torch(tmp_path / "out.pth", part="vfs"), variables)
    assert_same_bits(load_torch(tmp_path / "out.pth"), backbone_of(variables))


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, 34, pytest.param(50, marks=pytest.mark.long)])
def test_torchvision_layout_comes_back_bit_for_bit_without_fc(tmp_path, caplog, depth):
    state = torchvision_names(randomise(Backbone(depth), seed=4).state_dict())
    torch.save(state | {"fc.weight": torch.randn(10, 512), "fc.bias": torch.randn(10)}, tmp_path / "in.pth")
    with caplog.at_level(logging.INFO):
        variables = load_torch(tmp_path / "in.pth")
    assert [record.message for record in caplog.records] == [f"{tmp_path}/in.pth: left out 2 tensors under fc"]
    assert depth_of(variables) == depth
    save_torch(variables, tmp_path / "out.pth", layout="torchvision")
    assert_same_tensors(torch.load(tmp_path / "out.pth", weights_only=True), state)
    save_torch(variables, tmp_path / "vfs.pth", layout="vfs")  # a backbone alone under the release's names
    assert_same_bits(load_torch(tmp_path / "vfs.pth"), variables)


def test_siamfc_layout_comes_back_bit_for_bit(tmp_path, state18):
    state = {n: t for n, t in state18.items() if n.startswith("backbone.")} | siamfc_head(512)
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "in.pth")
    variables = load_torch(tmp_path / "in.pth", part="siamfc")
    save_torch(variables, tmp_path / "out.pth", layout="siamfc")
    assert_same_tensors(torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"], state)

    # The head's numbers are applied as torch applies them.
    z, x = (np.random.default_rng(i).standard_normal((1, 2 + i, 3, 512)).astype(np.float32) for i in (0, 1))
    ours = SiamFCHead(512).apply({"params": variables["params"]["head"]}, jax.numpy.asarray(z), jax.numpy.asarray(x))
    for features, found, branch in zip((z, x), ours, "zx", strict=True):
        weight, bias = (state[f"head.{branch}_convs.0.{kind}"] for kind in ("weight", "bias"))
        theirs = torch.nn.functional.conv2d(torch.from_numpy(features.transpose(0, 3, 1, 2)), weight, bias)
        np.testing.assert_allclose(found, theirs.numpy().transpose(0, 2, 3, 1), rtol=0, atol=1e-3)  # sums of 512, sd 22


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "depth"),
    [
        ("vfs_in_torchvision_names", 18),
        ("moco_v2", 18),
        ("simsiam", 18),
        ("moco_v3", 18),
        ("dino", 50),
        ("data_parallel", 18),
        ("swav", 18),
        ("barlow_twins", 18),
        ("densecl", 18),
        ("pixpro", 18),
        ("wrapped", 18),
    ],
)
def test_other_families_are_read(tmp_path, state18, loaded18, family, depth):
    plain = backbone_tensors(state18) if depth == 18 else Backbone(depth).state_dict()
    plain = {n: t for n, t in plain.items() if not n.endswith("num_batches_tracked")}  # older files have none
    names = torchvision_names(plain)
    other = torch.zeros(3)

    def under(prefix):
        return {f"{prefix}{n}": t for n, t in names.items()}

    files = {
        "vfs_in_torchvision_names": {"state_dict": names},
        "moco_v2": {
            "epoch": 200,
            "arch": "resnet50",
            "state_dict": under("module.encoder_q.")
            | {"module.encoder_q.fc.0.weight": other, "module.encoder_q.fc.2.bias": other}
            | {
                "module.encoder_k.conv1.weight": other,
                "module.queue": other,
                "module.queue_ptr": torch.zeros(1).long(),
            },
        },
        "simsiam": {
            "state_dict": under("module.encoder.")
            | {"module.encoder.fc.0.weight": other, "module.predictor.0.weight": other}
        },
        "moco_v3": {
            "state_dict": under("module.base_encoder.")
            | {"module.base_encoder.fc.0.weight": other, "module.momentum_encoder.conv1.weight": other}
        },
        "dino": under("backbone.") | {"head.mlp.0.weight": other},
        "data_parallel": under("module."),
        "swav": under("module.") | {"module.projection_head.0.weight": other, "module.prototypes.weight": other},
        "barlow_twins": {
            "epoch": 3,
            "model": under("module.backbone.") | {"module.projector.0.weight": other, "module.bn.running_mean": other},
        },
        # Its backbone is a part of the network and of its query encoder.
        "densecl": {
            "state_dict": under("backbone.")
            | under("encoder_q.0.")
            | under("encoder_k.0.")
            | {"encoder_q.1.mlp.0.weight": other, "queue2": other, "queue2_ptr": torch.zeros(1).long()}
        },
        "pixpro": {
            "model": under("module.encoder.")
            | under("module.encoder_k.")
            | {"module.projector.linear1.weight": other, "module.projector_k.bn1.weight": other}
            | {"module.value_transform.weight": other, "module.projector_instance.linear1.bias": other}
        },
        "wrapped": {"state_dict": under("model.module._orig_mod.encoder.backbone.")},
    }
    torch.save(files[family], tmp_path / "family.pth")
    variables = load_torch(tmp_path / "family.pth")
    assert depth_of(variables) == depth
    if depth == 18:
        assert_same_bits(variables, backbone_of(loaded18))
    else:
        torch.save(names, tmp_path / "plain.pth")
        assert_same_bits(variables, load_torch(tmp_path / "plain.pth"))
        assert variables["params"]["res5_2"]["conv3"]["kernel"][0, 0, 3, 5] == plain["layer4.2.conv3.conv.weight"][5, 3]


def test_other_float_types_become_float32(tmp_path, state18):
    names = torchvision_names(backbone_tensors(state18))
    halves = {n: t.half() if t.is_floating_point() else t for n, t in names.items()}
    halves["conv1.weight"] = torch.nn.Parameter(halves["conv1.weight"].bfloat16())
    torch.save(halves, tmp_path / "half.pth")
    params = load_torch(tmp_path / "half.pth")["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    expected = halves["conv1.weight"].detach().float().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(params["conv1"]["kernel"], expected)


def test_one_error_names_every_tensor_that_does_not_fit(tmp_path, state18):
    names = torchvision_names(backbone_tensors(state18))
    del names["conv1.weight"], names["layer4.1.bn2.running_var"]
    names["layer1.0.conv1.weight"] = torch.zeros(64, 64, 1, 1)
    names["layer1.0.bn1.bias"] = torch.zeros(64, dtype=torch.int64)
    names["layer1.0.bn1.weight"] = 3.0
    names |= {"layer1.0.conv3.weight": torch.zeros(1), "classifier.bias": torch.zeros(1)}
    torch.save(names, tmp_path / "wrong.pth")
    with pytest.raises(InputError) as caught:
        load_torch(tmp_path / "wrong.pth")
    assert str(caught.value) == (
        f"{tmp_path}/wrong.pth: does not fit ResNet-18; choose another file or part; "
        "2 missing: layer4.1.bn2.running_var, conv1.weight; "
        "2 unexpected: layer1.0.conv3.weight, classifier.bias; "
        "3 misshapen: layer1.0.bn1.bias (is int64[64], not float[64]), layer1.0.bn1.weight (is float, not float[64]), "
        "layer1.0.conv1.weight (is float32[64, 64, 1, 1], not float[64, 64, 3, 3])"
    )


@pytest.mark.parametrize(
    ("part", "head"), [("vfs", "img_head.projection_fcs.7.running_mean"), ("siamfc", "head.x_convs.0.bias")]
)
def test_a_part_that_the_file_lacks_is_missing(tmp_path, state18, part, head):
    torch.save({"state_dict": {n: t for n, t in state18.items() if n.startswith("backbone.")}}, tmp_path / "b.pth")
    with pytest.raises(InputError, match=f"missing: .*{head}"):
        load_torch(tmp_path / "b.pth", part=part)


class _RunsCode:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path, state18, legacy):
    marker = tmp_path / "was-run"
    content = {"state_dict": state18, "meta": _RunsCode(marker)}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(
        InputError, match=r"evil.pth: refused, since reading it would run code \((posix|os|nt)\.mkdir\); save"
    ):
        load_torch(tmp_path / "evil.pth")
    assert not marker.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)  # the trap is real
    assert marker.exists()


def test_a_plain_pickle_that_would_run_code_is_refused(tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(_RunsCode(tmp_path / "was-run")))
    with pytest.raises(InputError, match=r"evil\.pkl"):
        load_torch(tmp_path / "evil.pkl")
    assert not (tmp_path / "was-run").exists()


def test_unreadable_files_are_refused_in_one_line(tmp_path, state18):
    torch.save({"state_dict": state18}, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    torch.save({"state_dict": state18}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    contents = {
        "half.pth": whole[: len(whole) // 2],
        "short.pth": whole[:-1000],
        "old.pth": (tmp_path / "legacy.pth").read_bytes()[:-1000],
        "noise.pth": np.random.default_rng(0).bytes(3000),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}: is no whole PyTorch checkpoint \(.+\); download") as caught:
            load_torch(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no state_dict"),
        (torch.zeros(3), "holds no state_dict"),
        ({1: torch.zeros(3)}, "holds no state_dict"),
        ({}, "holds no state_dict"),
        (
            {"features.0.weight": torch.zeros(3)},
            r"holds no network of a known layout \(its first names: features.0.weight\)",
        ),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(InputError, match=message):
        load_torch(tmp_path / "other.pth")


def test_a_missing_file_a_missing_folder_and_a_missing_torch_are_told(tmp_path, monkeypatch, loaded18):
    with pytest.raises(InputError, match=r"nowhere\.pth: there is no such file"):
        load_torch(tmp_path / "nowhere.pth")
    with pytest.raises(InputError, match="there is no such file"):
        load_torch(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        save_torch(loaded18, tmp_path / "nowhere" / "out.pth")
    save_torch(loaded18, tmp_path / "out.pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert depth_of(load_torch(tmp_path / "out.pth")) == 18  # reading needs no PyTorch
    with pytest.raises(InputError, match=r"pip install 'vfs_jax\[torch\]'"):
        save_torch(loaded18, tmp_path / "any.pth")


def test_wrong_arguments_are_programming_errors(tmp_path, loaded18):
    with pytest.raises(ValueError, match="part is"):
        load_torch(tmp_path / "any.pth", part="head")
    with pytest.raises(ValueError, match="layout is"):
        save_torch(loaded18, tmp_path / "any.pth", layout="moco")
    with pytest.raises(ValueError, match='needs variables with a "head"'):
        save_torch(loaded18, tmp_path / "any.pth", layout="siamfc")
    assert not list(tmp_path.iterdir())


def test_a_save_that_fails_leaves_the_earlier_file(tmp_path, monkeypatch, loaded18):
    save_torch(loaded18, tmp_path / "out.pth", layout="torchvision")
    before = (tmp_path / "out.pth").read_bytes()
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_torch(loaded18, tmp_path / "out.pth", layout="vfs")
    assert [file.name for file in tmp_path.iterdir()] == ["out.pth"]
    assert (tmp_path / "out.pth").read_bytes() == before


def test_the_same_variables_give_the_same_bytes(tmp_path, loaded18):
    for name in ("a.pth", "b.pth"):
        save_torch(flax.core.freeze(loaded18), tmp_path / name)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


@pytest.mark.parametrize("layout", ["vfs", "torchvision"])
def test_files_of_the_official_layouts_are_read(oracles, layout, tmp_path):
    path = official_weights(oracles, tmp_path, 18, layout)
    variables = load_torch(path)
    assert depth_of(variables) == 18
    save_torch(variables, tmp_path / "out.pth", layout=layout)
    original = torch.load(path, weights_only=True)
    written = torch.load(tmp_path / "out.pth", weights_only=True)
    original, written = (s.get("state_dict", s) for s in (original, written))
    backbone = {n: t for n, t in original.items() if not n.startswith(("img_head.", "fc.", "iteration"))}
    assert_same_tensors(written, backbone)


def test_a_network_with_loaded_weights_runs(loaded18):
    images = np.zeros((1, 32, 32, 3), np.float32)
    assert jax.jit(ResNet(18).apply)(backbone_of(loaded18), images)["res5"].shape == (1, 1, 1, 512)
