"""Files of named tensors, whatever their container (.pth, .safetensors): told apart by what is in them."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from vfs_jax.errors import InputError
from vfs_jax.models.weights.pth import Tensor, read_pth, unreadable, write_pth

SUFFIXES = (".pth", ".pt", ".safetensors")

# How files begin that people take for weights, and what they are.
_OTHER_FILES = (
    (rb"\s*<(!doctype html|html)", "a web page (HTML); download the file that it links to"),
    (rb"\s*<\?xml", "an XML page, such as servers answer with in place of a file; download it again"),
    (rb"version https://git-lfs", "a Git LFS pointer; fetch the file itself with git lfs pull"),
    (rb"\x1f\x8b", "an archive (gzip); unpack it and give the file in it"),
    (rb"BZh", "an archive (bzip2); unpack it and give the file in it"),
    (rb"\xfd7zXZ", "an archive (xz); unpack it and give the file in it"),
    (rb"7z\xbc\xaf", "an archive (7z); unpack it and give the file in it"),
    (rb"Rar!", "an archive (rar); unpack it and give the file in it"),
    (rb"\x28\xb5\x2f\xfd", "an archive (zstd); unpack it and give the file in it"),
    (rb"PK\x05\x06", "an empty archive (zip); download it again"),
    (rb".{257}ustar", "an archive (tar); unpack it and give the file in it"),
    (rb"\x89HDF", "an HDF5 file; save the weights as .safetensors or with torch.save"),
    (rb"\x93NUMPY", "a NumPy array; save the weights as .safetensors or with torch.save"),
    (rb"\xff\xd8\xff|\x89PNG", "a picture; give a file of weights"),
    (rb"\s*[{\[]\s*[\"\]}]", "a JSON file; give the file of the weights beside it"),
)

_SAFE_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(jnp.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def read_file(path: str | os.PathLike[str]) -> object:
    """Read a file of tensors; nothing in it is run.

    Args:
        path: a .pth or .safetensors file, whatever its name.

    Returns:
        What was saved: of .safetensors a dict of arrays by name, of .pth any object, its tensors as `Tensor`.

    Raises:
        InputError: there is no such file, it names something that would run, or it is torn or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); look at its permissions") from None
    if not start:
        raise InputError(f"{path}: is empty; download or write it again")
    if path.suffix == ".safetensors" or (start[8:10] == b'{"' and int.from_bytes(start[:8], "little") < 2**27):
        if not (known := _other_file(start)):
            return _read_safetensors(path)
        raise known_error(path, known)
    if known := _other_file(start):
        raise known_error(path, known)
    return read_pth(path)


def known_error(path: Path, known: str) -> InputError:
    """Return the error of a file that is something else."""
    return InputError(f"{path}: is {known}")


def _other_file(start: bytes) -> str | None:
    for pattern, what in _OTHER_FILES:
        if re.match(pattern, start, re.IGNORECASE | re.DOTALL):
            return what
    return None


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        entries = safetensors.deserialize(path.read_bytes())
        return {
            name: np.frombuffer(entry["data"], _SAFE_DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in entries
        }
    except Exception as error:  # a torn file fails in any way at all
        raise unreadable(path, "safetensors file", error) from None


def is_tensor(value: object) -> bool:
    """Tell a file's tensors from what may lie beside them."""
    return isinstance(value, Tensor | np.ndarray)


def to_array(path: str | os.PathLike[str], name: str, value: object) -> object:
    """Return the array of a tensor, float32 for any floating type; what is no tensor stays as it is.

    Args:
        path: of the file, for messages.
        name: of the tensor in it.
        value: as `read_file` gives it.

    Raises:
        InputError: the tensor's numbers are not all there.
    """
    try:
        array = value.read() if isinstance(value, Tensor) else value
        if isinstance(array, np.ndarray) and jnp.issubdtype(array.dtype, jnp.floating):
            return array.astype(np.float32)
    except Exception as error:  # a torn file fails in any way at all
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: holds a torn tensor, {name} ({reason}); download or write it again") from None
    return array


def write_file(tensors: Mapping[str, np.ndarray], path: str | os.PathLike[str], *, nested: bool) -> None:
    """Write named arrays through a temporary file, so that what stands at `path` is always whole.

    Args:
        tensors: by name.
        path: ends in .safetensors, or .pth or .pt.
        nested: whether a .pth has them under "state_dict", as the release writes them.

    Raises:
        InputError: PyTorch is not installed (.pth), or the folder does not exist or cannot be written to.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix == ".safetensors":
            whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
            temporary.write_bytes(safetensors.numpy.save(whole, metadata={"format": "pt"}))
        else:
            write_pth(tensors, temporary, nested=nested)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
