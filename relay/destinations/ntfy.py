"""Messages for an ntfy topic, published as JSON.

A message is plain text: relay never asks for Markdown
(https://docs.ntfy.sh/publish/#publish-as-json). The link of the configuration is a button below it
(https://docs.ntfy.sh/publish/#open-websiteapp). What plain text must not contain is described in
`relay.destinations.common.plain_text`. Besides, ntfy decodes a title that looks encoded by RFC 2047
(https://docs.ntfy.sh/publish/#message-title), so a name could introduce line breaks.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from pydantic import SecretStr

from relay.config.errors import ConfigIssue
from relay.config.types import WebhookUrl
from relay.core.exchange import NO_HINT, Request, Response, ResponseHint
from relay.core.severity import Severity
from relay.core.text import ZERO_WIDTH_SPACE
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.common.plain_text import TextLimits, render_plain_text
from relay.destinations.common.responses import (
    ECHO_MAX_BYTES,
    parse_object,
    without,
)
from relay.destinations.common.service import ServiceDestination, text_matching
from relay.destinations.common.webhook import warn_of_path

# ntfy's limits, in bytes: https://docs.ntfy.sh/publish/#limitations
MESSAGE_MAX = 4_096
"""A longer message is sent as an attached file."""
TITLE_MAX = 1_024
"""A message with a longer title is refused."""

HEADLINE_MAX = 200
"""Our own limit, in UTF-16 units."""


def _json_size_bytes(text: str) -> int:
    """Return the size of a text as JSON, which is at least the size that ntfy counts.

    With this size as the limit, a message is also short enough to be read at all: ntfy reads at
    most twice `MESSAGE_MAX` (``transformBodyJSON``, server/server.go in
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
"""Our own limits. With the rest of the message they stay below the 4,000 bytes that Firebase
accepts. ntfy cuts off the end of a longer message, where the end of the log is
(``fcmMessageLimit``, server/server_firebase.go)."""
LINK_CHARS_MAX = 500
"""The link of the configuration, which counts towards those 4,000 bytes too."""
LIMITS_WITH_LINK = msgspec.structs.replace(LIMITS, inspect=350, output={LOGS: 600, HEALTH: 250})
"""With a link, everything else is shorter by as much as the longest link and its name."""

# Each severity is one step louder than the next lower one: from the default priority to the
# highest, which is heard at night. A route can lower its severity. What is over is shown without a
# sound. The tags give the same emoji as other services.
# https://docs.ntfy.sh/publish/#message-priority, https://docs.ntfy.sh/emojis/
_STYLES = {
    Severity.CRITICAL: (5, "red_circle"),
    Severity.WARNING: (4, "orange_circle"),
    Severity.INFO: (3, "large_blue_circle"),
}
_RESOLVED_STYLE = (2, "green_circle")


class NtfyDestination(ServiceDestination):
    """A topic of an ntfy server."""

    max_response_bytes = ECHO_MAX_BYTES
    link_max = LINK_CHARS_MAX
    own_urls = r"https://ntfy\.sh(/|$)"

    type: Literal["ntfy"] = "ntfy"
    url: WebhookUrl = SecretStr("https://ntfy.sh")
    """The URL of the server."""
    # ``topicRegex`` in server/server.go
    topic: Annotated[
        SecretStr,
        text_matching(
            r"[-_A-Za-z0-9]{1,64}",
            "is not a topic: take letters, digits, '-' and '_', at most 64",
        ),
    ]
    """The topic's name; anybody who knows it can read it."""

    def find_warnings(self) -> Iterable[ConfigIssue]:
        """Warn of a path: ntfy cannot be hosted below one, so it is a topic.

        ``base-url`` in cmd/serve.go of https://github.com/binwiederhier/ntfy
        """
        return warn_of_path(self.url, ".", "has a path: write the topic into 'topic'")

    @property
    def recipient(self) -> str:
        """The topic: all topics of a server have the same URL."""
        return self.topic.get_secret_value()

    def render(self, card: Card) -> Request:
        """Return the message about the first event. It contains the topic; the URL does not."""
        priority, tag = _RESOLVED_STYLE if card.is_resolved else _STYLES[card.severity]
        message: dict[str, object] = {
            "topic": self.topic.get_secret_value(),
            "title": card.title(HEADLINE_MAX).replace("=?", f"={ZERO_WIDTH_SPACE}?"),
            "message": render_plain_text(card, LIMITS_WITH_LINK if card.link else LIMITS),
            "priority": priority,
            "tags": [tag],
        }
        if card.link:
            message["actions"] = [{"action": "view", "label": card.link_label, "url": card.link}]
        return self.json_request(message)

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Check that a 2xx has the ``id`` of the message, which ntfy repeats.

        https://docs.ntfy.sh/subscribe/api/#json-message-format
        """
        match parse_object(response.body):
            case {"id": str()}:
                return NO_HINT
        return without(response, "the id of a message")
