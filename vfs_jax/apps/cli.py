"""What every command shares: parsing flags, finding configs, one line on bad input, claiming a results folder."""

import importlib.resources
import json
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import ml_collections
from absl import flags

from vfs_jax.errors import InputError


def main(run: Callable[[list[str]], None], flag_values: flags.FlagValues, doc: str | None) -> None:
    """Run one command on sys.argv and ends the process.

    Args:
        run: called with the arguments that are not flags.
        flag_values: the command's own flags; each command has its own set, so that one process can import several.
        doc: the command's docstring, shown by --help.

    The exit status is 0, 1 for bad input (one line on stderr), 2 for bad flags, 130 when interrupted.
    """
    command = Path(sys.argv[0]).stem
    command = command if command.startswith("vfs-") else f"vfs-{command}"
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(f"{(doc or '').strip()}\n\nFlags:\n{flag_values.main_module_help() or flag_values.get_help()}")
        sys.exit(0)
    try:
        # ml_collections reads --config.key=value from sys.argv itself, so the list is changed in place.
        sys.argv[1:] = [_resolve_config(argument) for argument in sys.argv[1:]]
        arguments = flag_values(sys.argv)[1:]
    except InputError as error:
        _fail(command, error, 1)
    except KeyError as error:  # the message of ml_collections is the name alone
        _fail(command, f"--config has no field {error.args[0]}", 2)
    except (flags.Error, AttributeError, TypeError, ValueError) as error:
        _fail(command, error, 2)
    flags.FLAGS.mark_as_parsed()  # grain and orbax read absl's global flags
    try:
        run(arguments)
    except InputError as error:
        _fail(command, error, 1)
    except KeyboardInterrupt:
        _fail(command, "interrupted", 130)
    sys.exit(0)


def _fail(command: str, error: object, status: int) -> None:
    line = " ".join(str(error).split())
    print(f"{command}: error: {line}", file=sys.stderr)
    sys.exit(status)


def _resolve_config(argument: str) -> str:
    """--config=FILE[:ARG], where a FILE that does not exist is looked up among the installed configs."""
    if not argument.startswith("--config="):
        return argument
    path, colon, variant = argument.removeprefix("--config=").partition(":")
    if not Path(path).exists():
        path = str(_installed_config(Path(path).name))
    return f"--config={path}{colon}{variant}"


def _installed_config(name: str) -> Path:
    folder = Path(str(importlib.resources.files("vfs_jax.configs")))
    if not (folder / name).is_file():
        known = ", ".join(sorted(file.name for file in folder.glob("[!_]*.py")))
        raise InputError(f"--config={name}: no such file, and no installed config of that name; there are {known}")
    return folder / name


def claim_folder(folder: Path, config: ml_collections.ConfigDict, *, free: Collection[str] = ()) -> None:
    """Write config.json into a results folder, or checks that the one there is of the same configuration.

    Args:
        folder: made where it does not exist.
        config: the whole configuration; dotted names of its leaves are what is compared.
        free: leaves that may differ from the earlier run (how often to log, how many workers ...).

    Raises:
        InputError: the folder holds results of another configuration; the message names the differing keys.
    """
    new = json.loads(config.to_json_best_effort())
    path = folder / "config.json"
    if path.exists():
        try:
            old = json.loads(path.read_text())
        except json.JSONDecodeError:
            raise InputError(f"{path}: is not JSON; choose another folder or delete this one") from None
        old_leaves, new_leaves = _leaves(old), _leaves(new)
        keys = sorted(k for k in {*old_leaves, *new_leaves} - set(free) if old_leaves.get(k) != new_leaves.get(k))
        if keys:
            changes = ", ".join(f"{k}: {old_leaves.get(k)} there, {new_leaves.get(k)} here" for k in keys)
            raise InputError(f"{folder}: holds a run of another configuration ({changes}); choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".config.{os.getpid()}.tmp")  # renamed when whole: a kill leaves no half of it
    temporary.write_text(json.dumps(new, indent=2, sort_keys=True) + "\n")
    temporary.replace(path)


def _leaves(tree: dict, prefix: str = "") -> dict[str, object]:
    out: dict[str, object] = {}
    for key, value in tree.items():
        out |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out
