"""The site of the documentation is built offline, its links lead somewhere, and a browser asks nobody else."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from switchrecon.experiments.settings import all_settings
from switchrecon.metrics.table import METRICS
from tests.pages import DOCS
from tests.reports.browser import Browser, browser

ROOT = DOCS.parent
TUTORIALS = sorted(path.stem for path in (DOCS / "tutorials").glob("*.py"))
OWN = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}
"""What a page loads by itself, and the attribute that says from where."""


class Page(HTMLParser):
    """The names, the links and the loaded files of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.names |= {name for key in ("id", "name") if (name := found.get(key))}
        if tag == "a" and (link := found.get("href")):
            self.links.append(link)
        if tag in OWN and (link := found.get(OWN[tag])):
            self.loaded.append(link)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning of the builder, such as a link that leads nowhere, is an error."""
    if find_spec("mkdocs") is None:
        pytest.skip("the site's builder is not installed: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in sorted(site.rglob("*.html"))}


def test_every_page_is_there(site: Path) -> None:
    written = [path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")]
    added = [
        Path("security.html"),
        Path("contributing.html"),
        *(Path("tutorials") / f"{name}.html" for name in TUTORIALS),
    ]
    assert not [page for page in (*written, *added) if not (site / page).is_file()]
    assert not (site / "_build").exists()


def test_the_menu_names_no_page_twice() -> None:
    named = re.findall(r"^ +- (?:.*: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(named) == len(set(named)) > 20


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    followed = 0
    for file, page in pages.items():
        if file.name == "404.html":  # its links are those of a server's top folder
            continue
        for link in (*page.links, *page.loaded):
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme in ("https", "mailto"), (file, link)
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            assert target.is_file(), (file, link)
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in pages[target].names, (file, link)
            followed += 1
    assert followed > 1000


def test_no_page_loads_anything_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    assert not [(file, link) for file, page in pages.items() for link in page.loaded if urlsplit(link).netloc]
    styles = [file.read_text(encoding="utf-8") for file in site.rglob("*.css")]
    assert styles
    assert not [style for style in styles if "url(http" in style or "@import" in style]


def test_tables_of_the_reference_hold_all_that_the_package_has(site: Path) -> None:
    settings = (site / "reference/settings.html").read_text(encoding="utf-8")
    assert not [own.name for own in all_settings() if f'<code id="{own.name}">' not in settings]
    metrics = (site / "reference/metrics.html").read_text(encoding="utf-8")
    assert not [metric.column.title for metric in METRICS.values() if f"<td>{metric.column.title}</td>" not in metrics]
    commands = (site / "reference/commands.html").read_text(encoding="utf-8")
    for name in ("train", "reconstruct", "compare-domains", "crossval"):
        assert f'<h2 id="{name}">' in commands
    assert "--data-consistency" in commands


def test_the_public_face_is_documented(site: Path) -> None:
    import switchrecon as sr

    names = Page(site / "reference/api.html").names
    text = (site / "reference/api.html").read_text(encoding="utf-8")
    public = [(package, name) for package in (sr, sr.metrics, sr.physics) for name in package.__all__]
    lacking = {f"{package.__name__}.{name}" for package, name in public} - names
    assert not [name for name in lacking if f"sr{name.removeprefix('switchrecon')}" not in text]
    assert len(lacking) <= 7
    assert ":func:" not in text


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_notebook_is_the_script_in_cells(site: Path, name: str) -> None:
    import nbformat

    notebook = nbformat.reads((site / f"tutorials/{name}.ipynb").read_text(encoding="utf-8"), as_version=4)
    nbformat.validate(notebook)
    script = (DOCS / f"tutorials/{name}.py").read_text(encoding="utf-8")
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) == script.count("\n# %%\n") >= 4
    assert not [cell for cell in code if cell not in script]
    assert notebook.cells[0].source.startswith("# ")
    assert not [cell for cell in notebook.cells if cell.get("outputs")]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.parametrize("page", ["index", "reference/settings", "reference/api", "results", "tutorials/fastmri"])
def test_a_browser_asks_nobody_else_for_anything(site: Path, opened: Browser, page: str) -> None:
    visit(opened, site, page)
    assert len(opened.requests) >= 3
    assert not [address for address in opened.requests if not address.startswith(("file:", "data:", "blob:"))]
    assert opened.errors == []
    assert opened.run("document.documentElement.scrollWidth <= innerWidth")
    broken = "[...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src)"
    assert opened.run(broken) == []


def test_the_search_works_without_a_server(site: Path, opened: Browser) -> None:
    visit(opened, site, "index")
    opened.run("document.querySelector('[data-md-component=search-query]').focus()")
    for letter in "acceleration":
        opened.call("Input.dispatchKeyEvent", type="keyDown", key=letter, text=letter)
        opened.call("Input.dispatchKeyEvent", type="keyUp", key=letter)
    opened.until("document.querySelectorAll('.md-search-result__item').length > 2")
    assert not [address for address in opened.requests if not address.startswith(("file:", "data:", "blob:"))]


def visit(opened: Browser, site: Path, page: str) -> None:
    opened.call("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
    opened.call("Page.navigate", url="about:blank")
    opened.requests.clear()
    address = (site / f"{page}.html").as_uri()
    opened.call("Page.navigate", url=address)
    opened.until(f"location.href === {json.dumps(address)} && document.readyState === 'complete'")
