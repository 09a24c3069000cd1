"""Tensors by name into a network's variables, strictly: one error tells all that does not fit."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vfs_jax.errors import InputError
from vfs_jax.models.resnet import Variables

TreePath = tuple[str, ...]  # of a leaf or a module in a tree of variables

_log = logging.getLogger(__name__)


def fit(
    path: str | os.PathLike[str],
    what: str,
    wanted: Mapping[TreePath, tuple[str, tuple[int, ...]]],
    state: Mapping[str, object],
    *,
    written: Mapping[str, str],
    is_known: Callable[[str], bool],
    counters: Sequence[str] = (),
) -> Variables:
    """Return the variables whose leaves a file's tensors are.

    Args:
        path: the file, for messages.
        what: the network, for messages.
        wanted: for each leaf the name and the shape of its array in `state`.
        state: arrays by name.
        written: how the file writes a name, where it does otherwise.
        is_known: tells the names of what such files hold besides; these are left out with a logged note.
        counters: names of what is left out without one.

    Raises:
        InputError: something is missing, unexpected, misshapen or not finite.
    """
    used = {name for name, _ in wanted.values()}
    left = [name for name in state if name not in used and name not in counters]
    wrong: dict[str, list[str]] = {"missing": [], "unexpected": [], "misshapen": [], "not finite": []}
    wrong["unexpected"] = [written.get(name, name) for name in left if not is_known(name)]
    values = {}
    for leaf, (name, shape) in wanted.items():
        value, shown = state.get(name), written.get(name, name)
        if value is None:
            wrong["missing"].append(shown)
        elif not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.shape != shape:
            kind = f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
            wrong["misshapen"].append(f"{shown} (is {kind}, not float{list(shape)})")
        elif not np.isfinite(value).all():
            wrong["not finite"].append(shown)
        else:
            values[leaf] = np.ascontiguousarray(flax_order(leaf, value))
    if any(wrong.values()):
        lists = "; ".join(f"{len(these)} {kind}: {', '.join(these)}" for kind, these in wrong.items() if these)
        raise InputError(f"{path}: does not fit {what}; choose another file or part; {lists}")
    if dropped := [written.get(name, name) for name in left]:
        heads = sorted({name.split(".")[0] for name in left})
        _log.warning("%s: left out %d tensors under %s", path, len(dropped), ", ".join(heads))
    return unflatten_dict(values)


def check_finite(source: object, variables: Mapping[str, object]) -> None:
    """Raise InputError that names all leaves with NaN or inf in them."""
    bad = [".".join(leaf) for leaf, value in _leaves(variables) if not np.isfinite(np.asarray(value)).all()]
    if bad:
        raise InputError(f"{source}: {len(bad)} not finite: {', '.join(bad)}; take another checkpoint")


def _leaves(variables: Mapping[str, object]) -> Iterator[tuple[TreePath, object]]:
    yield from flatten_dict(variables).items()


# Leaves of a vision transformer that files keep with axes of length 1 in front.
_TOKENS = ("class_token", "position_embedding", "register_tokens")


def file_shape(leaf: TreePath, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that files give a leaf: [h, w, in, out] is [out, in, h, w] there, [in, out] is [out, in].

    >>> file_shape(("params", "conv1", "kernel"), (7, 7, 3, 64)), file_shape(("params", "class_token"), (384,))
    ((64, 3, 7, 7), (1, 1, 384))
    """
    return file_order(leaf, np.broadcast_to(np.float32(0), shape)).shape


def file_order(leaf: TreePath, array: np.ndarray) -> np.ndarray:
    """Return a leaf as files hold it."""
    if leaf[-1] in _TOKENS:
        return array.reshape((1,) * (3 - array.ndim) + array.shape)
    return array.transpose((3, 2, 0, 1) if array.ndim == 4 else None)


def flax_order(leaf: TreePath, array: np.ndarray) -> np.ndarray:
    """Return the inverse of `file_order`."""
    if leaf[-1] in _TOKENS:
        return array.reshape(array.shape[-1:] if leaf[-1] == "class_token" else array.shape[-2:])
    return array.transpose((2, 3, 1, 0) if array.ndim == 4 else None)
