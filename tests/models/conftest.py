"""The seeded weights with which the official code was run."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def official_weights(oracles, tmp_path_factory):
    """Returns a function (depth, *flags) -> the .pth file of the recorded outputs' weights."""
    folder, made = tmp_path_factory.mktemp("weights"), {}

    def make(depth, *flags):
        if (depth, flags) not in made:
            path = folder / f"r{depth}{''.join(flags)}.pth"
            script = str(oracles / "make_weights.py")
            subprocess.run([sys.executable, script, "--depth", str(depth), *flags, "--out", str(path)], check=True)
            made[depth, flags] = path
        return made[depth, flags]

    return make
