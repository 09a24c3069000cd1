"""Calls in a process of their own: compilers may crash, take gigabytes and print what nobody can use."""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from vfs_jax.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")
_EVERY = 30.0  # seconds between lines of progress


def call_apart(what: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function in a new process, with progress on stderr and what it prints there kept away.

    Args:
        what: is done, as in "compiling for v5e:2x4".
        function: of a module; it, its arguments and its result are pickled.
        *args: of the function.
        **kwargs: of the function.

    Raises:
        InputError: the process ended without a result; names the file of what it printed.

    >>> call_apart("adding", sum, [1, 2, 3])
    6
    """
    start = time.perf_counter()
    handle, log = tempfile.mkstemp(prefix="vfs-plan-", suffix=".log")
    os.close(handle)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_print_to, initargs=(log,)) as pool:
        future = pool.submit(function, *args, **kwargs)
        while True:
            try:
                result = future.result(timeout=_EVERY)
                os.unlink(log)
                return result
            except TimeoutError:
                print(f"{what}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
            except BrokenProcessPool:
                seconds = time.perf_counter() - start
                raise InputError(
                    f"{what}: the compiler crashed after {seconds:.0f} s; {log} has its words, and --fast does without"
                ) from None


def _print_to(file: str) -> None:
    """Send what this process prints to stderr, also from C++, to a file."""
    with open(file, "ab") as opened:
        os.dup2(opened.fileno(), 2)
