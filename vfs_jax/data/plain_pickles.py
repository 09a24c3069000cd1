"""Read pickles of arrays and plain values, of any protocol, without running what they ask for."""

import pickle
from pathlib import Path

from vfs_jax.errors import InputError


def read_plain_pickle(path: Path, what: str) -> object:
    """Read arrays, numbers, texts and containers from a pickle; refuse one that would call into other code.

    Args:
        path: of the file.
        what: the file should be, for the error: "a TAP-Vid pickle".

    Returns:
        what it holds; texts of Python 2 as Latin-1.

    Raises:
        InputError: it is missing, torn, or would run code.
    """
    try:
        with path.open("rb") as file:
            return _PlainValues(file, encoding="latin1").load()
    except Exception as error:  # a torn pickle raises almost anything
        raise InputError(f"{path}: cannot be read as {what} ({error}); download it again") from None


class _PlainValues(pickle.Unpickler):
    """Builds arrays, numbers and containers alone."""

    _ALLOWED = {
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, names in (("multiarray", ("_reconstruct", "scalar")), ("numeric", ("_frombuffer",)))
        for name in names
    } | {("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict")}

    def find_class(self, module: str, name: str) -> object:
        # Protocols below 3 have no bytes: they are texts that are encoded, or no bytes at all.
        if (module, name) == ("_codecs", "encode"):
            return _encoded
        if (module, name) in (("builtins", "bytes"), ("__builtin__", "bytes")):
            return _no_bytes
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"would call {module}.{name}")
        return super().find_class(module, name)


def _encoded(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encodes a text as {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""
