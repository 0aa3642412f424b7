"""Links between the pages."""

import re
from pathlib import Path

import pytest

from tests.unit.docs.pages import DOCS, PAGES, ROOT, anchors, prose

LINKS = [
    (page, target)
    for page in PAGES
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page))
    if "://" not in target
]


@pytest.mark.parametrize(
    ("page", "target"), LINKS, ids=[f"{page.name}-{target}" for page, target in LINKS]
)
def test_a_link_leads_somewhere(page: Path, target: str) -> None:
    """To a file that is there, and in a page to one of its headings."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    assert file.exists()
    assert not anchor or anchor in anchors(file)


def test_the_readme_leads_to_every_page() -> None:
    """None has to be found by looking into the folder."""
    linked = {(ROOT / target.partition("#")[0]) for page, target in LINKS if page.parent == ROOT}
    assert set(DOCS.glob("*.md")) <= linked
