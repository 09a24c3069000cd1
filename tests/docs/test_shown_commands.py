"""Every command that README and the pages show has the flags and the config fields that it is shown with."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = dict(re.findall(r"^    (vfs-[a-z-]+) = ([\w.]+):main", (ROOT / "setup.cfg").read_text(), re.MULTILINE))


def _shown() -> list[tuple[str, str]]:
    """The commands in blocks of code, with their page; lines that a backslash joins are one."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for language, block in re.findall(r"^```(\S*).*?\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            if language not in ("", "bash"):
                continue
            for line in re.sub(r"\\\n", " ", block).splitlines():
                found += [(page.name, part.strip()) for part in re.split(r"&&|(?<=\s)#", line) if "vfs-" in part]
    return [(page, line[line.index("vfs-") :]) for page, line in found if re.search(r"(?:^|\s)vfs-\w", line)]


@pytest.mark.parametrize(("page", "line"), sorted(set(_shown())))
def test_flags_and_fields_are_there(page: str, line: str):
    command, *words = shlex.split(line)
    module = importlib.import_module(SCRIPTS[command])
    given = dict(word.removeprefix("--").partition("=")[::2] for word in words if word.startswith("--"))
    fields = {name.removeprefix("config."): value for name, value in given.items() if name.startswith("config.")}
    assert {name for name in given if not name.startswith("config.")} - {"help"} <= set(module.FLAGS), page
    name, _, variants = given.get("config", "").partition(":")
    if name.startswith("configs/"):
        config = importlib.import_module(f"vfs_jax.configs.{Path(name).stem}").get_config(variants)
        for field in fields:
            part = config
            for step in field.split("."):
                assert step in part, f"{page}: {line}: no field {field}"
                part = getattr(part, step)
    else:
        assert name in ("", "...", "FILE"), page


def test_there_are_commands_of_all_kinds():
    assert {line.split()[0] for _, line in _shown()} == set(SCRIPTS)
