"""Text files, read and written in one place: UTF-8 whatever the locale says, whole or not at all, valid JSON."""

import codecs
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vfs_jax.errors import InputError

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(file: str | os.PathLike[str], *, errors: str = "strict") -> str:
    r"""Read a text file, of any system's line ends, with or without the mark that some editors put before UTF-8.

    Args:
        file: what users wrote or edited: boxes, lists, tables, splits, JSON.
        errors: as of `bytes.decode`; "surrogateescape" where the text names files, whose names may be any bytes.

    Returns:
        The text, each line ending in "\n".

    Raises:
        InputError: it is not UTF-8 text.
        OSError: it cannot be read.

    Example:
        >>> file = getfixture("tmp_path") / "list.txt"
        >>> _ = file.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
        >>> read_text(file)
        'one\ntwo\n'
        >>> _ = file.write_text("café", encoding="latin-1")
        >>> read_text(file)
        Traceback (most recent call last):
        vfs_jax.errors.InputError: .../list.txt: is not UTF-8 text (byte 0xe9 in line 1); save it as UTF-8
    """
    data = Path(file).read_bytes()
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if marked is not None:
        raise InputError(f"{os.fspath(file)}: is {marked} text; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{os.fspath(file)}: is not UTF-8 text (byte {data[error.start]:#x} in line {line}); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise InputError(f"{os.fspath(file)}: is not UTF-8 text (it holds zero bytes); save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def write_text(file: str | os.PathLike[str], text: str) -> None:
    """Write a text file so that it is there whole or not at all, even after a power cut.

    Args:
        file: what was there is replaced.
        text: written as UTF-8; what no text can hold, bytes of odd file names, becomes escapes.

    Raises:
        OSError: it cannot be written; names the file.
    """
    path = Path(file)
    # Drawn, since containers of several machines that share a folder give their processes the same numbers.
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def to_json(value: object, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Write a value as JSON that every reader takes: NaN and infinities become null.

    Args:
        value: of dicts, lists, numbers and text; others become text.
        indent: spaces a level; None for one line.
        sort_keys: whether keys come in alphabetical order.

    >>> to_json({"loss": float("nan"), "steps": [1, float("inf")]})
    '{"loss": null, "steps": [1, null]}'
    """
    return json.dumps(_finite(value), indent=indent, sort_keys=sort_keys, default=str, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_finite(each) for each in value]
    return value
