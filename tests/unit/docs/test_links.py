"""Links between the pages."""

import re
from pathlib import Path

import pytest

from tests.unit.docs.pages import DOCS, PAGES, ROOT, anchors, page_name, prose


def find_links(page: Path) -> list[str]:
    """Where the links of a page lead, without those to other sites."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in targets if "://" not in target]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file that is there, and in a page to one of its headings."""
    assert [link for link in find_links(page) if not leads_somewhere(page, link)] == []


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    file = (page.parent / path).resolve() if path else page
    return file.exists() and (not anchor or anchor in anchors(file))


def test_the_readme_leads_to_every_page() -> None:
    """None has to be found by looking into the folder."""
    linked = {ROOT / link.partition("#")[0] for link in find_links(ROOT / "README.md")}
    assert set(DOCS.glob("*.md")) <= linked
