"""Compiled programs are kept from run to run: where, whose word counts, and what happens where they cannot be."""

import os
import subprocess
import sys

import pytest

_COMPILE = """
import jax, numpy as np
from vfs_jax.apps import programs
programs._WORTH_KEEPING = 0.0
programs.keep_programs("vfs-eval")
found = []
jax.monitoring.register_event_listener(lambda event, **_: found.append(event) if "cache_hits" in event else None)
print(jax.jit(lambda x: np.float32(2) * x)(np.float32(21)), len(found))
"""


@pytest.fixture
def compile_once(tmp_path):
    """Compiles a program in a new process; returns what was said on stdout and stderr, the last line how often it was
    found in the cache.
    """

    def call(**environment):
        known = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
        known |= {"HOME": str(tmp_path / "home"), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
        known.pop("XDG_CACHE_HOME", None)
        command = [sys.executable, "-c", _COMPILE]
        ended = subprocess.run(command, env=known | environment, capture_output=True, text=True, check=True)
        return ended.stdout, ended.stderr

    return call


@pytest.mark.slow
def test_programs_are_kept_in_the_users_cache(compile_once, tmp_path):
    folder = tmp_path / "home/.cache/vfs_jax/programs"
    assert compile_once() == (f"compiled programs are kept in {folder}\n42.0 0\n", "")
    assert list(folder.glob("*-cache"))
    assert folder.stat().st_mode & 0o077 == 0
    assert compile_once() == (f"compiled programs are kept in {folder}\n42.0 1\n", "")


def test_the_users_own_folder_wins(compile_once, tmp_path):
    assert compile_once(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))[0].startswith(
        f"compiled programs are kept in {tmp_path / 'own'}\n"
    )
    assert list((tmp_path / "own").glob("*-cache"))
    assert not (tmp_path / "home").exists()


def test_where_no_folder_can_be_the_run_goes_on(compile_once, tmp_path):
    (tmp_path / "file").touch()
    place = tmp_path / "file/vfs_jax/programs"
    printed, warned = compile_once(XDG_CACHE_HOME=str(tmp_path / "file"))
    assert printed == "42.0 0\n"
    assert warned == f"vfs-eval: WARNING: {place}: Not a directory; programs are compiled anew by every run\n"
