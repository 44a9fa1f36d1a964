"""The site of the documentation: built without a warning, whole in itself, and every link of it leads somewhere."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from docs.site import INDEX, ROOT, listed, pages, place_of, takes_site
from tests.browser import chromium, needs_chromium

LOADED = {("link", "href"), ("script", "src"), ("img", "src")}


class Links(HTMLParser):
    """What a page loads, where its links lead, and the places in it that links may lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: set[str] = set()
        self.targets: set[str] = set()
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (tag, name) in LOADED:
                self.loaded.add(value)
            elif value and (tag, name) == ("a", "href"):
                self.targets.add(value)
            elif value and name == "id":
                self.ids.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "docs.site", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def read(site: Path) -> dict[Path, Links]:
    return {path.resolve(): Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_a_site_is_written_over_nothing_but_a_site(site: Path, tmp_path: Path) -> None:
    assert takes_site(site)
    assert takes_site(tmp_path / "new")
    other, file, link = tmp_path / "other", tmp_path / "file", tmp_path / "link"
    other.mkdir()
    assert takes_site(other)
    (other / "index.html").write_text("mine")
    (other / "objects.inv").write_text("# Sphinx inventory version 2\n# Project: Mine\n")
    file.write_text("mine")
    link.symlink_to("nowhere")
    for place in (other, file, link):
        command = [sys.executable, "-m", "docs.site", str(place)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        told = f"{place} isn't an empty directory, and has no site of this program; give another one\n"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
    assert sorted(path.name for path in other.iterdir()) == ["index.html", "objects.inv"]
    assert (other / "index.html").read_text() == file.read_text() == "mine"


def test_every_page_of_the_checkout_is_there(site: Path) -> None:
    assert [page for page in pages() if not (site / place_of(page).with_suffix(".html")).is_file()] == []


def test_pages_load_nothing_from_elsewhere(read: dict[Path, Links]) -> None:
    loaded = {(path, target) for path, links in read.items() for target in links.loaded if target != "#"}
    assert [target for _, target in loaded if "//" in target or target.startswith("data:")] == []
    assert [target for path, target in loaded if not (path.parent / target.partition("?")[0]).is_file()] == []


def test_styles_load_nothing_from_elsewhere(site: Path) -> None:
    styles = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.css")}
    assert styles
    assert [path.name for path, text in styles.items() if "url(http" in text or "@import" in text] == []


def test_links_of_the_site_lead_somewhere(read: dict[Path, Links]) -> None:
    broken = []
    for path, links in read.items():
        for target in links.targets:
            file, _, anchor = target.partition("#")
            if "://" in file or file.startswith("mailto:"):
                continue
            found = (path.parent / unquote(file)).resolve() if file else path
            if not found.is_file() or (anchor and found in read and unquote(anchor) not in read[found].ids):
                broken.append((path.name, target))
    assert broken == []


def test_the_sidebar_has_every_page_of_the_documentation() -> None:
    below = {page for section in listed().values() for page in section}
    assert {page for page in pages() if page.is_relative_to(ROOT / "docs")} - below - {INDEX} == set()


@needs_chromium
def test_the_search_works_from_the_disk(site: Path) -> None:
    with chromium() as browser:
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{(site / 'search.html').as_uri()}?q=luma_waveform")
        found = page.locator("#search-results li a").first
        found.click()
        page.wait_for_selector("article h1")
        assert "waveform" in page.inner_text("article").lower()
        assert [url for url in asked if not url.startswith("file:")] == []
