"""The pages of the destinations: one for each type, with what its users look for."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.config.destination import DestinationConfig
from relay.config.section import list_keys
from relay.core.errors import ConfigError
from relay.core.incident import Audience
from relay.destinations.catalog import DESTINATION_TYPES, parse_config
from relay.destinations.common.service import MessageDestination
from relay.destinations.common.webhook import WebhookDestination
from tests.unit.docs.examples import ENVIRONMENT
from tests.unit.docs.pages import DOCS, blocks, code

FOLDER = DOCS / "destinations"
HEADINGS = ("Configuration", "The link", "Limits", "If it fails")
"""What each page has, in this order, among others."""

PICTURED = {
    name
    for name, model in DESTINATION_TYPES.models.items()
    if model.audience is not Audience.RELAYS
}
"""The types whose messages people can see."""

every_type = pytest.mark.parametrize("name", DESTINATION_TYPES.models)


def read(name: str) -> str:
    """The page of a type."""
    return (FOLDER / f"{name}.md").read_text()


def smallest(name: str) -> dict[str, Any]:
    """The keys of the first configuration on the page."""
    (entry,) = yaml.safe_load(blocks(FOLDER / f"{name}.md", "yaml")[0])["destinations"].values()
    assert isinstance(entry, dict)
    return entry


def parse(entry: Mapping[str, object]) -> DestinationConfig:
    text = yaml.safe_dump({"destinations": {"to": entry}, "routes": [{"name": "all", "to": "to"}]})
    return parse_config(text, file="f", environ=ENVIRONMENT, folder=Path()).destinations["to"]


def test_every_type_has_a_page_and_the_overview_leads_there() -> None:
    """And there are no others."""
    assert {page.stem for page in FOLDER.iterdir()} == set(DESTINATION_TYPES.models)
    overview = (DOCS / "destinations.md").read_text()
    for name in DESTINATION_TYPES.models:
        assert f"`{name}`](destinations/{name}.md)" in overview


@every_type
def test_has_what_people_look_for(name: str) -> None:
    """In the order in which they look for it, below a picture."""
    page = read(name)
    titles = re.findall("^## (.+)$", page, re.MULTILINE)
    assert [title for title in titles if title in HEADINGS] == list(HEADINGS)
    if name in PICTURED:
        assert f"(../pictures/{name}-opened.png)" in page.split("\n## ")[0]
    assert f"(../reference.md#{name})" in page


@every_type
def test_the_first_configuration_is_the_smallest(name: str) -> None:
    """relay takes it, and nothing of it can be left out."""
    entry = smallest(name)
    assert parse(entry).type == entry["type"] == name
    for key in entry.keys() - {"type"}:
        with pytest.raises(ConfigError):
            parse({other: value for other, value in entry.items() if other != key})


@every_type
def test_names_every_key_of_its_own(name: str) -> None:
    """Those that other types do not have; what they mean is in the reference."""
    model = DESTINATION_TYPES.models[name]
    shared = {
        *list_keys(DestinationConfig),
        *list_keys(WebhookDestination),
        *list_keys(MessageDestination),
    }
    page = read(name)
    named = " ".join([*code(page), *blocks(FOLDER / f"{name}.md", "yaml")])
    missing = [key for key in list_keys(model) if key not in shared and key not in named]
    assert missing == []
