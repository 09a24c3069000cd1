"""What several tests of evaluation need."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vfs_jax.models import ResNet


@pytest.fixture(scope="session")
def variables():
    """A ResNet-18 with random numbers, drawn by NumPy (compiles nothing)."""
    shapes = jax.eval_shape(lambda: ResNet(18).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3), jnp.float32)))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        if name == "kernel":
            return rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape).astype(np.float32)
        return {"scale": np.ones, "var": np.ones}.get(name, np.zeros)(leaf.shape, np.float32)

    return jax.tree.map_with_path(draw, shapes)


@pytest.fixture(scope="module")  # not longer: its event loop would be in the way of others
def browser(tmp_path_factory):
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
