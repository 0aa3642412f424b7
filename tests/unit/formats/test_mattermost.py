"""Mattermost posts."""

import json
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given

from relay.event import Actor, Origin
from relay.formats import mattermost
from relay.formats.card import Card
from relay.formats.text import units
from relay.notification import Included, Notification, notify

from .samples import CRASH, GONE, INCLUDE, NOTIFICATIONS, TOLD
from .test_attachment import cards

GOLDEN = Path(__file__).parent / "golden" / "mattermost.json"


def post(card: Card) -> Any:
    """The post as Mattermost reads it."""
    return json.loads(mattermost.render(card, "https://chat.example/hooks/x").body)


def test_reads_as_it_was_approved() -> None:
    """A crash, an OOM, a failing health check, and crashes with more are as in the golden file."""
    all_kinds = (*NOTIFICATIONS, TOLD, GONE)
    bodies = b",".join(mattermost.render(Card(notification), "").body for notification in all_kinds)
    written = msgspec.json.format(b"[" + bodies + b"]", indent=2) + b"\n"
    assert written.decode() == GOLDEN.read_text()


def test_goes_to_the_webhook_as_json() -> None:
    """The request is what an incoming webhook takes."""
    request = mattermost.render(Card(NOTIFICATIONS[0]), "https://chat.example/hooks/x")
    assert request.url == "https://chat.example/hooks/x"
    assert request.headers == {"Content-Type": "application/json"}


def test_a_push_notification_names_the_host() -> None:
    """Mattermost puts the fallback below the headline there; it is no Markdown."""
    assert post(Card(NOTIFICATIONS[0]))["attachments"][0]["fallback"] == "node-1"
    tricky = msgspec.structs.replace(CRASH, host="a\n*b*")
    assert post(Card(notify("r", tricky)))["attachments"][0]["fallback"] == r"a\n*b*"


@given(cards)
def test_keeps_every_limit_of_mattermost(card: Card) -> None:
    """One post, in the shape of an incoming webhook, whatever comes."""
    sent = post(card)
    assert set(sent) == {"text", "attachments"}
    assert 1 <= units(sent["text"]) <= mattermost.TEXT_MAX
    props = json.dumps(sent["attachments"])
    assert len(props) <= mattermost.PROPS_MAX
    for part in sent["attachments"]:
        assert set(part) <= {"fallback", "color", "text", "fields"}
        for field in part.get("fields", ()):
            assert set(field) == {"title", "value", "short"}


def test_all_at_its_longest_is_still_a_post() -> None:
    """Every value there is at once, each longer than it may be and dear to write."""
    dear = "@\u202e" * 2500
    labels = {
        "com.docker.compose.project": dear,
        "com.docker.compose.service": dear,
        "com.docker.swarm.service.name": dear,
    }
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
        size = units(mattermost.render(card, "").body.decode())
        assert 7_000 < size < mattermost.TEXT_MAX
