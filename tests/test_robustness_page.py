"""docs/robustness.md lists kinds of bad and odd input: each row names a test that exists, and no two the same."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/robustness.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| `(tests/[\w/]+\.py)::(\w+)(?:\[(.+)\])?` \|$", PAGE, re.MULTILINE)


@functools.cache
def _there(file):
    """The names of the tests in a file, and every text in it, which the names of cases are made of."""
    tree = ast.parse((ROOT / file).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return names, texts


def test_every_line_of_a_table_is_a_row():
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert len(lines) - 2 * PAGE.count("| input |") == len(ROWS)


def test_at_least_ninety_kinds_and_a_test_for_each():
    assert len({(file, name, case) for _, _, file, name, case in ROWS}) == len(ROWS) >= 90
    assert len({kind for kind, *_ in ROWS}) > 0.9 * len(ROWS)  # some recur in another table


@pytest.mark.parametrize("file", sorted({file for _, _, file, _, _ in ROWS}))
def test_named_tests_exist(file):
    names, texts = _there(file)
    for kind, _, other, name, case in ROWS:
        if other == file:
            assert name in names, f"{kind}: {file} has no test {name}"
            assert not case or case in texts, f"{kind}: {name} has no case {case}"


def test_a_row_that_names_no_test_is_found():
    names, texts = _there("tests/data/test_text.py")
    assert "test_other_encodings" in names
    assert "UTF-16 unmarked" in texts
    assert "test_of_nothing" not in names
