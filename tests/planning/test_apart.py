"""Compilers in a process of their own: what they print stays away, and a crash is one line."""

import os
from pathlib import Path

import pytest

from vfs_jax.errors import InputError
from vfs_jax.planning import apart


def crash():
    os.write(2, b"libtpu's last words\n")
    os.abort()


def noisy():
    os.write(2, b"noise\n")
    return os.getpid()


def refuse():
    raise InputError("batch_size=3: is odd")


def test_a_crash_is_one_line_that_names_what_was_printed():
    with pytest.raises(
        InputError, match=r"compiling for v6e:2x4: the compiler crashed after \d+ s; (\S+) has"
    ) as error:
        apart.call_apart("compiling for v6e:2x4", crash)
    log = Path(str(error.value).split("; ")[1].split(" ")[0])
    assert log.read_text() == "libtpu's last words\n"
    log.unlink()


def test_what_it_prints_stays_away_and_progress_shows(capfd, monkeypatch):
    monkeypatch.setattr(apart, "_EVERY", 0.01)
    assert apart.call_apart("compiling", noisy) != os.getpid()
    printed = capfd.readouterr()
    assert "noise" not in printed.err
    assert "compiling: 0 s" in printed.err


def test_bad_input_comes_back_as_it_is():
    with pytest.raises(InputError, match="batch_size=3: is odd"):
        apart.call_apart("compiling", refuse)
