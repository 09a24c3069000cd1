"""PyTorch's container (.pth): read without PyTorch, by a pickle reader that can run nothing; written with it."""

import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

from vfs_jax.errors import InputError

# The first number of a file that torch.save wrote before version 1.6, or on request since.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

_DTYPES = {
    "Double": np.dtype("<f8"),
    "Float": np.dtype("<f4"),
    "Half": np.dtype("<f2"),
    "BFloat16": np.dtype(jnp.bfloat16),
    "Long": np.dtype("<i8"),
    "Int": np.dtype("<i4"),
    "Short": np.dtype("<i2"),
    "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"),
    "Bool": np.dtype("?"),
    "ComplexFloat": np.dtype("<c8"),
    "ComplexDouble": np.dtype("<c16"),
}

# What acts when it is called. Nothing here would call it, but a file that names it is no file of weights.
_ACTING = {
    *("os", "posix", "nt", "sys", "subprocess", "shutil", "pty", "importlib", "runpy", "ctypes", "code", "codeop"),
    *("marshal", "webbrowser"),
}
_ACTING_BUILTINS = {"eval", "exec", "compile", "open", "input", "breakpoint", "__import__", "exit", "quit"}
_BUILTINS = {"set": set, "frozenset": frozenset, "list": list, "dict": dict, "tuple": tuple}


class Tensor(NamedTuple):
    """A tensor of a file, read when it is wanted.

    Attributes:
        storage: its numbers, in the order of the file.
        offset: of its first number.
        shape: of it.
        strides: in numbers.
    """

    storage: "_Storage"
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self) -> np.ndarray:
        """Return its array, of the dtype in the file."""
        numbers = self.storage.read()
        if 0 in self.shape:
            return np.empty(self.shape, numbers.dtype)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if min((*self.shape, *self.strides, self.offset, 0)) < 0 or last >= len(numbers):
            raise ValueError("a tensor reaches beyond its storage")
        steps = [step * numbers.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, steps, writeable=False)


class _Storage(NamedTuple):
    """Numbers of a file that tensors share."""

    dtype: np.dtype[Any]
    start: int  # of a view into the numbers that are kept under the key
    load: Callable[[], bytes]

    def read(self) -> np.ndarray:
        return np.frombuffer(self.load(), self.dtype)[self.start :]


class _Dict(dict[Any, Any]):
    """An OrderedDict of a file; attributes that it carries are left out."""

    def __setstate__(self, state: object) -> None:
        del state


class Foreign(_Dict):
    """Stands for an object of any class that a file names: takes what the file would do to it, and does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Take what the class would be called with."""
        super().__init__()

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def append(self, item: object) -> None:
        """Take an item of a list."""

    def extend(self, items: object) -> None:
        """Take items of a list."""

    def add(self, item: object) -> None:
        """Take an item of a set."""


