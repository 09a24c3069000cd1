"""What README shows runs, and what it links to is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_python_blocks_run():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["masks"].shape == (8, 30, 53)
    assert (names["masks"][0] == names["mask"]).all()


def test_links_and_files_exist():
    paths = set(re.findall(r"\]\(([^)#:]+)\)", README)) | set(re.findall(r"\b(?:launch|configs)/[\w.]+\b", README))
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_every_console_script_is_in_the_table():
    scripts = re.findall(r"^    (vfs-[a-z-]+) = ", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert scripts
    assert [name for name in scripts if f"| `{name}" not in README] == []
