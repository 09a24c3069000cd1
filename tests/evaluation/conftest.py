"""What several tests of evaluation need."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from small import draw_variables

from vfs_jax.models.resnet import Variables


@pytest.fixture(scope="session")
def variables() -> Variables:
    """A ResNet-18 with random numbers."""
    return draw_variables()


@pytest.fixture(scope="module")  # not longer: its event loop would be in the way of others
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page of a headless Chromium; skips the test where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine: the report is not opened in a browser")
    sync_api = pytest.importorskip("playwright.sync_api")
    flags = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND"]
    with (
        sync_api.sync_playwright() as started,
        started.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=program,
            args=flags,
            viewport={"width": 1280, "height": 900},
        ) as context,
    ):
        yield context.pages[0]


@pytest.fixture(scope="session")
def inputs(oracles: Path) -> ModuleType:
    """The module that makes the inputs of the official code's outputs."""
    spec = importlib.util.spec_from_file_location("oracle_inputs", oracles / "inputs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
