"""The README: short, in the order in which a newcomer asks, and true."""

import re
from pathlib import Path

import pytest
import yaml

from relay.config.warnings import find_warnings
from relay.destinations.catalog import DESTINATION_TYPES, parse_config
from tests.unit.docs.pages import ROOT, anchors, blocks

PAGE = ROOT / "README.md"
TEXT = PAGE.read_text()
SECTIONS = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
RECIPES = blocks(PAGE, "yaml")
SLACK = "https://hooks.slack.com/services/T0/B0/c"
DESTINATIONS = {
    "ops": {"type": "slack", "url": SLACK},
    "phone": {"type": "ntfy", "topic": "t0p1c"},
}
"""What the recipes send to, if they do not say it."""


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


@pytest.mark.parametrize("text", RECIPES)
def test_a_recipe(text: str, tmp_path: Path) -> None:
    """It can be loaded, and everything in it has an effect."""
    (tmp_path / "pagerduty").write_text("0" * 32)
    part = yaml.safe_load(text.replace("/run/secrets/pagerduty", str(tmp_path / "pagerduty")))
    routes = part.setdefault("routes", [{"name": "died", "match": {"action": "die"}, "to": "ops"}])
    used = {route["to"] for route in routes}
    known = {name: it for name, it in DESTINATIONS.items() if name in used}
    part["destinations"] = known | part.get("destinations", {})
    config = parse_config(yaml.safe_dump(part), file="f", environ={}, folder=tmp_path)
    assert list(find_warnings(config, DESTINATION_TYPES)) == []


def test_five_recipes_lead_to_whole_ones() -> None:
    """Each to a heading of that page."""
    assert len(RECIPES) == 5
    _, _, section = TEXT.partition("## Five recipes")
    section, _, _ = section.partition("\n## ")
    linked = re.findall(r"\]\(docs/recipes\.md#([\w-]+)\)", section)
    assert len(set(linked)) == 5
    assert set(linked) <= anchors(ROOT / "docs" / "recipes.md")
