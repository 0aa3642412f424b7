"""Rocket.Chat messages."""

import json
import re
from typing import Any

from relay.core.text import utf16_length
from relay.destinations import rocketchat
from relay.destinations.common.card import Card
from relay.destinations.rocketchat import RocketChatDestination
from tests.unit.destinations.common.test_slack_compatible import any_card, attachment_contract
from tests.unit.destinations.samples import NOTIFICATIONS
from tests.unit.destinations.updates import longest_cards

MENTION = re.compile(r"(^|\s|>)[@#]([0-9a-zA-Z-_.]+)", re.MULTILINE)
"""As Rocket.Chat's server finds users and channels: ``MentionsParser``."""
DESTINATION = RocketChatDestination.model_validate({"url": "https://chat.example/hooks/x"})
CONTRACT = attachment_contract(DESTINATION)


def message(card: Card) -> Any:
    """The message as Rocket.Chat reads it."""
    return json.loads(DESTINATION.render(card).body)


def test_no_address_is_fetched() -> None:
    """``parseUrls`` is false, so the server fetches no preview."""
    assert message(Card(NOTIFICATIONS[0]))["parseUrls"] is False


@any_card
def test_nobody_is_mentioned(card: Card) -> None:
    """The text has no mention, not even in code, where the server looks too."""
    assert not MENTION.search(message(card)["text"])


@any_card
def test_keeps_every_limit_of_rocket_chat(card: Card) -> None:
    """Every text is short enough to be formatted, and no field is without a value."""
    sent = message(card)
    assert set(sent) == {"text", "parseUrls", "attachments"}
    assert 1 <= utf16_length(sent["text"]) <= rocketchat.TEXT_MAX
    for part in sent["attachments"]:
        assert set(part) <= {"color", "text", "fields"}
        assert utf16_length(part.get("text", "")) <= rocketchat.TEXT_MAX
        for field in part.get("fields", ()):
            assert field["title"]
            assert 1 <= utf16_length(field["value"]) <= rocketchat.TEXT_MAX
            assert field["short"] is True


def test_the_longest_message_is_within_the_limits() -> None:
    """Every value is present, longer than its limit, and expensive to encode."""
    for card in longest_cards("@\u202e" * 2500, output="\u202e" * 4096):
        sent = message(card)
        assert utf16_length(sent["text"]) <= rocketchat.TEXT_MAX
        assert 4_400 < utf16_length(sent["attachments"][1]["text"]) <= rocketchat.TEXT_MAX
        assert utf16_length(sent["attachments"][0].get("text", "")) <= rocketchat.TEXT_MAX
