"""Facts that a compiler told once, kept by program, topology and versions."""

import dataclasses
import hashlib
import json
import os
import re
import sys
from pathlib import Path

import jax
import jaxlib

from vfs_jax.data.text import read_text, write_text
from vfs_jax.planning.facts import Collective, Facts


def cache_folder() -> Path:
    """Return where facts are kept: XDG_CACHE_HOME or ~/.cache, below vfs_jax/plans."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vfs_jax" / "plans"


def cache_file(program: str, topology: str, compiler: str, label: str) -> Path:
    """Return the file of a program's facts.

    Args:
        program: text of what is compiled, which the configuration and our own code decide.
        topology: what it is compiled for.
        compiler: its name and version.
        label: for the eye, at the start of the name.
    """
    versions = f"jax {jax.__version__}, jaxlib {jaxlib.__version__}, {compiler}"
    digest = hashlib.sha256("\n".join((topology, versions, program)).encode()).hexdigest()
    readable = re.sub(r"[^\w.-]+", "-", f"{label}-{topology}")
    return cache_folder() / f"{readable}-{digest[:16]}.json"


def load_facts(path: Path) -> Facts | None:
    """Read facts; None where there are none, or none that can be read."""
    try:
        values = json.loads(read_text(path))
        collectives = tuple(Collective(**each) for each in values.pop("collectives"))
        return Facts(**values, collectives=collectives)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def save_facts(path: Path, facts: Facts) -> None:
    """Write facts; where the folder cannot be written the plan goes on, and a line on stderr says so."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(dataclasses.asdict(facts)))
    except OSError as error:
        print(f"{path}: not kept, so that the next plan compiles again ({error.strerror})", file=sys.stderr)
