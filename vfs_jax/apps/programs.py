"""Keep compiled programs from one run of a command to the next."""

import os
import tempfile
from pathlib import Path

import jax

from vfs_jax.apps import cli

_WORTH_KEEPING = 0.1  # seconds of compiling; jax keeps what took one


def programs_folder() -> Path:
    """Return where compiled programs are kept: XDG_CACHE_HOME or ~/.cache, below vfs_jax/programs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vfs_jax" / "programs"


def keep_programs(command: str) -> None:
    """Let JAX keep compiled programs in a folder of the user's, and say where; to be called when processes have joined.

    Where the user has set JAX_COMPILATION_CACHE_DIR that is the folder, and JAX_ENABLE_COMPILATION_CACHE=false keeps
    none. Runs at the same time may share the folder. Where it cannot be written the run goes on without.

    Args:
        command: whose messages these are.
    """
    if not jax.config.values["jax_enable_compilation_cache"]:
        return
    if jax.config.values["jax_compilation_cache_dir"] is None:
        folder = programs_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # what lies there is run: nobody else may write it
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            if jax.process_index() == 0:
                cli.warn(command, f"{folder}: {error.strerror}; programs are compiled anew by every run")
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING)
    if jax.process_index() == 0:
        print(f"compiled programs are kept in {jax.config.values['jax_compilation_cache_dir']}", flush=True)
