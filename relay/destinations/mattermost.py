"""A message for a Mattermost incoming webhook.

The headline is the post's own text, everything else stands beside coloured bars, and all that is
not ours in code: see `relay.destinations.common.markdown_attachment`. A push notification is the
text, and below it the attachment's ``fallback``, which is plain text: it names the host.

https://developers.mattermost.com/integrate/webhooks/incoming/
"""

import msgspec

from relay.core.exchange import Request
from relay.core.text import truncate
from relay.destinations.common.card import Card
from relay.destinations.common.markdown_attachment import VALUE_MAX, build_attachments, headline

# Mattermost's limits. It makes several posts of one that is too long.
TEXT_MAX = 16_383
"""A post's text: ``PostMessageMaxRunesV2``
(https://github.com/mattermost/mattermost/blob/master/server/public/model/post.go)."""
PROPS_MAX = 760_000
"""The attachments as JSON: ``PostPropsMaxUserRunes``, at the same place."""


def render(card: Card, url: str) -> Request:
    """The post about the first event, with how many more there are."""
    facts, details = build_attachments(card)
    post = {
        "text": headline(card),
        "attachments": [{"fallback": truncate(card.event.host, VALUE_MAX), **facts}, details],
    }
    return Request(msgspec.json.encode(post), url, {"Content-Type": "application/json"})
