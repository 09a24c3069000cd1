"""Rules for all tests: strict dtypes, no rank promotion, eight virtual CPU devices, real data where it is at hand."""

import logging
import os
from collections.abc import Generator
from pathlib import Path

# Level 1 compiles random numbers in less than half the time and steps as fast as level 3; what it gives runs as fast.
os.environ["XLA_FLAGS"] = " ".join(
    ["--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=1", os.environ.get("XLA_FLAGS", "")]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # commands would keep programs in the home of who tests
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"

import jax
import pytest
from absl import flags

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # --doctest-modules would import them a second time

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # grain's worker processes read absl's global flags


def _folder(variable: str) -> Path:
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set: no real data at hand")
    folder = Path(os.environ[variable]).resolve()
    assert folder.is_dir(), f"{variable}={folder} is not a folder"
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real videos and annotations (VFS_REAL_DATA); skips without it."""
    return _folder("VFS_REAL_DATA")


@pytest.fixture(scope="session")
def oracles() -> Path:
    """The folder of the official code's outputs (VFS_ORACLES); skips without it."""
    return _folder("VFS_ORACLES")


@pytest.fixture(autouse=True)
def _root_log_level() -> None:
    """Commands that run in this process set the level of all logs; every test starts from the usual one."""
    logging.root.setLevel(logging.WARNING)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark long tests slow too, so that -m "not slow" leaves them out."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where real data is at hand, a test of it that skips all the same fails: it hides what it was to show."""
    report = yield
    variable = {"real_data": "VFS_REAL_DATA", "oracles": "VFS_ORACLES"}
    for fixture in variable.keys() & set(getattr(item, "fixturenames", ())):
        if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(variable[fixture]):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} skipped although {variable[fixture]} is set: {report.longrepr}"
    return report
