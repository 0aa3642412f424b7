"""The README: short, in the order in which a newcomer asks, and true."""

import re

from tests.unit.docs.pages import ROOT, anchors, blocks

PAGE = ROOT / "README.md"
TEXT = PAGE.read_text()
SECTIONS = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
RECIPES = blocks(PAGE, "yaml")


def test_the_order_of_a_newcomers_questions() -> None:
    """What it is, how to try it, how to install it, what it can do, what else there is."""
    first, *rest = SECTIONS
    assert first == "Sixty seconds"
    assert rest[:3] == ["Install", "Five recipes", "Beside other tools"]
    assert rest[3:] == ["Commands", "Documentation"]


def test_it_is_short() -> None:
    """What somebody reads before the reference part is read in five minutes."""
    before, _, _ = TEXT.partition("## Commands")
    assert len(before.split()) < 1200


def test_five_recipes_lead_to_whole_ones() -> None:
    """Each to a heading of that page."""
    assert len(RECIPES) == 5
    _, _, section = TEXT.partition("## Five recipes")
    section, _, _ = section.partition("\n## ")
    linked = re.findall(r"\]\(docs/recipes\.md#([\w-]+)\)", section)
    assert len(set(linked)) == 5
    assert set(linked) <= anchors(ROOT / "docs" / "recipes.md")
