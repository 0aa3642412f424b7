"""ntfy messages."""

import json
from email.header import decode_header
from typing import Any

import pytest
from msgspec.structs import replace

from relay.core.notification import build_notification
from relay.destinations import ntfy
from relay.destinations.common.card import Card
from relay.destinations.ntfy import NtfyDestination
from tests.unit.destinations.common.test_plain_text import LINK, any_card
from tests.unit.destinations.contract import Contract
from tests.unit.destinations.samples import (
    NOTIFICATIONS,
    RESOLVED,
    crash_of,
    custom_card,
)
from tests.unit.destinations.updates import longest_cards

ENCODED = "=?UTF-8?Q?fine=0AHost:_evil?="
"""A title that is decoded to two lines."""
DESTINATION = NtfyDestination.model_validate({"url": "https://ntfy.example", "topic": "alerts"})
LONG_TOPIC = NtfyDestination.model_validate({"topic": "t" * 64})
CONTRACT = Contract(
    keys="topic: ops",
    endpoint="https://ntfy.sh",
    sample=DESTINATION,
    secrets={"topic": "canary"},
    dangerous=("://",),
    interpreted=lambda sent: iter([sent["message"]]),
    severity=lambda sent: (sent["priority"], *sent["tags"]),
    shown=((5, "red_circle"), (4, "orange_circle"), (3, "large_blue_circle"), (2, "green_circle")),
    canary={"url": "{at}", "topic": "{canary}-topic"},
)


def message(card: Card) -> Any:
    """The message as ntfy reads it."""
    return json.loads(DESTINATION.render(card).body)


def test_names_the_topic() -> None:
    """The topic is in the body, and the request goes to the server's root."""
    assert message(Card(NOTIFICATIONS[0]))["topic"] == "alerts"


def test_a_resolved_notification_is_green() -> None:
    """A resolved notification wakes nobody, whatever its severity was."""
    sent = message(Card(RESOLVED))
    assert (sent["priority"], sent["tags"]) == (2, ["green_circle"])
    assert sent["title"] == "Resolved: sick is unhealthy"


def test_a_title_is_never_decoded() -> None:
    """A name that looks encoded by RFC 2047 introduces no line break."""
    for card in (
        Card(build_notification("r", crash_of(ENCODED))),
        custom_card(NOTIFICATIONS[0], ENCODED),
    ):
        title = message(card)["title"]
        assert title.startswith("=\u200b?UTF-8?Q?")
        assert "\n" not in decode_header(title)[0][0]
    assert "\n" in str(decode_header(ENCODED)[0][0], "ascii")


@any_card
def test_is_plain_text_and_nothing_else(card: Card) -> None:
    """A message has no Markdown and no button, and no text becomes a link."""
    sent = message(card)
    assert set(sent) == {"topic", "title", "message", "priority", "tags"}
    assert not LINK.search(sent["message"])
    assert "=?" not in sent["title"]
    assert sent["title"].replace("\u200b", "").isprintable()


@any_card
def test_keeps_every_limit_of_ntfy(card: Card) -> None:
    """No message is long enough to become a file, and no title is refused."""
    sent = message(card)
    assert 1 <= len(sent["message"].encode()) <= ntfy.MESSAGE_MAX
    assert 1 <= len(sent["title"].encode()) <= ntfy.TITLE_MAX
    assert len(LONG_TOPIC.render(card).body) <= 2 * ntfy.MESSAGE_MAX


@pytest.mark.parametrize("dear", ["日", '"', "=?", "\u202e", "a.", "\na"])
def test_the_longest_message_is_within_the_limits(dear: str) -> None:
    """Every value is present, longer than its limit, and expensive to encode."""
    for card in longest_cards(dear * 5000):
        assert len(message(card)["title"].encode()) <= ntfy.TITLE_MAX
        assert len(message(card)["message"].encode()) <= ntfy.MESSAGE_MAX
        assert 3_000 < len(LONG_TOPIC.render(card).body) <= 2 * ntfy.MESSAGE_MAX


@pytest.mark.parametrize("dear", ["x", "日", '"', "a."])
def test_a_link_makes_the_longest_message_no_longer(dear: str) -> None:
    """The whole message has to be short enough for Firebase, with the button."""
    link = f"https://{'a' * 63}.example/"
    for card in longest_cards(dear * 5000):
        linked = replace(card, link=link.ljust(ntfy.LINK_CHARS_MAX, "x"))
        assert len(LONG_TOPIC.render(linked).body) <= len(LONG_TOPIC.render(card).body)
