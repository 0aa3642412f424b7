"""The site of the documents: it can be built strictly, and has every page and what they link to."""

import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.unit.docs.pages import DOCS, ROOT

TIMEOUT_S = 120


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as the lint does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return folder


def test_every_page_is_in_it(site: Path) -> None:
    """Those of ``docs/`` under their names, and those of the top folder."""
    pages = {str(path.parent.relative_to(site)) for path in site.glob("**/index.html")}
    assert {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")} <= pages
    assert {"changelog", "contributing", "security"} <= pages
    assert "Sixty seconds" in (site / "index.html").read_text()


def test_every_link_leads_to_a_file_of_the_site(site: Path) -> None:
    """Also those to files of the repository, such as ``config.example.yaml``."""
    links = {(page, link) for page in site.glob("**/index.html") for link in find_links(page)}
    assert any(link.endswith("config.example.yaml") for _, link in links)
    assert sorted(link for page, link in links if not leads_somewhere(page, link)) == []


def leads_somewhere(page: Path, link: str) -> bool:
    parts = urlsplit(link)
    target = page.parent / unquote(parts.path)
    return bool(parts.scheme) or target.is_file() or (target / "index.html").is_file()


def find_links(page: Path) -> Iterator[str]:
    """Yield where the links of a page lead, without those within it."""
    found: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(value for name, value in attrs if name in {"href", "src"} and value)

    Links().feed(page.read_text())
    return (link for link in found if not link.startswith("#"))
