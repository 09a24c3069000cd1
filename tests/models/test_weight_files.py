"""Containers of weights: every kind of file by what it is, and foreign objects that are passed over and never run."""

import argparse
import collections
import datetime
import enum
import gzip
import io
import os
import pathlib
import pickle
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from vfs_jax.errors import InputError
from vfs_jax.models.weights.files import read_file, to_array
from vfs_jax.models.weights.states import read_state

TENSORS = {"conv1.weight": torch.arange(24.0).reshape(2, 3, 4), "bn1.bias": torch.ones(3)}


def arrays(path):
    return {name: to_array(path, *entry) for name, entry in read_state(path)[0].items()}


def assert_tensors(found, expected=TENSORS):
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(
            found[name], tensor.detach().float().numpy() if tensor.is_floating_point() else tensor
        )


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_of_every_kind_are_read_bit_for_bit(tmp_path, legacy):
    base = torch.arange(60.0).reshape(5, 12)
    tensors = {
        "transposed": base.t(),
        "sliced": base[1:4, 2:9:3],
        "expanded": torch.tensor([3.0]).expand(4, 2),
        "parameter": torch.nn.Parameter(base[2]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "double": base.double() / 3,
        "half": (base / 3).half(),
        "bfloat16": (base / 3).bfloat16(),
        "long": torch.tensor([-(2**40), 7]),
        "byte": torch.tensor([0, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
    }
    torch.save(tensors, tmp_path / "all.pth", _use_new_zipfile_serialization=not legacy)
    assert_tensors(arrays(tmp_path / "all.pth"), tensors)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save(module.state_dict(), tmp_path / "module.pth", _use_new_zipfile_serialization=not legacy)
    assert_tensors(arrays(tmp_path / "module.pth"), module.state_dict())


def test_safetensors_of_every_kind_are_read_bit_for_bit(tmp_path):
    whole = {name: tensor.numpy() for name, tensor in TENSORS.items()}
    save_file(whole, tmp_path / "a.safetensors")
    assert_tensors(arrays(tmp_path / "a.safetensors"))
    (tmp_path / "b.pth").write_bytes((tmp_path / "a.safetensors").read_bytes())  # told by what it is
    assert_tensors(arrays(tmp_path / "b.pth"))
    from safetensors.torch import save_file as save_torch_file

    half = {name: tensor.bfloat16() for name, tensor in TENSORS.items()}
    save_torch_file(half, tmp_path / "c.safetensors")
    assert_tensors(arrays(tmp_path / "c.safetensors"), half)


class _Color(enum.Enum):
    RED = 1


class _Config(dict):
    """A dict of a class of its own, as configurations are."""


class _Slotted:
    __slots__ = ("a",)

    def __init__(self):
        self.a = 1


def touch(path):
    pathlib.Path(path).touch()
    return path


class _Calls:
    """Calls a function of a module of ours when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return touch, (self.path,)


class _Sets:
    """Would set its state by code of its own."""

    def __init__(self, path):
        self.path = str(path)

    def __setstate__(self, state):
        touch(state["path"])


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
def test_foreign_objects_are_passed_over_and_nothing_runs(tmp_path, legacy, protocol):
    marker = tmp_path / "was-run"
    foreign = {
        "args": argparse.Namespace(arch="vit_small", root=pathlib.Path("/data"), lr=np.float64(0.1)),
        "config": _Config(a=_Config(b=[1, 2])),
        "default": collections.defaultdict(list, {"a": [1]}),
        "enum": {_Color.RED: _Color.RED},
        "when": datetime.datetime(2020, 1, 2),
        "array": np.arange(3.0),
        "slotted": _Slotted(),
        "deque": collections.deque([1, 2]),
        "set": {1, 2},
        "dtype": torch.float16,
        "device": torch.device("cpu"),
        "calls": _Calls(marker),
        "sets": _Sets(marker),
        "optimizer": torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1),
    }
    path = tmp_path / "foreign.pth"
    options = {"_use_new_zipfile_serialization": not legacy, "pickle_protocol": protocol}
    torch.save({"model": TENSORS, **foreign}, path, **options)
    assert_tensors(arrays(path))
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the traps are real
    assert marker.exists()


class _Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, os.mkdir, eval, exec, sys.exit, __import__])
def test_what_acts_is_refused_by_its_name(tmp_path, function):
    marker = tmp_path / "x"
    torch.save({"model": TENSORS, "evil": _Runs(function, str(marker))}, tmp_path / "evil.pth")
    with pytest.raises(
        InputError, match=rf"evil\.pth: refused, since reading it would run code \(.*{function.__name__}\)"
    ):
        read_file(tmp_path / "evil.pth")
    assert not marker.exists()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def tarred():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("weights.pth"))
    return buffer.getvalue()


WHOLE = io.BytesIO()
torch.save(TENSORS, WHOLE)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; download or write it again"),
        (b"\n <!DOCTYPE html><html>", r"is a web page \(HTML\); download the file that it links to"),
        (b"<html>404</html>", r"is a web page \(HTML\)"),
        (b'<?xml version="1.0"?><Error>', "is an XML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer; fetch the file itself"),
        (gzip.compress(b"weights", mtime=0), r"is an archive \(gzip\); unpack it"),
        (tarred(), r"is an archive \(tar\); unpack it"),
        (b'{"message": "Not Found"}', "is a JSON file"),
        (WHOLE.getvalue()[:-300], "is no whole"),
        (WHOLE.getvalue()[:200], "is no whole"),
        (b"not weights at all, but a text", "is no whole"),
    ],
)
def test_a_file_that_is_something_else_is_told(tmp_path, suffix, content, message):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"weights\{suffix}: {message}") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"a/readme.txt": "x", "b.bin": "y"}), r"is an archive \(zip\) of other things \(a/readme.txt, b.bin\)"),
        (zipped({"m/data.pkl": "x", "m/constants.pkl": "y", "m/code/a.py": ""}), "is a TorchScript program"),
        (pickle.dumps({"a": [1, 2.5, "text", None]}, protocol=2), "is a pickle of other data, no checkpoint"),
        (pickle.dumps({"a": np.zeros(3)}, protocol=4), "is a pickle of other data, no checkpoint"),
        (pickle.dumps([TENSORS["bn1.bias"].tolist()]), "is a pickle of other data, no checkpoint"),
    ],
)
def test_other_archives_and_pickles_are_told(tmp_path, content, message):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_state(tmp_path / "weights.pth")
    assert "run code" not in str(caught.value)


def test_a_tensor_that_reaches_beyond_its_numbers_is_refused(tmp_path):
    """A file may claim any shape and strides."""
    whole = zipfile.ZipFile(io.BytesIO(WHOLE.getvalue()))
    files = {name: whole.read(name) for name in whole.namelist()}
    pickled = next(name for name in files if name.endswith("data.pkl"))
    assert b"K\x02K\x03K\x04\x87" in files[pickled]  # the shape (2, 3, 4)
    files[pickled] = files[pickled].replace(b"K\x02K\x03K\x04\x87", b"K\x02K\x03K\xff\x87")
    (tmp_path / "long.pth").write_bytes(zipped(files))
    with pytest.raises(InputError, match=r"long\.pth: holds a torn tensor, conv1\.weight"):
        arrays(tmp_path / "long.pth")
