"""Messages for a Rocket.Chat incoming webhook.

The headline is the message's own text, and everything else is in attachments with a coloured bar.
All text that is not relay's own is code: see `relay.destinations.common.slack_compatible`. With
``parseUrls: false`` the server fetches no address for a preview.

The attachments have no title, because phones read a title without a text as Markdown. The server
refuses a message with a field that has no value (``processWebhookMessage``,
``sendMessage`` in https://github.com/RocketChat/Rocket.Chat,
``apps/meteor/app/lib/server/functions``).
"""

from typing import Literal

from relay.core.exchange import Request, Response, ResponseHint
from relay.destinations.common.card import Card
from relay.destinations.common.service import ServiceDestination
from relay.destinations.common.slack_compatible import (
    build_attachments,
    message_text,
    parse_slack_json,
)

TEXT_MAX = 5_000
"""The characters of each text: the default of ``Message_MaxAllowedSize``. The server does not check
it for webhooks, but it does not format longer texts
(https://github.com/RocketChat/Rocket.Chat/blob/develop/apps/meteor/server/settings/message.ts)."""


class RocketChatDestination(ServiceDestination):
    """A Rocket.Chat incoming webhook."""

    type: Literal["rocketchat"] = "rocketchat"

    def render(self, card: Card) -> Request:
        """Return the message about the first event, with the number of further events."""
        message = {
            "text": message_text(card),
            "parseUrls": False,
            "attachments": build_attachments(card),
        }
        return self.json_request(message)

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Read errors as Slack writes them in JSON, or ``{"success": false}``.

        A success is ``{"success": true}`` (``app/integrations/server/api/api.ts``), unless a script
        of the webhook answers with something else.
        """
        return parse_slack_json(response)
