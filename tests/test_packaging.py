"""The wheel holds the package, its configs and data_prep, and works without the checkout; scripts pass the linter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_works_alone(tmp_path):
    sources = tmp_path / "sources"
    results = [ROOT / name for name in ("runs", "build", "tests")]
    keep_out = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__")
    shutil.copytree(
        ROOT,
        sources,
        ignore=lambda folder, names: {n for n in names if Path(folder) / n in results} | keep_out(folder, names),
    )
    options = ["--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", tmp_path, sources], check=True)
    (wheel,) = tmp_path.glob("vfs_jax-*.whl")
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel], check=True
    )
    configs = {path.name for path in (ROOT / "configs").glob("*.py")}
    assert {path.name for path in (site / "vfs_jax/configs").glob("*.py")} == configs
    for folder in ("vfs_jax", "data_prep"):
        assert (site / folder / "py.typed").exists()  # so that a user's type checker reads the annotations
        modules = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py")}
        assert modules <= {path.relative_to(site) for path in (site / folder).rglob("*.py")}

    def run(command, *arguments):
        call = [sys.executable, "-m", f"vfs_jax.apps.{command}", *arguments]
        environment = os.environ | {"PYTHONPATH": str(site)}
        return subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)

    # Configs import each other under their installed name, one's own file the installed ones.
    (tmp_path / "mine.py").write_text(
        "from vfs_jax.configs import vfs_r18_queue\n\ndef get_config(variants=''):\n"
        "    config = vfs_r18_queue.get_config(variants)\n    config.temperature = 0.1\n    return config\n"
    )
    ended = run("train", "--config=mine.py:smoke", "--workdir=run", "--config.data=elsewhere")
    assert ended.returncode == 1, ended.stderr
    assert "elsewhere" in ended.stderr
    # The config is found among the installed ones, so the error is about the data.
    ended = run("train", "--config=configs/quickstart.py:smoke", "--workdir=run", "--config.data=nowhere")
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "nowhere" in ended.stderr
    ended = run("prepare", "all", "--videos=nowhere", "--out=records")
    assert ended.returncode == 1, ended.stderr
    assert "nowhere: no such folder" in ended.stderr
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "records").exists()


def test_shell_scripts_pass_the_linter():
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = [*sorted((ROOT / "launch").glob("*.sh")), ROOT / ".ci/run"]
    assert len(scripts) > 3
    checked = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_constraints_pin_what_setup_cfg_asks_for():
    """Every direct dependency is pinned, once for each Python, inside its range."""
    import configparser

    from packaging.requirements import Requirement

    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    asked = [Requirement(line) for line in config["options"]["install_requires"].splitlines() if line]
    asked += [Requirement(line) for name in ("torch", "compose", "test") for line in extras[name].splitlines() if line]
    lines = (line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    pins = [Requirement(line) for line in lines if line]
    for python in ("3.11", "3.12", "3.13", "3.14"):
        of_this_python = [pin for pin in pins if not pin.marker or pin.marker.evaluate({"python_version": python})]
        by_name = {pin.name.lower().replace("_", "-"): pin for pin in of_this_python}
        assert len(by_name) == len(of_this_python), python
        for requirement in asked:
            if requirement.name != "vfs_jax":
                (exact,) = by_name[requirement.name.lower().replace("_", "-")].specifier
                assert exact.operator == "=="
                assert requirement.specifier.contains(exact.version), (requirement, python)
