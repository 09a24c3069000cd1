"""PyTorch's container of named tensors (.pth), read and written; no code in a file is ever run."""

import io
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vfs_jax.errors import InputError


def _import_torch(path: str | os.PathLike[str]) -> ModuleType:
    try:
        import torch
    except ImportError:
        raise InputError(f"{path}: .pth files need PyTorch; pip install 'vfs_jax[torch]'") from None
    return torch


def read_pth(path: str | os.PathLike[str]) -> dict[str, object]:
    """Read the tensors of a file as NumPy arrays, under their names less a common "module.".

    Args:
        path: the .pth file. It is read without running any code that it may hold; besides tensors and plain Python
            values only numpy's float scalars (of a learning-rate schedule) are allowed.

    Returns:
        Arrays by name, of any floating type as float32; what is no tensor (a counter) stays as it is.

    Raises:
        InputError: PyTorch is not installed; the file is missing, torn, no checkpoint, or would run code.
    """
    torch = _import_torch(path)
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    scalar = np.float64(0).__reduce__()[0]
    # numpy 2 moved the scalar's module; files written before name the old one.
    allowed = [np.dtype, np.dtypes.Float64DType, scalar, (scalar, "numpy.core.multiarray.scalar")]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if asked := re.search(r"(?:GLOBAL|class) (\S+)", str(error)):
            raise InputError(
                f"{path}: refused, since reading it would run code ({asked[1]}); "
                "save its state_dict alone with the program that wrote it"
            ) from None
        raise _unreadable(path, error) from None
    except Exception as error:  # a torn or foreign file fails in any way at all
        raise _unreadable(path, error) from None

    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise InputError(
            f"{path}: holds no state_dict (named tensors); save one with torch.save(model.state_dict(), ...)"
        )
    prefix = "module." if all(name.startswith("module.") for name in content) else ""
    return {
        name.removeprefix(prefix): _to_numpy(value) if isinstance(value, torch.Tensor) else value
        for name, value in content.items()
    }


def _to_numpy(tensor: Any) -> object:
    """Return a NumPy array, float32 for any floating type; a tensor that holds no plain numbers stays."""
    if tensor.device.type != "cpu" or tensor.is_sparse or tensor.is_quantized:
        return tensor
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()


def _unreadable(path: str | os.PathLike[str], error: Exception) -> InputError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return InputError(f"{path}: is no whole PyTorch checkpoint ({reason}); download or write it again")


def write_pth(tensors: Mapping[str, np.ndarray], path: str | os.PathLike[str], *, nested: bool) -> None:
    """Write named arrays through a temporary file, so that what stands at `path` is always whole.

    Args:
        tensors: by name.
        path: the .pth file.
        nested: whether they lie under "state_dict" beside an empty "meta", as the release writes them.

    Raises:
        InputError: PyTorch is not installed, or the folder does not exist.
    """
    torch, path = _import_torch(path), Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first")
    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    buffer = io.BytesIO()  # written to a path, torch would put the file's name inside
    torch.save({"state_dict": state, "meta": {}} if nested else state, buffer)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(buffer.getbuffer())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
