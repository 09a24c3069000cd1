"""Which tensors of a file are the network's: the teacher's where there are two, under names without wrappers."""

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from vfs_jax.errors import InputError
from vfs_jax.models.weights.files import is_tensor, read_file
from vfs_jax.models.weights.pth import Foreign

_log = logging.getLogger(__name__)

# Where checkpoints keep their networks, the one that is evaluated first.
_KEYS = ("teacher", "model_ema", "state_dict", "model_state", "model", "student")
# What people put around a network. In front of names it is peeled off in any order and depth.
_WRAPPERS = ("module.", "_orig_mod.", "backbone.", "model.", "encoder.", "base_encoder.")
# What compilation and sharding put in the middle of names.
_INNER = re.compile(r"(?<=\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")

State = dict[str, "tuple[str, object]"]  # name without wrappers -> name in the file, value


def read_state(path: str | os.PathLike[str]) -> tuple[State, tuple[str, ...]]:
    """Read the named tensors of a file.

    Args:
        path: a .pth or .safetensors file.

    Returns:
        The tensors by names without wrappers, and the keys under which they lay in the file.

    Raises:
        InputError: as `read_file` does, or there are no named tensors, or two of one name.
    """
    content: Any = read_file(path)
    keys: list[str] = []
    while (inside := _inside(content)) is not None:
        if inside == "teacher" and "student" in content:
            _log.warning("%s: holds a student and a teacher; took the teacher", path)
        content = content[inside]
        keys.append(str(inside))
    if not _has_tensors(content):
        raise InputError(
            f"{path}: holds no state_dict (named tensors); save one with torch.save(model.state_dict(), ...)"
        )
    return _without_wrappers(path, {name: value for name, value in content.items() if isinstance(name, str)}), (*keys,)


def _inside(content: Any) -> object | None:
    """Return the key of a dict under which its network lies, None where its own values are the tensors."""
    if not _is_dict(content):
        return None
    for key in _KEYS:
        if _is_dict(content.get(key)):
            return key
    if _has_tensors(content):
        return None
    inside = [key for key, value in content.items() if _has_tensors(value)]
    return inside[0] if len(inside) == 1 else None


def _is_dict(content: object) -> bool:
    return isinstance(content, dict) and not isinstance(content, Foreign)


def _has_tensors(content: Any) -> bool:
    return _is_dict(content) and any(isinstance(name, str) and is_tensor(value) for name, value in content.items())


def _without_wrappers(path: str | os.PathLike[str], content: Mapping[str, object]) -> State:
    """Return the tensors by their names without wrappers; of a teacher and a student the teacher's."""
    peeled = {name: _peel(name) for name in content}
    if any(name.startswith("teacher.") for name in peeled.values()):
        _log.warning("%s: holds a student and a teacher; took the teacher", path)
        peeled = {
            name: _peel(new.removeprefix("teacher.")) for name, new in peeled.items() if new.startswith("teacher.")
        }
    state: State = {}
    for name, new in peeled.items():
        if new in state:
            raise InputError(f"{path}: holds {state[new][0]} and {name}; save the tensors of one network alone")
        state[new] = name, content[name]
    return state


def _peel(name: str) -> str:
    """Take the wrappers off a name.

    >>> _peel("module.encoder.model.layer1.0.conv1.weight"), _peel("backbone.blocks.0._orig_mod.norm1.bias")
    ('layer1.0.conv1.weight', 'blocks.0.norm1.bias')
    """
    name = _INNER.sub("", name)
    while wrapper := next((each for each in _WRAPPERS if name.startswith(each)), None):
        name = name.removeprefix(wrapper)
    return name
