"""The claim on a folder of results: config.json beside them, and no second configuration among them.

Data may lie elsewhere at the next call: a claim holds their checksum as a leaf "data_found", and leaves the path free.
"""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from vfs_jax.data.images import list_images
from vfs_jax.data.text import read_text, to_json, write_text
from vfs_jax.errors import InputError

_PACKAGES = ("vfs_jax", "jax", "jaxlib", "flax", "numpy", "opencv-python-headless", "pillow")
_MADE_WITH = ("versions", "device")  # told, never compared


def claim_folder(folder: Path, config: Mapping[str, object], *, free: Collection[str] = ()) -> None:
    """Write config.json into a results folder, or check that the one there is of the same configuration.

    What `with_versions` adds may always differ.

    Args:
        folder: made where it does not exist.
        config: the whole configuration, of values that JSON holds (others as text); dotted names of its leaves are what
            is compared.
        free: leaves that may differ from the earlier run (how often to log, how many workers ...).

    Raises:
        InputError: the folder holds results of another configuration; the message names the differing keys.

    Example:
        >>> folder = getfixture("tmp_path") / "run"
        >>> claim_folder(folder, {"topk": 10, "log_every": 50})
        >>> claim_folder(folder, {"topk": 10, "log_every": 100}, free=["log_every"])
        >>> claim_folder(folder, {"topk": 5, "log_every": 100})
        Traceback (most recent call last):
        vfs_jax.errors.InputError: .../run: holds a run of another configuration (topk: 10 there, 5 here); choose ...
    """
    new = json.loads(to_json(config))
    path = folder / "config.json"
    if path.exists():
        text = read_text(path)
        try:
            old = json.loads(text)
        except json.JSONDecodeError:
            old = None
        if not isinstance(old, dict):
            raise InputError(f"{path}: is not JSON; choose another folder or delete this one")
        old_leaves, new_leaves = _leaves(old), _leaves(new)
        keys = sorted(
            key
            for key in {*old_leaves, *new_leaves} - set(free)
            if key.partition(".")[0] not in _MADE_WITH and old_leaves.get(key) != new_leaves.get(key)
        )
        if keys:
            changes = ", ".join(f"{key}: {old_leaves.get(key)} there, {new_leaves.get(key)} here" for key in keys)
            raise InputError(f"{folder}: holds a run of another configuration ({changes}); choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, to_json(new, indent=2, sort_keys=True) + "\n")


def with_versions(config: Mapping[str, object]) -> dict[str, object]:
    """Return a configuration with what computes it: "versions" of the packages by name, and "device"."""
    import jax  # not at the top: vfs-prepare claims folders too, and needs a sixth of a gigabyte less without it

    versions = {package.replace("-", "_"): importlib.metadata.version(package) for package in _PACKAGES}
    return {**config, "versions": versions, "device": jax.devices()[0].device_kind}


def checksum(parts: Iterable[object]) -> str:
    """Return one checksum (SHA-256) of arrays, bytes, numbers, texts and None, in order, with their kinds and shapes.

    >>> checksum([np.zeros(2), "a"]) == checksum([np.zeros(2), "a"]), checksum(["ab"]) == checksum(["a", "b"])
    (True, False)
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode("utf-8", "surrogateescape"))
        digest.update(b"|")
    return digest.hexdigest()


def video_checksum(video: Path) -> str:
    """Return the checksum of a video file's bytes, or of the names and bytes of a folder's frames."""
    files = list_images(video) if video.is_dir() else [video]
    digest = hashlib.sha256()
    for file in files:
        if video.is_dir():
            digest.update(os.fsencode(file.name) + b"|")
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _leaves(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    out: dict[str, object] = {}
    for key, value in tree.items():
        out |= _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return out
