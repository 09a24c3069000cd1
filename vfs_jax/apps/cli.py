"""What every command shares: parsing flags, finding configs, one line on bad input that names a flag."""

import importlib.resources
import re
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from vfs_jax.errors import InputError


def main(run: Callable[[list[str]], None], flag_values: flags.FlagValues, doc: str | None) -> None:
    """Run one command on sys.argv and end the process.

    What the package raises as `NAME=value: what is wrong` names an argument; where the command has that argument as a
    flag, or as a key of its config, the line that is printed names the flag.

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
        _fail(command, _with_flag(str(error), flag_values), 1)
    except KeyboardInterrupt:
        _fail(command, "interrupted", 130)
    sys.exit(0)


def _fail(command: str, error: object, status: int) -> None:
    line = " ".join(str(error).split())
    print(f"{command}: error: {line}", file=sys.stderr)
    sys.exit(status)


def _with_flag(message: str, flag_values: flags.FlagValues) -> str:
    """Turn the argument that a message starts with into its flag: "steps=0: ..." to "--config.steps=0: ..."."""
    match = re.match(r"([a-z]\w*(?:\.\w+)*)=", message)
    if match is None:
        return message
    if match[1] in flag_values:
        return f"--{message}"
    tree: object = flag_values["config"].value if "config" in flag_values else None
    for key in match[1].split("."):
        if not isinstance(tree, ConfigDict) or key not in tree:
            return message
        tree = tree[key]
    return f"--config.{message}"


def _resolve_config(argument: str) -> str:
    """Return an argument, the FILE of --config=FILE[:ARG] looked up among the installed configs where there is none."""
    if not argument.startswith("--config="):
        return argument
    path, colon, variant = argument.removeprefix("--config=").partition(":")
    if not Path(path).exists():
        path = str(_installed_config(Path(path).name))
    return f"--config={path}{colon}{variant}"


def _installed_config(name: str) -> Path:
    folder = Path(str(importlib.resources.files("vfs_jax.configs")))
    if not (folder / name).is_file():
        known = ", ".join(sorted(file.name for file in folder.glob("[!_]*.py") if file.stem != "common"))
        raise InputError(f"--config={name}: no such file, and no installed config of that name; there are {known}")
    return folder / name


def names(text: str) -> list[str]:
    """Split comma-separated names; none of an empty text.

    >>> names("dog, cat"), names("")
    (['dog', 'cat'], [])
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def shown(config: Mapping[str, object], hidden: Collection[str]) -> dict[str, object]:
    """Return the settings that a report shows: a configuration with its versions in one line.

    Args:
        config: with "versions", as `with_versions` gives it.
        hidden: names that are left out.
    """
    versions = config["versions"]
    assert isinstance(versions, Mapping)
    line = ", ".join(f"{package} {version}" for package, version in versions.items())
    return {name: value for name, value in config.items() if name not in hidden} | {"versions": line}
