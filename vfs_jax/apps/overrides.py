"""What is wrong with a command line: a config that cannot be loaded, a name that is none, a value of another type."""

import difflib
import importlib.resources
import re
import runpy
import traceback
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from vfs_jax.errors import InputError

_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false"}


def resolved(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with --config=FILE[:VARIANTS] checked, and looked up among the installed ones.

    Args:
        arguments: of a command, without its own name.

    Raises:
        InputError: the config cannot be loaded, or an override --config.KEY=VALUE names no key of it; the message names
            the nearest there are.
    """
    arguments = list(arguments)
    if "--config" in arguments[:-1]:  # its value is an argument of its own
        at = arguments.index("--config")
        arguments[at : at + 2] = [f"--config={arguments[at + 1]}"]
    given = [index for index, argument in enumerate(arguments) if argument.startswith("--config=")]
    if not given:
        return arguments
    at = given[-1]
    path, colon, variants = arguments[at].removeprefix("--config=").partition(":")
    if not Path(path).exists():
        path = str(_installed_config(path))
    tree = _load(path, [variants] if colon else [])
    arguments[at] = f"--config={path}{colon}{variants}"
    for argument in arguments:
        if override := re.match(r"--?(?:no)?config\.([^=]+)", argument):
            _check_key(tree, override[1], path)
    return arguments


def explained(error: Exception, flag_values: flags.FlagValues) -> str:
    """Say in one line what absl and ml_collections refuse.

    Args:
        error: what parsing the flags raised.
        flag_values: of the command.
    """
    if isinstance(error, flags.UnrecognizedFlagError):
        name = error.flagname
        tree = flag_values["config"].value if "config" in flag_values else None
        keys = [f"config.{key}" for key in _keys(tree)] if isinstance(tree, ConfigDict) else []
        own = flag_values.flags_by_module_dict().values()
        known = [flag.name for module in own for flag in module] + keys
        return f"--{name}: no such flag{_suggestion(name, known, '--')}"
    message = str(error).removeprefix("flag ")
    if message.endswith("must have a value other than None."):
        return f"{message.partition('=')[0]} is missing; see --help"
    if isinstance(error, flags.IllegalFlagValueError):
        given = message.removesuffix(f": {error.__context__}")  # --NAME=VALUE
        name = given.partition("=")[0].removeprefix("--")
        if name in flag_values and flag_values[name].flag_type() in _TYPES:
            return f"{given}: takes {_TYPES[flag_values[name].flag_type()]}"
    return message


def _load(path: str, variants: Sequence[str]) -> ConfigDict:
    """Run a config file, which is a user's own code."""
    if not Path(path).is_file():
        raise InputError(f"--config={path}: is no file; name a config")
    try:
        module = runpy.run_path(path)
        make = module.get("get_config")
        if make is None:
            raise InputError(f"--config={path}: defines no get_config(); is it a config?")
        tree = make(*variants)
    except InputError:
        raise
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        raise InputError(f"--config={path}: {where}{error.msg}; a config is a Python file") from None
    except ValueError as error:  # what a config refuses: a variant that there is not
        raise InputError(f"--config={path}: {error}") from None
    except Exception as error:  # whatever else the file does
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        where = f"line {lines[-1]}: " if lines else ""
        raise InputError(f"--config={path}: {where}{type(error).__name__}: {error}") from None
    if not isinstance(tree, ConfigDict):
        raise InputError(f"--config={path}: get_config() gives {type(tree).__name__}, not a ConfigDict")
    return tree


def _installed_config(path: str) -> Path:
    folder = Path(str(importlib.resources.files("vfs_jax.configs")))
    name = Path(path).name
    if not (folder / name).is_file():
        known = sorted(file.name for file in folder.glob("[!_]*.py") if file.stem != "common")
        nearest = difflib.get_close_matches(name, known, 1)
        suggestion = f" (did you mean {nearest[0]}?)" if nearest else ""
        raise InputError(
            f"--config={path}: no such file, and no installed config of that name{suggestion}; there are "
            f"{', '.join(known)}"
        )
    return folder / name


def _check_key(tree: ConfigDict, key: str, path: str) -> None:
    """Raise InputError unless a dotted key, or an item of a tuple ("a.b[0]"), is in the config."""
    node: object = tree
    for part in re.sub(r"\[\d+\]", "", key).split("."):
        if not isinstance(node, ConfigDict) or part not in node:
            suggestion = _suggestion(key, list(_keys(tree)), "--config.")
            raise InputError(f"--config.{key}: no such key of {path}{suggestion}")
        node = node[part]


def _keys(tree: ConfigDict, prefix: str = "") -> Iterator[str]:
    for key in tree:
        if isinstance(tree[key], ConfigDict):
            yield from _keys(tree[key], f"{prefix}{key}.")
        else:
            yield prefix + key


def _suggestion(name: str, known: Collection[str], prefix: str) -> str:
    """Name up to three known names that are most like one, by the whole or by the last part of each; else all."""

    def likeness(other: str) -> float:
        pairs = ((name, other), (name.rpartition(".")[2], other.rpartition(".")[2]))
        return max(difflib.SequenceMatcher(a=a, b=b).ratio() for a, b in pairs)

    nearest = sorted(known, key=lambda other: (-likeness(other), other))[:3]
    like = [other for other in nearest if likeness(other) > max(0.55, 0.8 * likeness(nearest[0]))]
    if like:
        return f"; did you mean {' or '.join(prefix + other for other in like)}?"
    return f"; there are {', '.join(sorted(known))}"
