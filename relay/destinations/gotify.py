"""Messages for a Gotify application.

A message declares that it is plain text. Otherwise Gotify's clients could read Markdown in it, and
load its images (https://gotify.net/docs/msgextras#clientdisplay). What plain text must not contain
is described in `relay.destinations.common.plain_text`.

The link of the configuration opens when the notification is touched
(https://gotify.net/docs/msgextras#clientnotification), and is the last line of the text, since
nothing else shows it in the browser.
"""

from collections.abc import Iterable
from typing import Literal

from relay.config.errors import ConfigIssue
from relay.config.types import Secret
from relay.core.exchange import NO_HINT, Request, Response, ResponseHint
from relay.core.severity import Severity
from relay.core.text import utf16_length
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.common.plain_text import TextLimits, render_plain_text
from relay.destinations.common.responses import (
    ECHO_MAX_BYTES,
    parse_object,
    without,
)
from relay.destinations.common.service import ServiceDestination
from relay.destinations.common.webhook import append_path, warn_of_path

MESSAGE_MAX = 65_535
"""In bytes: the size of a text column in MySQL, the narrowest of Gotify's databases
(https://github.com/gotify/server/blob/master/model/message.go)."""

# Our own limits, in UTF-16 units: more than a phone shows, and far less than `MESSAGE_MAX`.
HEADLINE_MAX = 200
LIMITS = TextLimits(
    size=utf16_length,
    value=500,
    custom_text=3_000,
    inspect=2_400,
    output={LOGS: 2_000, HEALTH: 1_000},
    notes=500,
)

# One priority for each of the three ways in which phones notify: silently, with a sound, with a
# sound and vibration. https://github.com/gotify/android#message-priorities
_PRIORITIES = {Severity.CRITICAL: 8, Severity.WARNING: 5, Severity.INFO: 2}
_PRIORITY_RESOLVED = 2

_EXTRAS = {"client::display": {"contentType": "text/plain"}}


class GotifyDestination(ServiceDestination):
    """An application of a Gotify server."""

    max_response_bytes = ECHO_MAX_BYTES

    type: Literal["gotify"] = "gotify"
    token: Secret
    """The token of an application."""

    def find_warnings(self) -> Iterable[ConfigIssue]:
        """Warn of a URL to which the path of the API is appended a second time."""
        return warn_of_path(self.url, r"/message/?$")

    @property
    def endpoint(self) -> str:
        """The URL of the server's messages."""
        return append_path(super().endpoint, "/message")

    def render(self, card: Card) -> Request:
        """Return the message about the first event, with the number of further events."""
        message = {
            "title": f"{card.emoji} {card.title(HEADLINE_MAX)}",
            "message": render_plain_text(card, LIMITS, with_link=True),
            "priority": _PRIORITY_RESOLVED if card.is_resolved else _PRIORITIES[card.severity],
            "extras": _EXTRAS,
        }
        if card.link:
            message["extras"] = {**_EXTRAS, "client::notification": {"click": {"url": card.link}}}
        return self.json_request(message, {"X-Gotify-Key": self.token.get_secret_value()})

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Check that a 2xx has the ``id`` of the message, which Gotify repeats.

        https://gotify.net/api-docs#/message/createMessage
        """
        match parse_object(response.body):
            case {"id": int()}:
                return NO_HINT
        return without(response, "the id of a message")
