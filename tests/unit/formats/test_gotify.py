"""Gotify messages."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given

from relay.event import Actor, Event, Origin
from relay.formats import gotify
from relay.formats.card import Card
from relay.formats.text import units
from relay.notification import Included, Notification, Status, notify

from .samples import CRASH, GONE, INCLUDE, NOTIFICATIONS, TOLD, UNHEALTHY, container
from .test_plain import LINK, cards

GOLDEN = Path(__file__).parent / "golden" / "gotify.json"


def message(card: Card) -> Any:
    """The message as Gotify reads it."""
    return json.loads(gotify.render(card, "https://gotify.example/message", "s3cret").body)


def test_reads_as_it_was_approved() -> None:
    """A crash, an OOM, a failing health check, and crashes with more are as in the golden file."""
    all_kinds = (*NOTIFICATIONS, TOLD, GONE)
    bodies = b",".join(gotify.render(Card(it), "", "").body for it in all_kinds)
    written = msgspec.json.format(b"[" + bodies + b"]", indent=2) + b"\n"
    assert written.decode() == GOLDEN.read_text()


def test_goes_to_the_server_with_the_token() -> None:
    """The application's token is in its header, and nowhere else."""
    request = gotify.render(Card(NOTIFICATIONS[0]), "https://gotify.example/message", "s3cret")
    assert request.url == "https://gotify.example/message"
    assert request.headers == {"Content-Type": "application/json", "X-Gotify-Key": "s3cret"}
    assert b"s3cret" not in request.body


@pytest.mark.parametrize(
    ("event", "look"),
    [
        (CRASH, (8, "🔴")),
        (container("kill", 1, "a", {}, signal=9), (5, "🟠")),
        (container("start", 1, "a", {}), (2, "🔵")),
    ],
)
def test_is_as_loud_as_it_is_severe(event: Event, look: tuple[int, str]) -> None:
    """Priority and emoji come from the severity."""
    sent = message(Card(notify("r", event)))
    assert (sent["priority"], sent["title"][0]) == look


def test_a_resolved_one_is_green() -> None:
    """What is over wakes nobody, however bad it was."""
    sent = message(Card(Notification("ntf_1", "r", (UNHEALTHY,), Status.RESOLVED)))
    assert (sent["priority"], sent["title"]) == (2, "🟢 Resolved: sick is unhealthy")


@given(cards)
def test_is_plain_text_and_nothing_else(card: Card) -> None:
    """It says so, nothing is opened or loaded, and nobody's words are a link."""
    sent = message(card)
    assert set(sent) == {"title", "message", "priority", "extras"}
    assert sent["extras"] == {"client::display": {"contentType": "text/plain"}}
    assert not LINK.search(sent["message"])
    assert sent["title"].isprintable()


@given(cards)
def test_keeps_every_limit_of_gotify(card: Card) -> None:
    """There has to be a message, and every store has to take it."""
    sent = message(card)
    assert 1 <= len(sent["message"].encode()) <= gotify.MESSAGE_MAX
    assert 1 <= units(sent["title"]) <= gotify.HEADLINE_MAX + 3


def test_all_at_its_longest_is_still_a_message() -> None:
    """Every value there is at once, each longer than it may be and dear to write."""
    dear = "日." * 20_000
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
        logs=("\n" * 2000, dear),
        health=dear,
        inspect={f"{n}{dear}": dear for n in range(20)},
        missing=dear,
    )
    most = 2**63 - 1
    notification = Notification(
        dear, dear, (event,), count=most, suppressed=most, include=INCLUDE, included=included
    )
    for card in (Card(notification, dear), Card(notification, dear, dear)):
        assert 15_000 < len(message(card)["message"].encode()) < gotify.MESSAGE_MAX
