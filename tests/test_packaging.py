"""The wheel holds the package, its configs and data_prep, and works without the checkout; scripts pass the linter."""

import configparser
import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import vfs_jax

ROOT = Path(__file__).parents[1]


PACKAGES = ("vfs_jax", "data_prep", "configs")


def installed_name(path: Path) -> Path:
    """Where a file of a package lies in the wheel: configs/ is vfs_jax.configs."""
    return Path("vfs_jax") / path if path.parts[0] == "configs" else path


def package_files() -> set[Path]:
    paths = (path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*"))
    return {path for path in paths if path.suffix in (".py", ".typed")}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The source archive, and the wheel that it builds."""
    folder = tmp_path_factory.mktemp("built")
    sources = folder / "sources"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, sources)
    build = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"

    def run(hook, place):
        subprocess.run([sys.executable, "-c", build, hook, folder], cwd=place, check=True, stdout=subprocess.DEVNULL)

    run("build_sdist", sources)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    run("build_wheel", folder / archive.name.removesuffix(".tar.gz"))
    (wheel,) = folder.glob("*.whl")
    return archive, wheel


def test_archive_and_wheel_hold_the_packages(built):
    archive, wheel = built
    with tarfile.open(archive) as file:
        archived = {Path(*Path(name).parts[1:]) for name in file.getnames()}
    assert package_files() <= archived
    assert {Path(name) for name in ("CHANGELOG.md", "CITATION.cff", "LICENSE", "constraints.txt")} <= archived
    with zipfile.ZipFile(wheel) as file:
        files = {Path(name) for name in file.namelist() if ".dist-info/" not in name}
    assert files == {installed_name(path) for path in package_files()}
    # So that a user's type checker reads the annotations.
    assert {Path("vfs_jax/py.typed"), Path("data_prep/py.typed")} <= files


def test_what_a_package_index_shows(built):
    with zipfile.ZipFile(built[1]) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        shown = email.message_from_bytes(file.read(name))
    assert shown["Version"] == vfs_jax.__version__
    assert (shown["Author"], shown["License-Expression"]) == ("vfs_jax authors", "Apache-2.0")
    assert {"Typing :: Typed", "Programming Language :: Python :: 3.14"} <= set(shown.get_all("Classifier"))
    assert not {"Home-page", "Project-URL"} & set(shown)  # there is no page of which anyone knows
    extras = {"cuda", "tpu", "plan", "dataflow", "torch", "compose", "test"}
    assert extras <= set(shown.get_all("Provides-Extra"))


def test_imports_are_light():
    """Nothing heavy comes with the package's name, nothing but JAX with the operators."""
    code = """
import sys
import vfs_jax
alone = set(sys.modules)
import jax, jax.numpy
before = set(sys.modules)
import vfs_jax.correspondence
print(len({"numpy", "jax", "flax"} & alone))
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy, came = ran.stdout.splitlines()
    assert heavy == "0"
    assert set(came.split()) <= {"jaxtyping", "numpy", "vfs_jax"}  # beartype comes with the first call


@pytest.mark.slow
def test_the_wheel_works_alone(built, tmp_path):
    site = tmp_path / "site"
    with zipfile.ZipFile(built[1]) as file:
        file.extractall(site)
    entries = "from importlib.metadata import distributions as d; from sys import argv; [e.load() for e in "
    entries += "next(iter(d(name='vfs_jax', path=[argv[1]]))).entry_points]"
    subprocess.run([sys.executable, "-c", entries, site], check=True, env=os.environ | {"PYTHONPATH": str(site)})

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


def requirements(*more: str) -> list[Requirement]:
    """What the package and its tests ask for, without the extras that bring nothing new."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    lines = config["options"]["install_requires"].splitlines()
    lines += [line for name in ("torch", "compose", "test", *more) for line in extras[name].splitlines()]
    asked = [Requirement(line) for line in lines if line]
    return [requirement for requirement in asked if requirement.name != "vfs_jax"]


def versions(name: str, python: str) -> dict[str, str]:
    """What a file of constraints pins for a Python: each package once, exactly."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    found: dict[str, str] = {}
    for pin in (Requirement(line) for line in lines if line):
        if not pin.marker or pin.marker.evaluate({"python_version": python}):
            (exact,) = pin.specifier
            assert exact.operator == "=="
            assert canonicalize_name(pin.name) not in found, pin
            found[canonicalize_name(pin.name)] = exact.version
    return found


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_constraints_pin_what_setup_cfg_asks_for(python: str):
    """Every direct dependency is pinned, once for each Python, inside its range."""
    exact = versions("constraints.txt", python)
    for requirement in requirements("docs"):
        assert requirement.specifier.contains(exact[canonicalize_name(requirement.name)]), requirement


def test_the_oldest_versions_are_the_ends_of_the_ranges():
    oldest = versions("constraints-oldest.txt", "3.11")
    for requirement in requirements():
        (lowest,) = (part.version for part in requirement.specifier if part.operator == ">=")
        assert Version(oldest[canonicalize_name(requirement.name)]) == Version(lowest), requirement
