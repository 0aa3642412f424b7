"""The page about the payload: its examples have the keys of what is sent."""

import json

from relay.core.incident import Resolution, UpdateReason
from tests.unit.docs.pages import DOCS, blocks

PAGE = DOCS / "payload.md"
SINGLE, UPDATE = (json.loads(text) for text in blocks(PAGE, "json"))


def test_every_word_is_explained() -> None:
    """Why it is sent, and why an incident is over."""
    text = PAGE.read_text()
    assert [word for word in (*UpdateReason, *Resolution) if f"`{word}`" not in text] == []