class _Reader(pickle.Unpickler):
    """Reads a pickle in which every name is made to mean one of a few harmless things; nothing is ever imported."""

    def __init__(self, file: BinaryIO, load: Callable[[str], bytes]) -> None:
        super().__init__(file)
        self._load = load

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name means here."""
        root = module.split(".")[0]
        is_builtin = root in ("builtins", "__builtin__")
        if root in _ACTING or (is_builtin and name.split(".")[0] in _ACTING_BUILTINS):
            raise _RunsCodeError(f"{module}.{name}")
        if is_builtin and name in _BUILTINS:
            return _BUILTINS[name]
        if (module, name) == ("collections", "OrderedDict"):
            return type("OrderedDict", (_Dict,), {})
        if (module, name) == ("torch", "Size"):
            return tuple
        if root == "torch" and name.removesuffix("Storage") in _DTYPES:
            return type(name, (), {"dtype": _DTYPES[name.removesuffix("Storage")]})
        if module == "torch.storage" and name == "UntypedStorage":
            return type(name, (), {"dtype": np.dtype("u1")})
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            # Made anew each time, as the classes are: what a file does to them touches nothing else.
            return lambda storage, offset, shape, strides, *_: Tensor(storage, offset, tuple(shape), tuple(strides))
        if module == "torch._utils" and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
            return lambda tensor, *_: tensor
        return type(f"{module}.{name}", (Foreign,), {})

    def persistent_load(self, pid: Any) -> object:
        """Return the storage, or the module, that stands outside of the pickle."""
        if pid[0] == "module":
            return pid[1]
        kind, key, *rest = pid[1:]
        start = rest[2][1] if len(rest) > 2 and rest[2] is not None else 0
        return _Storage(kind.dtype, start, lambda: self._load(key))


class _RunsCodeError(Exception):
    """A file names something that acts."""


def read_pth(path: Path) -> object:
    """Read what torch.save wrote, its tensors as `Tensor`; nothing that the file names is run or even imported.

    Args:
        path: an existing file.

    Returns:
        What was saved, usually a dict. Objects of foreign classes, an argparse.Namespace say, are `Foreign`.

    Raises:
        InputError: the file names something that acts, or it is no whole file of torch.save.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(4) == b"PK\3\4"
        return _read_zip(path) if is_zip else _read_legacy(path)
    except _RunsCodeError as error:
        raise InputError(
            f"{path}: refused, since reading it would run code ({error}); "
            "save its state_dict alone with the program that wrote it"
        ) from None
    except InputError:
        raise
    except Exception as error:  # a torn or foreign file fails in any way at all
        raise unreadable(path, "PyTorch checkpoint", error) from None


def _read_zip(path: Path) -> object:
    file = zipfile.ZipFile(path)
    names = file.namelist()
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if not pickles:
        shown = ", ".join(names[:3]) or "nothing"
        raise InputError(f"{path}: is an archive (zip) of other things ({shown}), no checkpoint; unpack it first")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in names:
        raise InputError(f"{path}: is a TorchScript program, no checkpoint; save its state_dict alone")
    if f"{root}byteorder" in names and file.read(f"{root}byteorder") != b"little":
        raise InputError(f"{path}: was written on a big-endian machine; save it again on another one")
    return _Reader(io.BytesIO(file.read(pickles[0])), lambda key: file.read(f"{root}data/{key}")).load()


def _read_legacy(path: Path) -> object:
    storages: dict[str, bytes] = {}
    dtypes: dict[str, np.dtype[Any]] = {}

    class Reader(_Reader):
        def persistent_load(self, pid: Any) -> object:
            if pid[0] == "storage":
                dtypes[pid[2]] = pid[1].dtype
            return super().persistent_load(pid)

    with path.open("rb") as file:

        def load() -> object:
            return Reader(file, storages.__getitem__).load()

        if load() != _LEGACY_MAGIC:
            raise InputError(f"{path}: is a pickle of other data, no checkpoint; save one with torch.save")
        load(), load()  # the protocol, and sizes of C's types where it was written
        content = load()
        keys: Any = load()
        for key in keys:
            count = int.from_bytes(file.read(8), "little")
            size = count * dtypes[key].itemsize
            storages[key] = file.read(size)
            if len(storages[key]) < size:
                raise EOFError("it ends early")
    return content


def unreadable(path: Path, what: str, error: Exception) -> InputError:
    """Return the error of a file that is torn, or none of ours."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return InputError(f"{path}: is no whole {what} ({reason}); download or write it again")


def write_pth(tensors: Mapping[str, np.ndarray], path: Path, *, nested: bool) -> None:
    """Write named arrays as torch.save does.

    Args:
        tensors: by name.
        path: the .pth file, in a folder that exists.
        nested: whether they lie under "state_dict" beside an empty "meta", as the release writes them.

    Raises:
        InputError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise InputError(f"{path}: writing .pth files needs PyTorch; pip install 'vfs_jax[torch]'") from None
    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    # Written to another file, torch would put that one's name inside.
    buffer = io.BytesIO()
    torch.save({"state_dict": state, "meta": {}} if nested else state, buffer)
    path.write_bytes(buffer.getbuffer())
