"""Keep the main figures of benchmarks in one file: what was measured, of which commit, where, and with what."""

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import vfs_jax

ROOT = Path(__file__).parents[2]
VERSIONS = ("jax", "jaxlib", "flax", "numpy", "torch", "opencv-python-headless")


def keep(path: Path | None, figures: Mapping[str, tuple[float, str]]) -> None:
    """Add figures to a JSON file, one a line.

    Args:
        path: of the file, which is made where it is not there; nothing is kept where it is None.
        figures: the figure and its unit by name, "benchmark: what is measured".
    """
    if path is None:
        return
    where: dict[str, object] = {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "commit": commit()}
    where |= {"machine": machine(), "versions": versions()}
    entries = json.loads(path.read_text()) if path.exists() else []
    for name, (figure, unit) in figures.items():
        entries.append({"name": name, "figure": float(f"{figure:.4g}"), "unit": unit} | where)
    path.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n")


def commit() -> str:
    """The commit of the checkout, with "-dirty" where files differ from it; where figures are kept does not count.

    Outside of a checkout, the version of the package.
    """
    if not (ROOT / ".git").exists():
        return vfs_jax.__version__

    def git(*arguments: str) -> str:
        given = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(given, check=True, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", ":/", ":!docs/benchmarks.*")
    return git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")


def machine() -> str:
    """The processor, its cores, and the accelerator where JAX has one."""
    import jax  # not above: some benchmarks measure processes that do without it

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(": ", 1)[1] for line in lines if line.startswith("model name")]
    devices = [f", {len(jax.devices())} x {jax.devices()[0].device_kind}"] if jax.default_backend() != "cpu" else []
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores" + "".join(devices)


def versions() -> dict[str, str]:
    """Versions of Python and of what the time depends on, as far as it is installed."""
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
