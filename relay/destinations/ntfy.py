"""A message to an ntfy topic, published as JSON.

It is plain text: nothing here ever asks for Markdown, for buttons, or for something to be opened
(https://docs.ntfy.sh/publish/#publish-as-json). What plain text has to be kept from is in
`relay.destinations.common.plain_text`. And ntfy decodes a title that looks encoded after RFC 2047
(https://docs.ntfy.sh/publish/#message-title), so that a name could bring line breaks along.
"""

import msgspec

from relay.core.exchange import Request
from relay.core.notification import Severity
from relay.core.text import ZERO_WIDTH_SPACE
from relay.destinations.common.card import HEALTH, LOGS, Card
from relay.destinations.common.plain_text import TextLimits, render_plain_text

# ntfy's limits, in bytes: https://docs.ntfy.sh/publish/#limitations
MESSAGE_MAX = 4_096
"""A longer one is sent as an attached file."""
TITLE_MAX = 1_024
"""A longer one is refused."""

HEADLINE_MAX = 200
"""Ours, in UTF-16 units."""


def _json_size_bytes(text: str) -> int:
    """In bytes, as JSON: never less than ntfy counts, and never more than it reads.

    It reads twice `MESSAGE_MAX` at most (``transformBodyJSON``, server/server.go in
    https://github.com/binwiederhier/ntfy).
    """
    return len(msgspec.json.encode(text)) - 2


LIMITS = TextLimits(
    size=_json_size_bytes,
    value=150,
    custom_text=800,
    inspect=600,
    output={LOGS: 900, HEALTH: 400},
    notes=300,
)
"""Ours. All together they are below the 4,000 bytes, with what is around them, that Firebase takes:
ntfy cuts the end of what is longer, which is where the log's end is (``fcmMessageLimit``,
server/server_firebase.go)."""

# Each severity is one step louder than the one before it, from what a message is that says nothing
# of its priority to what is not overheard at night. Who finds it too loud says so of the route. The
# tags are those of the emoji that other destinations show.
# https://docs.ntfy.sh/publish/#message-priority, https://docs.ntfy.sh/emojis/
_STYLES = {
    Severity.CRITICAL: (5, "red_circle"),
    Severity.WARNING: (4, "orange_circle"),
    Severity.INFO: (3, "large_blue_circle"),
}
_RESOLVED_STYLE = (3, "green_circle")


def render(card: Card, url: str, topic: str) -> Request:
    """The message about the first event, with how many more there are; ``url`` is the server's."""
    priority, tag = _RESOLVED_STYLE if card.is_resolved else _STYLES[card.severity]
    message = {
        "topic": topic,
        "title": card.title(HEADLINE_MAX).replace("=?", f"={ZERO_WIDTH_SPACE}?"),
        "message": render_plain_text(card, LIMITS),
        "priority": priority,
        "tags": [tag],
    }
    return Request(msgspec.json.encode(message), url, {"Content-Type": "application/json"})
