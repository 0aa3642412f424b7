"""Posts for a Mattermost incoming webhook.

The headline is the post's own text, and everything else is in attachments with a coloured bar. All
text that is not relay's own is code: see `relay.destinations.common.slack_compatible`. A push
notification shows the post's text and the attachment's ``fallback``, plain text that names the
host.

https://developers.mattermost.com/integrate/webhooks/incoming/
"""

from typing import Literal

from relay.core.exchange import Request, Response, ResponseHint
from relay.core.text import truncate
from relay.destinations.common.card import Card
from relay.destinations.common.service import ServiceDestination
from relay.destinations.common.slack_compatible import (
    VALUE_MAX,
    build_attachments,
    message_text,
    parse_slack_json,
)

# Mattermost's limits. It splits a post that is too long.
TEXT_MAX = 16_383
"""A post's text: ``PostMessageMaxRunesV2``
(https://github.com/mattermost/mattermost/blob/master/server/public/model/post.go)."""
PROPS_MAX = 760_000
"""The attachments as JSON: ``PostPropsMaxUserRunes``, in the same file."""


class MattermostDestination(ServiceDestination):
    """A Mattermost incoming webhook."""

    type: Literal["mattermost"] = "mattermost"

    def render(self, card: Card) -> Request:
        """Return the post about the first event, with the number of further events."""
        facts, details = build_attachments(card)
        post = {
            "text": message_text(card),
            "attachments": [{"fallback": truncate(card.host, VALUE_MAX), **facts}, details],
        }
        return self.json_request(post)

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Read errors as Slack writes them in JSON."""
        return parse_slack_json(response)
