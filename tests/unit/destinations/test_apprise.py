"""Messages for the services of Apprise."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from apprise.conversion.format import text_to_markdown
from pydantic import SecretStr

from relay.delivery.redact import Redactor, collect_secrets
from relay.destinations.apprise import AppriseDestination
from relay.destinations.common.card import Card
from tests.unit.destinations.common.test_plain_text import LINK, any_card
from tests.unit.destinations.configs import config_with, problems
from tests.unit.destinations.contract import TAGS
from tests.unit.destinations.messages import format_golden, read_golden
from tests.unit.destinations.samples import (
    ATTACKS,
    CUSTOM_CARD,
    NOTIFICATIONS,
    hostile_notification,
)
from tests.unit.destinations.updates import (
    GOLDEN_CARDS,
    RESOLVED,
    longest_cards,
)

DESTINATION = AppriseDestination(url=SecretStr("json://localhost/hook"))


def message(card: Card) -> Any:
    """What Apprise is given."""
    return json.loads(DESTINATION.render(card).body)


def test_matches_the_golden_file() -> None:
    """The messages about the samples are those in the golden file."""
    bodies = (DESTINATION.render(card).body for card in GOLDEN_CARDS)
    assert format_golden(bodies) == read_golden("apprise.json")


def test_the_type_is_the_severity() -> None:
    """Apprise has four types."""
    assert [message(Card(each))["type"] for each in (*NOTIFICATIONS, RESOLVED)] == [
        *("failure", "failure", "failure"),
        "success",
    ]


@any_card
def test_any_message_is_harmless(card: Card) -> None:
    """No text is a link, a mention or a tag; in Markdown and HTML, Apprise escapes the rest."""
    sent = message(card)
    for text in (sent["title"], sent["body"]):
        assert not LINK.search(text)
        assert not set("<>") & set(text)
        assert "@everyone" not in text
        markdown = text_to_markdown(text)  # type: ignore[no-untyped-call]
        assert "`" not in markdown.replace("\\`", "")


@pytest.mark.parametrize("attack", [*ATTACKS, *TAGS, "@everyone", "@here", "a@b.example"])
def test_no_name_is_a_mention(attack: str) -> None:
    """Not even where a service looks for mentions in plain text."""
    sent = message(Card(hostile_notification(attack)))
    for text in (sent["title"], sent["body"]):
        assert not [it for it in (*TAGS, "@everyone", "@here", "a@b") if it in text]


def test_links_of_the_configuration_stay() -> None:
    """And nothing that a template filled in becomes one."""
    body = message(CUSTOM_CARD)["body"]
    assert "https://wiki.example.com/run_book/shop-web-1?a=1&b=(2)" in body
    assert "http://evil.example" not in body


@pytest.mark.parametrize("filler", ["x", "漢", "🔥", "\u202e", "\n", "@."])
def test_the_longest_message_is_bounded(filler: str) -> None:
    """Names of 64 KB are cut before Apprise sees them."""
    for card in longest_cards(filler * (65_536 // len(filler))):
        sent = message(card)
        assert len(sent["title"]) < 600
        assert len(sent["body"]) < 40_000


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("''", "url: the value is empty"),
        ("localhost/canary", "url: the value is not a URL of Apprise"),
        ("'json://h/a b/canary'", "url: the value is not a URL of Apprise"),
        ("nonsense://canary", "begins with nonsense://, which no service of Apprise has"),
        ("file:///canary", "begins with file://, which no service of Apprise has"),
        ("slack://canary", "is not what Apprise expects after slack://"),
        ("'discord://canary'", "is not what Apprise expects after discord://"),
        ("https://example.com/canary", "begins with https://, which no service of Apprise has"),
    ],
)
def test_problems(url: str, wrong: str) -> None:
    """`relay check` says what is wrong with the URL, and does not show it."""
    (problem,) = problems(f"type: apprise, url: {url}")
    assert wrong in problem
    assert "canary" not in problem


def test_a_service_whose_packages_are_missing() -> None:
    """The error says what to install."""
    (problem,) = problems("type: apprise, url: 'mqtt://localhost/topic'")
    assert "needs what is not installed: pip install" in problem
    assert "paho-mqtt" in problem


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At its line, as every problem of a configuration."""
    monkeypatch.setattr("relay.config.validators.find_spec", lambda _: None)
    (problem,) = problems("type: apprise, url: 'json://localhost/'")
    assert "pip install 'docker-event-relay[apprise]'" in problem


def test_the_whole_url_is_secret() -> None:
    """Every part of it, written and decoded; commands show its scheme."""
    url = "jsons://user01:pass%40word1@canary-host.example:8443/to%20ken123/x?key=query-value"
    to = config_with(f"type: apprise, url: '{url}'").destinations["to"]
    assert to.shown_address == "jsons://…"
    assert "canary" not in repr(to)
    redact = Redactor(collect_secrets(to)).redact
    for part in ("user01", "pass%40word1", "pass@word1", "canary-host.example", "to ken123"):
        assert redact(f"<{part}>") == "<•••>"
    assert redact("query-value dXNlcjAxOnBhc3NAd29yZDE=") == "••• •••"
    assert redact(url) == "•••"


def test_a_schema_does_not_import_apprise() -> None:
    """It takes a second: only a configuration with a URL for it does."""
    code = (
        "import sys; from relay.config.schema import build_schema; "
        "from relay.destinations.catalog import DESTINATION_TYPES; "
        "build_schema(DESTINATION_TYPES); print('apprise' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True, timeout=60)
    assert printed == "False\n"
