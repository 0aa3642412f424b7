"""ntfy messages."""

import json
from email.header import decode_header
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given

from relay.event import Actor, Event, Origin
from relay.formats import ntfy
from relay.formats.card import Card
from relay.notification import Included, Notification, Status, notify

from .samples import CRASH, GONE, INCLUDE, NOTIFICATIONS, TOLD, UNHEALTHY, container
from .test_plain import LINK, cards

GOLDEN = Path(__file__).parent / "golden" / "ntfy.json"
ENCODED = "=?UTF-8?Q?fine=0AHost:_evil?="
"""A title that is decoded to two lines."""


def message(card: Card) -> Any:
    """The message as ntfy reads it."""
    return json.loads(ntfy.render(card, "https://ntfy.example", "alerts").body)


def test_reads_as_it_was_approved() -> None:
    """A crash, an OOM, a failing health check, and crashes with more are as in the golden file."""
    all_kinds = (*NOTIFICATIONS, TOLD, GONE)
    bodies = b",".join(ntfy.render(Card(it), "", "alerts").body for it in all_kinds)
    written = msgspec.json.format(b"[" + bodies + b"]", indent=2) + b"\n"
    assert written.decode() == GOLDEN.read_text()


def test_goes_to_the_server_as_json() -> None:
    """JSON is published at the server's root, and the topic is in it."""
    request = ntfy.render(Card(NOTIFICATIONS[0]), "https://ntfy.example", "alerts")
    assert request.url == "https://ntfy.example"
    assert request.headers == {"Content-Type": "application/json"}
    assert json.loads(request.body)["topic"] == "alerts"


@pytest.mark.parametrize(
    ("event", "look"),
    [
        (CRASH, (5, ["red_circle"])),
        (container("kill", 1, "a", {}, signal=9), (4, ["orange_circle"])),
        (container("start", 1, "a", {}), (3, ["large_blue_circle"])),
    ],
)
def test_is_as_loud_as_it_is_severe(event: Event, look: tuple[int, list[str]]) -> None:
    """Priority and emoji come from the severity."""
    sent = message(Card(notify("r", event)))
    assert (sent["priority"], sent["tags"]) == look


def test_a_resolved_one_is_green() -> None:
    """What is over wakes nobody, however bad it was."""
    sent = message(Card(Notification("ntf_1", "r", (UNHEALTHY,), Status.RESOLVED)))
    assert (sent["priority"], sent["tags"]) == (3, ["green_circle"])
    assert sent["title"] == "Resolved: sick is unhealthy"


def test_a_title_is_never_decoded() -> None:
    """A name that looks encoded after RFC 2047 brings no line break along."""
    event = msgspec.structs.replace(CRASH, actor=Actor("a", ENCODED, None, {}))
    for card in (Card(notify("r", event)), Card(NOTIFICATIONS[0], ENCODED)):
        title = message(card)["title"]
        assert title.startswith("=\u200b?UTF-8?Q?")
        assert "\n" not in decode_header(title)[0][0]
    assert "\n" in str(decode_header(ENCODED)[0][0], "ascii")


@given(cards)
def test_is_plain_text_and_nothing_else(card: Card) -> None:
    """No Markdown, no buttons, nothing to open; and nobody's words are a link."""
    sent = message(card)
    assert set(sent) == {"topic", "title", "message", "priority", "tags"}
    assert not LINK.search(sent["message"])
    assert "=?" not in sent["title"]
    assert sent["title"].replace("\u200b", "").isprintable()


@given(cards)
def test_keeps_every_limit_of_ntfy(card: Card) -> None:
    """A message is never a file, a title never refused, whatever comes."""
    sent = message(card)
    assert 1 <= len(sent["message"].encode()) <= ntfy.MESSAGE_MAX
    assert 1 <= len(sent["title"].encode()) <= ntfy.TITLE_MAX
    assert len(ntfy.render(card, "", "t" * 64).body) <= 2 * ntfy.MESSAGE_MAX


@pytest.mark.parametrize(
    "dear", ["日" * 5000, '"' * 5000, "=?" * 2500, "\u202e" * 5000, "a." * 2500]
)
def test_all_at_its_longest_is_still_a_message(dear: str) -> None:
    """Every value there is at once, each longer than it may be and dear to write."""
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
        assert len(message(card)["title"].encode()) <= ntfy.TITLE_MAX
        assert len(message(card)["message"].encode()) <= ntfy.MESSAGE_MAX
        assert 3_000 < len(ntfy.render(card, "", "t" * 64).body) <= 2 * ntfy.MESSAGE_MAX
