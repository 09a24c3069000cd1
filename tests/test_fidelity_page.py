"""What docs/fidelity.md names is there: the tests, the configs and their fields."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/fidelity.md").read_text()


def test_every_test_named_exists():
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE))
    assert len(named) > 50
    assert PAGE.count("::") == len(re.findall(r"`tests/[\w/]+\.py::\w+`", PAGE))  # none is written another way
    there = {
        (str(path.relative_to(ROOT)), node.name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    assert named - there == set()


def test_every_row_names_a_test():
    rows = [line for line in PAGE.split("## Precision")[0].splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| ---", "| step"))]
    assert len(rows) > 50
    assert [row for row in rows if "::test_" not in row or row.count("|") != 5] == []


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^vfs-eval .*", PAGE, re.MULTILINE))))
def test_commands_name_configs_that_exist(command):
    name, variant = re.search(r"--config=configs/(\w+)\.py(?::(\w+))?", command).groups()
    config = importlib.import_module(f"vfs_jax.configs.{name}").get_config(*([variant] if variant else []))
    assert config.depth == (50 if "r50" in command else 18)
    for field in re.findall(r"--config\.(\w+)=", command):
        assert field in config
