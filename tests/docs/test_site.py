"""The site: every page is in it and opens with what it gives, what it names is there, and it needs no network."""

import html.parser
import importlib
import re
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TUTORIALS = [file for file in sorted((DOCS / "tutorials").glob("*.py")) if file.stem != "helpers"]
PAGES = [*sorted(DOCS.rglob("*.md")), *TUTORIALS]
NAMES = [str(page.relative_to(DOCS).with_suffix("")) for page in PAGES]
# A build that may not open a connection.
BUILD = """
import socket, sys
from sphinx.cmd.build import main
def refuse(*_): raise AssertionError("the build asks for the network")
socket.socket.connect = socket.getaddrinfo = refuse
sys.exit(main(["--quiet", "--fail-on-warning", "--keep-going", "--builder", "html", *sys.argv[1:]]))
"""


def _text(page: Path) -> str:
    """A page as Markdown: of a tutorial the cells that are, of a page that stands elsewhere what it includes."""
    text = page.read_text()
    if included := re.match(r"```\{include\} (.*)", text):
        return (page.parent / included[1]).read_text() + text
    if page.suffix == ".py":
        cells = re.findall(r"^# %% \[markdown\]\n((?:#.*\n)+)", text, re.MULTILINE)
        return "\n".join(re.sub(r"^# ?", "", cell, flags=re.MULTILINE) for cell in cells)
    return text


def test_every_page_has_one_place():
    listed = []
    for page in PAGES:
        for toctree in re.findall(r"```\{toctree\}\n(.*?)```", _text(page), re.DOTALL):
            folder = page.parent.relative_to(DOCS)
            listed += [str(folder / line) for line in toctree.split("\n") if line and not line.startswith(":")]
    assert sorted(listed) == sorted(set(NAMES) - {"index"})


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_opens_with_what_it_gives(page):
    title, opening, *_ = re.split(r"\n\n+", _text(page).strip())
    assert re.fullmatch(r"# .+", title)
    assert re.match(r"[A-Z`]", opening), opening  # a sentence: no heading, list, table, picture or code
    assert len(opening.split()) > 7


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_what_a_page_names_is_there(page):
    text = _text(page)
    paths = re.findall(
        r"\b(?:vfs_jax|data_prep|launch|configs|tests|docs)/[\w/.{},-]*\.(?:py|sh|md|json|csv|sbatch|env|yaml)\b", text
    )
    assert {path for path in paths if "{" not in path and not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_pictures_are_there_and_small(page):
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", _text(page)):
        assert (page.parent / picture.removeprefix("docs/")).stat().st_size < 350_000, picture
        if page in TUTORIALS:  # written by the script that shows it
            assert Path(picture).stem in re.sub(r"!\[.*", "", page.read_text()), picture


class _Page(html.parser.HTMLParser):
    """What a page of the site refers to: `links` a reader may follow, and `parts` that a browser loads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.parts, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given.get("id"), given.get("name")}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif "src" in given or tag == "link":
            self.parts.append(given.get("src") or given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx", reason="pip install '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    built = subprocess.run([sys.executable, "-c", BUILD, DOCS, out], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""
    return out


@pytest.mark.long
def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(site):
    pages = {file: _Page(file.read_text()) for file in site.rglob("*.html")}
    assert {str(file.relative_to(site).with_suffix("")) for file in pages} >= set(NAMES)
    broken = []
    for file, page in pages.items():
        for target in page.links + page.parts:
            url = urllib.parse.urlsplit(target)
            if url.scheme or url.netloc:
                assert target in page.links or url.scheme == "data", f"{file}: loads {target}"
                continue
            place = (file.parent / urllib.parse.unquote(url.path)).resolve() if url.path else file
            there = place.is_file() and (not url.fragment or place not in pages or url.fragment in pages[place].anchors)
            if not there and not (place == file and target == "#"):
                broken.append((file.name, target))
    assert broken == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", sheet.read_text()), sheet


@pytest.mark.long
def test_every_public_name_is_in_the_reference(site):
    anchors = set().union(*(_Page(file.read_text()).anchors for file in (site / "api").glob("*.html")))
    for module in ("correspondence", "models", "training", "evaluation"):
        names = importlib.import_module(f"vfs_jax.{module}").__all__
        assert {name for name in names if f"vfs_jax.{module}.{name}" not in anchors} == set()


@pytest.mark.long
def test_a_browser_draws_it_without_a_network(site):
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    requests, errors = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        page = browser.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        for name in NAMES:
            page.goto(f"{site.as_uri()}/{name}.html")
            drawn = page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
            assert drawn, name
        page.goto(f"{site.as_uri()}/how_it_works.html")
        widths = page.evaluate(
            "[...document.querySelectorAll('div.math math')].map(m => m.getBoundingClientRect().width)"
        )
        page.goto(f"{site.as_uri()}/search.html?q=propagate_video")
        page.wait_for_selector("#search-results li")
        browser.close()
    assert len(widths) > 7
    assert min(widths) > 100
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
