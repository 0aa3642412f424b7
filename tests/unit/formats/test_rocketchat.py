"""Rocket.Chat messages."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given

from relay.event import Actor, Origin
from relay.formats import rocketchat
from relay.formats.card import Card
from relay.formats.text import units
from relay.notification import Included, Notification

from .samples import CRASH, GONE, INCLUDE, NOTIFICATIONS, TOLD
from .test_attachment import cards

GOLDEN = Path(__file__).parent / "golden" / "rocketchat.json"
MENTION = re.compile(r"(^|\s|>)[@#]([0-9a-zA-Z-_.]+)", re.MULTILINE)
"""As Rocket.Chat's server finds users and channels: ``MentionsParser``."""


def message(card: Card) -> Any:
    """The message as Rocket.Chat reads it."""
    return json.loads(rocketchat.render(card, "https://chat.example/hooks/x").body)


def test_reads_as_it_was_approved() -> None:
    """A crash, an OOM, a failing health check, and crashes with more are as in the golden file."""
    all_kinds = (*NOTIFICATIONS, TOLD, GONE)
    bodies = b",".join(rocketchat.render(Card(notification), "").body for notification in all_kinds)
    written = msgspec.json.format(b"[" + bodies + b"]", indent=2) + b"\n"
    assert written.decode() == GOLDEN.read_text()


def test_goes_to_the_webhook_as_json() -> None:
    """The request is what an incoming webhook takes."""
    request = rocketchat.render(Card(NOTIFICATIONS[0]), "https://chat.example/hooks/x")
    assert request.url == "https://chat.example/hooks/x"
    assert request.headers == {"Content-Type": "application/json"}


def test_no_address_is_fetched() -> None:
    """Rocket.Chat is told not to look behind what looks like a URL."""
    assert message(Card(NOTIFICATIONS[0]))["parseUrls"] is False


@given(cards)
def test_nobody_is_mentioned(card: Card) -> None:
    """The server looks for mentions in the message's own text only, in code as well."""
    assert not MENTION.search(message(card)["text"])


@given(cards)
def test_keeps_every_limit_of_rocket_chat(card: Card) -> None:
    """Nothing that the server refuses or that its clients would not format, whatever comes."""
    sent = message(card)
    assert set(sent) == {"text", "parseUrls", "attachments"}
    assert 1 <= units(sent["text"]) <= rocketchat.TEXT_MAX
    for part in sent["attachments"]:
        assert set(part) <= {"color", "text", "fields"}
        assert units(part.get("text", "")) <= rocketchat.TEXT_MAX
        for field in part.get("fields", ()):
            assert field["title"]
            assert 1 <= units(field["value"]) <= rocketchat.TEXT_MAX
            assert field["short"] is True


def test_all_at_its_longest_is_still_a_message() -> None:
    """Every value there is at once, each longer than it may be and dear to write."""
    dear = "@\u202e" * 2500
    labels = {"com.docker.compose.project": dear, "com.docker.swarm.service.name": dear}
    event = msgspec.structs.replace(
        CRASH,
        id=dear,
        engine=dear,
        host=dear,
        actor=Actor(dear, dear, dear, labels),
        origin=Origin.INFERRED,
    )
    included = Included(
        logs=("\u202e" * 4096,),
        health="\u202e" * 4096,
        inspect={f"{n}{dear}": dear for n in range(20)},
        missing=dear,
    )
    most = 2**63 - 1
    notification = Notification(
        dear, dear, (event,), count=most, suppressed=most, include=INCLUDE, included=included
    )
    for card in (Card(notification, dear), Card(notification, dear, dear)):
        sent = message(card)
        assert units(sent["text"]) <= rocketchat.TEXT_MAX
        assert 4_500 < units(sent["attachments"][1]["text"]) <= rocketchat.TEXT_MAX
        assert units(sent["attachments"][0].get("text", "")) <= rocketchat.TEXT_MAX
