"""A message for a Rocket.Chat incoming webhook.

The headline is the message's own text, everything else stands beside coloured bars, and all that
is not ours in code: see `relay.destinations.common.markdown_attachment`. With
``parseUrls: false`` the server fetches no address to show what is behind it.

An attachment has no title here: on phones a title without a text is read as Markdown. A field
without a value is refused, and the whole message with it (``processWebhookMessage``,
``sendMessage`` in https://github.com/RocketChat/Rocket.Chat,
``apps/meteor/app/lib/server/functions``).
"""

import msgspec

from relay.core.exchange import Request
from relay.destinations.common.card import Card
from relay.destinations.common.markdown_attachment import build_attachments, headline

TEXT_MAX = 5_000
"""Of each text: what ``Message_MaxAllowedSize`` is if nobody changed it. The server does not check
it for webhooks, but longer texts are not formatted
(https://github.com/RocketChat/Rocket.Chat/blob/develop/apps/meteor/server/settings/message.ts)."""


def render(card: Card, url: str) -> Request:
    """The message about the first event, with how many more there are."""
    message = {
        "text": headline(card),
        "parseUrls": False,
        "attachments": build_attachments(card),
    }
    return Request(msgspec.json.encode(message), url, {"Content-Type": "application/json"})
