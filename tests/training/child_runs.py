"""The programs of this folder as processes of their own, which tests may kill."""

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
LOCAL = HERE.parents[1] / "launch" / "local.sh"


@functools.cache
def environment() -> dict[str, str]:
    """One device, and one cache of compiled programs for all."""
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or tempfile.mkdtemp()
    caching = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return os.environ | caching | {"XLA_FLAGS": "", "GRACE": "20"}


def start(program: str, *arguments: object, processes: int = 1, devices: int = 1) -> subprocess.Popen[str]:
    """Starts a program in several processes with several devices each."""
    flags = ["--processes", str(processes), "--devices", str(devices)]
    command = [sys.executable, str(HERE / program), *map(str, arguments)]
    if (processes, devices) != (1, 1):
        command = ["bash", str(LOCAL), *flags, *command]
    return subprocess.Popen(
        command,
        env=environment(),
        text=True,
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its status and what it printed."""
    printed, _ = process.communicate(timeout=400)
    return process.returncode, printed


def lines(workdir: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl that are written so far."""
    path = workdir / "metrics.jsonl"
    whole = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in whole if line.endswith("\n")]


def losses(workdir: Path) -> list[tuple[float, float, float]]:
    """(step, loss, gradient norm): equal ones of every step say that every step saw the same records and weights."""
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in lines(workdir)]


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Waits until the condition holds, while the process runs."""
    while not condition() and process.poll() is None:
        time.sleep(0.001)
    assert process.poll() is None, f"ended by itself: {process.communicate()[0]}"
