"""What every command shares: its start, and its end: one line that names a flag or a file, whatever goes wrong."""

import errno
import io
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from vfs_jax.apps import overrides
from vfs_jax.errors import InputError

_OUTPUTS = ("workdir", "out")  # the flags that name where a command writes


def main(run: Callable[[list[str]], None], flag_values: flags.FlagValues, doc: str | None) -> None:
    """Run one command on sys.argv and end the process.

    What the package raises as `NAME=value: what is wrong` names an argument; where the command has that argument as a
    flag, or as a key of its config, the line that is printed names the flag.

    Args:
        run: called with the arguments that are not flags.
        flag_values: the command's own flags; each command has its own set, so that one process can import several.
        doc: the command's docstring, shown by --help.

    The exit status is 0, 1 for bad input, a full disk and the like (one line on stderr), 2 for bad flags, 130 when
    interrupted, 141 where nobody reads the output any more.
    """
    command = Path(sys.argv[0]).stem
    command = command if command.startswith("vfs-") else f"vfs-{command}"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be valid text
    try:
        _run(command, run, flag_values, doc)
        _flush()
    except KeyboardInterrupt:
        _fail(command, "interrupted", 130)
    except InputError as error:
        _fail(command, _with_flag(str(error), flag_values), 1)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            sys.exit(128 + signal.SIGPIPE)
        line = _of_the_machine(error, flag_values)
        if line is None:
            raise  # a defect, which keeps its traceback
        _fail(command, line, 1)
    sys.exit(0)


def _run(command: str, run: Callable[[list[str]], None], flag_values: flags.FlagValues, doc: str | None) -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(f"{(doc or '').strip()}\n\nFlags:\n{flag_values.main_module_help() or flag_values.get_help()}")
        return
    try:
        # ml_collections reads --config.key=value from sys.argv itself, so the list is changed in place.
        sys.argv[1:] = overrides.resolved(sys.argv[1:])
        arguments = flag_values(sys.argv)[1:]
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        _fail(command, overrides.explained(error, flag_values), 2)
    flags.FLAGS.mark_as_parsed()  # grain and orbax read absl's global flags
    empty = [name for name in _OUTPUTS if name in flag_values and flag_values[name].value == ""]
    if empty:
        raise InputError(f"{empty[0]}=: is empty; name a folder")
    run(arguments)


def warn(command: str, line: str) -> None:
    """Print a warning of a command on stderr."""
    print(f"{command}: WARNING: {' '.join(line.split())}", file=sys.stderr, flush=True)


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


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard(sys.stdout.fileno())
        raise OSError(error.errno, error.strerror, "the standard output") from None


def _nobody_reads() -> bool:
    """Tell whether stdout or stderr is a pipe that its reader has closed."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        poll.register(stream.fileno(), 0)
    closed = [number for number, event in poll.poll(0) if event & select.POLLERR]
    for number in closed:
        _discard(number)
    return bool(closed)


def _discard(number: int) -> None:
    """Throw away what is left to be written to a stream: Python would try once more, and complain, when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)


_CURES = {
    errno.ENOSPC: "no space left on the device; free some and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EFBIG: "the file is larger than the limit on files (ulimit -f) or the file system allows; raise it",
    errno.EACCES: "permission denied; change its rights, or name another",
    errno.EPERM: "operation not permitted; change its rights, or name another",
    errno.EROFS: "the file system is read-only; name another place",
    errno.EEXIST: "is a file, where a folder is needed; name another",
    errno.ENOTDIR: "a part of this path is a file and no folder; name another",
    errno.EISDIR: "is a folder, where a file is needed; name a file",
    errno.ENOENT: "no such file or folder; make it, or name another",
    errno.ENAMETOOLONG: "the name is too long; name another",
    errno.ELOOP: "is a link that leads to itself; name another",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.EIO: "cannot be read or written; look at the disk",
}


def _of_the_machine(error: Exception, flag_values: flags.FlagValues) -> str | None:
    """Say in one line what the machine has refused: files, space, memory; None for any other error."""
    text = str(error)
    if isinstance(error, MemoryError) or re.match("RESOURCE_EXHAUSTED: .*(memory|alloc)", text):
        why = text.partition("\n")[0] or "no more to be had"  # more lines list what takes it
        return f"out of memory ({why}); take smaller images, or fewer at a time"
    if isinstance(error, RuntimeError) and "terminated unexpectedly" in text:  # a process of grain
        why = text.partition(". ")[0]
        return f"a process that reads records was ended ({why}); if memory ran out, take fewer num_workers or clips"
    name = getattr(error, "filename", None) or _output(flag_values)
    number = error.errno if isinstance(error, OSError) else None
    if number is None:  # libraries in C++ tell it in words
        number = next((each for each in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) if os.strerror(each) in text), None)
    if number is None:
        return f"{name}: {text}; is there room, and the right to write?" if isinstance(error, OSError) else None
    path = os.fsdecode(name) if isinstance(name, str | bytes) else str(name)
    if number in (errno.EEXIST, errno.ENOENT) and os.path.islink(path):
        return f"{path}: is a link to nothing; mend it, or name another"
    if number == errno.EEXIST and os.path.isdir(path):
        return f"{path}: is there already; name another"
    return f"{path}: {_CURES.get(number) or os.strerror(number)}"


def _output(flag_values: flags.FlagValues) -> str:
    """Name where a command writes: what the system says of a file that is open already has no name."""
    given = [flag_values[name].value for name in _OUTPUTS if name in flag_values]
    words = [] if given else [word for word in reversed(sys.argv[1:]) if not word.startswith("-")]  # of vfs-convert
    return next((str(value) for value in [*given, *words] if value), "the output")


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
