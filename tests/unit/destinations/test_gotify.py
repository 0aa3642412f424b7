"""Gotify messages."""

import json
from typing import Any

from relay.core.text import utf16_length
from relay.destinations import gotify
from relay.destinations.common.card import Card
from relay.destinations.gotify import GotifyDestination
from tests.unit.destinations.common.test_plain_text import LINK, any_card
from tests.unit.destinations.contract import Contract
from tests.unit.destinations.samples import NOTIFICATIONS, RESOLVED
from tests.unit.destinations.updates import longest_cards

DESTINATION = GotifyDestination.model_validate({"url": "https://gotify.example", "token": "s3cret"})
CONTRACT = Contract(
    keys="url: https://x/gotify/, token: t0ken",
    endpoint="https://x/gotify/message",
    sample=DESTINATION,
    secrets={"token": "canary"},
    headers={"X-Gotify-Key": "t0ken"},
    dangerous=("://",),
    interpreted=lambda sent: iter([sent["message"]]),
    severity=lambda sent: (sent["priority"], sent["title"][0]),
    shown=((8, "🔴"), (5, "🟠"), (2, "🔵"), (2, "🟢")),
    canary={"url": "{at}", "token": "{canary}-token"},
)


def message(card: Card) -> Any:
    """The message as Gotify reads it."""
    return json.loads(DESTINATION.render(card).body)


def test_goes_to_the_server_with_the_token() -> None:
    """Only the header ``X-Gotify-Key`` has the token."""
    request = DESTINATION.render(Card(NOTIFICATIONS[0]))
    assert request.headers["X-Gotify-Key"] == "s3cret"
    assert b"s3cret" not in request.body


def test_a_resolved_notification_is_green() -> None:
    """A resolved notification wakes nobody, whatever its severity was."""
    sent = message(Card(RESOLVED))
    assert (sent["priority"], sent["title"]) == (2, "🟢 Resolved: sick is unhealthy")


@any_card
def test_is_plain_text_and_nothing_else(card: Card) -> None:
    """The message declares plain text, has nothing to open or load, and no text becomes a link."""
    sent = message(card)
    assert set(sent) == {"title", "message", "priority", "extras"}
    assert sent["extras"] == {"client::display": {"contentType": "text/plain"}}
    assert not LINK.search(sent["message"])
    assert sent["title"].isprintable()


@any_card
def test_keeps_every_limit_of_gotify(card: Card) -> None:
    """The message is never empty and fits every database."""
    sent = message(card)
    assert 1 <= len(sent["message"].encode()) <= gotify.MESSAGE_MAX
    assert 1 <= utf16_length(sent["title"]) <= gotify.HEADLINE_MAX + 3


def test_the_longest_message_is_within_the_limits() -> None:
    """Every value is present, longer than its limit, and expensive to encode."""
    for card in longest_cards("日." * 20_000):
        assert 15_000 < len(message(card)["message"].encode()) < gotify.MESSAGE_MAX
