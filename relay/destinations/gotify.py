"""A message for a Gotify application.

It says that it is plain text, which Gotify's clients take at its word: no Markdown, whose images
they would load (https://gotify.net/docs/msgextras#clientdisplay). What plain text has to be kept
from all the same is in `relay.destinations.common.plain_text`.
"""

import msgspec

from relay.core.exchange import Request
from relay.core.notification import Severity
from relay.core.text import utf16_length
from relay.destinations.common.card import HEALTH, LOGS, Card
from relay.destinations.common.plain_text import TextLimits, render_plain_text

MESSAGE_MAX = 65_535
"""In bytes: what a text takes in MySQL, the narrowest of Gotify's stores
(https://github.com/gotify/server/blob/master/model/message.go)."""

HEADLINE_MAX = 200
"""Ours, in UTF-16 units, and so are all below: more than a phone shows, far less than the above."""
LIMITS = TextLimits(
    size=utf16_length,
    value=500,
    custom_text=3_000,
    inspect=2_400,
    output={LOGS: 2_000, HEALTH: 1_000},
    notes=500,
)

# One of each of the three kinds of notification that there are: silent, with a sound, with a sound
# and vibration. https://github.com/gotify/android#message-priorities
_PRIORITIES = {Severity.CRITICAL: 8, Severity.WARNING: 5, Severity.INFO: 2}
_PRIORITY_RESOLVED = 2

_EXTRAS = {"client::display": {"contentType": "text/plain"}}


def render(card: Card, url: str, token: str) -> Request:
    """The message about the first event, with how many more there are."""
    message = {
        "title": f"{card.emoji} {card.title(HEADLINE_MAX)}",
        "message": render_plain_text(card, LIMITS),
        "priority": _PRIORITY_RESOLVED if card.is_resolved else _PRIORITIES[card.severity],
        "extras": _EXTRAS,
    }
    headers = {"Content-Type": "application/json", "X-Gotify-Key": token}
    return Request(msgspec.json.encode(message), url, headers)
