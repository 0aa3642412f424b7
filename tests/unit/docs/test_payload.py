"""The page about the payload: its examples have the keys of what is sent."""

import json
from typing import Any

from relay.core.incident import Resolution, UpdateReason
from relay.core.notification import Notification, build_notification
from relay.destinations.common.document import render_document
from tests.unit.destinations.samples import CRASH
from tests.unit.destinations.updates import CRASH_LOOPING
from tests.unit.docs.pages import DOCS, blocks

PAGE = DOCS / "payload.md"
SINGLE, UPDATE = (json.loads(text) for text in blocks(PAGE, "json"))


def body(notification: Notification) -> dict[str, Any]:
    """What a webhook gets."""
    sent: dict[str, Any] = json.loads(render_document(notification, "https://h.example").body)
    return sent


def test_the_document_of_an_event() -> None:
    """Its keys in their order, those of its event, and those of what the event is about."""
    sent = body(build_notification("died", CRASH))
    assert list(sent) == list(SINGLE)
    assert list(sent["events"][0]) == list(SINGLE["events"][0])
    assert list(sent["events"][0]["actor"]) == list(SINGLE["events"][0]["actor"])


def test_the_four_keys_of_incidents() -> None:
    """They are added to the others."""
    sent = body(CRASH_LOOPING)
    assert sent.keys() - SINGLE.keys() == UPDATE.keys()
    assert list(sent["incidents"][0]) == list(UPDATE["incidents"][0])


def test_every_word_is_explained() -> None:
    """Why it is sent, and why an incident is over."""
    text = PAGE.read_text()
    assert [word for word in (*UpdateReason, *Resolution) if f"`{word}`" not in text] == []
