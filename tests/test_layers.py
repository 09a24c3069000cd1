"""Imports point one way: correspondence, data and models know nothing of each other, and so on upwards."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_LOWER = ("correspondence", "data", "models", "errors")  # what training and evaluation are built of


def _evaluation(*rooms: str) -> set[str]:
    """What a room of evaluation may import: these rooms, the encoders and the layers below."""
    return {f"vfs_jax.{name}" for name in _LOWER} | {f"vfs_jax.evaluation.{name}" for name in (*rooms, "encoders")}


# What the modules of a folder, and of its folders, may import of ours. vfs_jax.errors is one exception class.
ALLOWED = {
    "vfs_jax/correspondence": {"vfs_jax.correspondence"},
    "vfs_jax/data": {"vfs_jax.data", "vfs_jax.errors"},
    "vfs_jax/models": {"vfs_jax.models", "vfs_jax.errors"},
    "vfs_jax/training": {f"vfs_jax.{name}" for name in ("training", *_LOWER, "distributed")},
    "vfs_jax/evaluation": {f"vfs_jax.{name}" for name in ("evaluation", *_LOWER, "distributed", "claims")},
    "vfs_jax/evaluation/metrics": {"vfs_jax.evaluation.metrics", "vfs_jax.errors"},
    "vfs_jax/evaluation/propagation": _evaluation("propagation"),
    "vfs_jax/evaluation/tasks": _evaluation("tasks", "propagation", "metrics"),
    "vfs_jax/evaluation/tracking": _evaluation("tracking"),
    "vfs_jax/evaluation/runs": {
        *_evaluation("runs", "tasks", "propagation", "metrics", "tracking"),
        "vfs_jax.distributed",
        "vfs_jax.claims",
    },
    "vfs_jax/evaluation/report": _evaluation("report", "runs", "tasks", "propagation", "metrics"),
    "vfs_jax/planning": {f"vfs_jax.{name}" for name in ("planning", "training", "evaluation", *_LOWER)},
    "vfs_jax/apps": {"vfs_jax", "data_prep"},
    "data_prep": {"data_prep", "vfs_jax.data", "vfs_jax.errors"},
    "configs": {"vfs_jax.configs"},
}


def imports(file: Path) -> set[str]:
    """Absolute names of the modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_point_one_way(folder: str):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for file in files:
        ours = {name for name in imports(file) if name.split(".")[0] in ("vfs_jax", "data_prep", "configs")}
        wrong = {n for n in ours if not any(n == up or n.startswith(f"{up}.") for up in ALLOWED[folder])}
        assert not wrong, (
            f"{file.relative_to(ROOT)} imports {sorted(wrong)}; {folder} may import {sorted(ALLOWED[folder])}"
        )


def test_configs_import_ml_collections_only():
    allowed = {"ml_collections", "vfs_jax"} | sys.stdlib_module_names  # of ours only vfs_jax.configs, see ALLOWED
    for file in sorted((ROOT / "configs").glob("*.py")):
        assert {name.split(".")[0] for name in imports(file)} <= allowed, file.name


def test_config_objects_stop_at_apps():
    uses = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "vfs_jax").rglob("*.py")
        if any(name.split(".")[0] == "ml_collections" for name in imports(file))
    }
    assert uses
    assert not [path for path in uses if not path.startswith("vfs_jax/apps/")]


def test_pictures_and_videos_are_decoded_in_one_place():
    """Whatever reads a picture or a video asks data/images.py or data/video_files.py, where each rule stands once."""
    decoders = re.compile(r"\b(cv2\.(imread|imdecode|VideoCapture)|Image\.open|av\.open)\b")
    files = [file for folder in ("vfs_jax", "data_prep", "launch") for file in (ROOT / folder).rglob("*.py")]
    found = {file.relative_to(ROOT).as_posix() for file in files if decoders.search(file.read_text())}
    assert found == {"vfs_jax/data/images.py", "vfs_jax/data/video_files.py"}


def test_text_is_read_in_one_place():
    """Encodings, marks and line ends are the business of data/text.py; what is written elsewhere names its encoding."""
    readers = re.compile(r"\bread_text\(\)|\bloadtxt\(|\bgenfromtxt\(|\.write_text\(")
    opened = re.compile(r"\bopen\((?![^)]*(?:\"rb\"|\"wb\"|\"ab\"|encoding=|os\.O_))[^)]*\"[rwa]\"")
    files = [file for folder in ("vfs_jax", "data_prep") for file in (ROOT / folder).rglob("*.py")]
    found = {
        f"{file.relative_to(ROOT).as_posix()}: {line.strip()}"
        for file in files
        if file.name != "text.py"
        for line in file.read_text().splitlines()
        if (readers.search(line) or opened.search(line)) and "/proc/" not in line and ".lock" not in line
    }
    assert found == set()


def test_no_command_imports_another():
    shared = {f"vfs_jax.apps.{name}" for name in ("cli", "overrides", "programs", "training")}
    for file in sorted((ROOT / "vfs_jax/apps").glob("*.py")):
        ours = {name for name in imports(file) if name.startswith("vfs_jax.apps.")}
        assert {name for name in ours if not any(f"{name}.".startswith(f"{up}.") for up in shared)} == set(), file.name


def test_torch_is_imported_where_it_is_needed_alone():
    """The package works without torch: no module imports it at its top level."""
    for file in [*(ROOT / "vfs_jax").rglob("*.py"), *(ROOT / "data_prep").rglob("*.py")]:
        top = ast.Module(
            body=[n for n in ast.parse(file.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)]
        )
        names = {a.name for n in top.body if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in top.body if isinstance(n, ast.ImportFrom)}
        assert not any(name.split(".")[0] in ("torch", "tensorflow") for name in names), file
