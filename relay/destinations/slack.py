"""Messages for a Slack incoming webhook, in Block Kit.

The headline is in the blocks of the message, and the facts are in an attachment with a coloured
bar, since only attachments have a colour. If there are blocks, Slack shows the top-level ``text``
only in push notifications and to screen readers
(https://docs.slack.dev/reference/methods/chat.postMessage).

Names, labels and images are hostile. They are in ``plain_text`` objects, where Slack formats and
links nothing. Nevertheless ``& < >`` are escaped, as Slack requires for every text
(https://docs.slack.dev/messaging/formatting-message-text). Container output and a text of the
configuration are in ``rich_text``, where text is literal: mentions and links are separate elements
there, and an escape would be visible
(https://docs.slack.dev/reference/block-kit/blocks/rich-text-block).

The link of the configuration is such an element too, and no button: a webhook cannot answer the
request that Slack makes of a click on a button, even of one with a ``url``, so Slack would show a
warning beside it (https://github.com/slackapi/node-slack-sdk/issues/869).
"""

import re
from typing import Literal

from relay.config.types import Rate, RateLimit
from relay.core.exchange import Request, Response, ResponseHint
from relay.core.text import escape_with, truncate, utf16_length
from relay.destinations.common.card import Card
from relay.destinations.common.command import is_command
from relay.destinations.common.container_output import HEALTH, LOGS, Output
from relay.destinations.common.pieces import Escapes, PieceKind
from relay.destinations.common.service import ServiceDestination
from relay.destinations.common.slack_compatible import hint_from_slack_error, parse_slack_json

# Slack's limits. It refuses a message if one text is too long.
TEXT_MAX = 40_000
"""The message's ``text``: https://docs.slack.dev/reference/methods/chat.postMessage"""
BLOCKS_MAX = 50
"""The blocks of a message: https://docs.slack.dev/reference/block-kit/blocks"""
HEADER_MAX = 150
"""A header's text: https://docs.slack.dev/reference/block-kit/blocks/header-block"""
FIELDS_MAX = 10
"""A section's fields: https://docs.slack.dev/reference/block-kit/blocks/section-block"""
FIELD_MAX = 2_000
"""A field's text: https://docs.slack.dev/reference/block-kit/blocks/section-block"""
ELEMENTS_MAX = 10
"""A context's elements: https://docs.slack.dev/reference/block-kit/blocks/context-block"""
ELEMENT_MAX = 3_000
"""Any text object: https://docs.slack.dev/reference/block-kit/composition-objects/text-object"""
VALUE_MAX = 500
"""Our own limit for each value. It keeps all blocks together far below the 13,000 characters or so
at which Slack answers ``msg_blocks_too_long``, a limit that it does not document
(https://github.com/slackapi/bolt-js/issues/2509). So no label can silence an alert by its length.
"""
OUTPUT_MAX = {LOGS: 2_000, HEALTH: 1_000}
"""Our own limits, for the same reason: all output of each kind."""
CUSTOM_TEXT_MAX = 3_000
"""Our own limit for the text of the configuration, for the same reason."""
INSPECT_MAX = 2_400
"""All inspect fields together."""
PATH_MAX = 60
"""The path of an inspect field."""

Block = dict[str, object]

_escape = escape_with({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_ESCAPES = Escapes(_escape, _escape, _escape)
_ERROR_CODE = re.compile(rb"\s*([a-z]+(?:_[a-z]+)+|ratelimited)\s*")
"""An error in plain text, such as ``invalid_payload`` or ``channel_not_found``."""


class SlackDestination(ServiceDestination):
    """A Slack incoming webhook."""

    # Discord takes Slack's messages at an address of their own:
    # https://discord.com/developers/docs/resources/webhook#execute-slackcompatible-webhook
    own_urls = (
        r"https://(hooks\.slack(-gov)?\.com/"
        r"|([a-z]+\.)?discord(app)?\.com/api/(v\d+/)?webhooks/\d+/[^/?]+/slack)"
    )

    type: Literal["slack"] = "slack"
    # "no more than one message per second": https://docs.slack.dev/apis/web-api/rate-limits
    rate_limit: RateLimit | None = Rate(1, 1.0)

    def render(self, card: Card) -> Request:
        """Return the message about the first event, with the number of further events."""
        emoji = card.emoji
        header = f"{emoji} {card.title(HEADER_MAX - utf16_length(emoji) - 1, _ESCAPES)}"
        text = f"{header} · {_value(card.host)}" if card.host else header
        message = {
            "text": text,
            "mrkdwn": False,
            "unfurl_links": False,
            "unfurl_media": False,
            "blocks": [{"type": "header", "text": _plain_text(header)}],
            "attachments": [
                {
                    "color": card.colour,
                    "fallback": text,
                    "blocks": _attachment_blocks(card),
                }
            ],
        }
        return self.json_request(message)

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Read an error from plain text, such as ``invalid_payload``, or from JSON."""
        if found := _ERROR_CODE.fullmatch(response.body):
            return hint_from_slack_error(found[1].decode())
        return parse_slack_json(response)


def _attachment_blocks(card: Card) -> list[Block]:
    blocks: list[Block] = []
    if card.body:
        blocks.append(_body_block(card))
    # The line break is relay's: `truncate` leaves none in a value, so no value can look like
    # another field.
    facts = [
        _plain_text(f"{name}\n{_value(value)}")
        for name, value in card.facts
        if not is_command(name)
    ]
    blocks.append({"type": "section", "fields": [_time(card), *facts]})
    blocks += [_command_block(name, value) for name, value in card.facts if is_command(name)]
    inspected = _inspect_fields(card)
    for at in range(0, len(inspected), FIELDS_MAX):
        blocks.append({"type": "section", "fields": inspected[at : at + FIELDS_MAX]})
    limits = card.output_limits(OUTPUT_MAX)
    blocks += [_output_block(output, limits[output.title]) for output in card.output]
    if card.link:
        link = {"type": "link", "url": card.link, "text": card.link_label}
        blocks.append(_rich_text({**link, "style": {"bold": True}}))
    notes = [_plain_text(_value(note)) for note in card.notes]
    return [*blocks, {"type": "context", "elements": notes}]


def _body_block(card: Card) -> Block:
    """Return the custom text, in which only the links of the configuration are links."""
    elements: list[Block] = [
        {"type": "link", "url": text} if kind is PieceKind.LINK else {"type": "text", "text": text}
        for kind, text in card.body_pieces(CUSTOM_TEXT_MAX)
    ]
    return _rich_text(*elements)


def _rich_text(*elements: Block) -> Block:
    return {
        "type": "rich_text",
        "elements": [{"type": "rich_text_section", "elements": elements}],
    }


def _time(card: Card) -> Block:
    """Return the time in the reader's own time zone. It needs ``mrkdwn``, and holds only our text.

    https://docs.slack.dev/messaging/formatting-message-text#date-formatting
    """
    seconds = card.time_ns // 1_000_000_000
    date = f"<!date^{seconds}^{{date_num}} {{time_secs}}|{card.time}>"
    return {"type": "mrkdwn", "text": f"Time\n{date}", "verbatim": True}


def _command_block(name: str, command: str) -> Block:
    """Return a command as code, which people copy without anything beside it."""
    code: Block = {"type": "text", "text": command, "style": {"code": True}}
    return _rich_text({"type": "text", "text": f"{name}: "}, code)


def _inspect_fields(card: Card) -> list[Block]:
    limit = min(VALUE_MAX, card.share_inspect(INSPECT_MAX))
    blocks = []
    for path, value in card.inspect_fields:
        name = truncate(path, PATH_MAX, _escape)
        shown = truncate(value, limit - utf16_length(name) - 1, _escape)
        blocks.append(_plain_text(f"{name}\n{shown}"))
    return blocks


def _output_block(output: Output, limit: int) -> Block:
    """Return container output in a fixed width; only the end of a long text."""
    heading = {"type": "text", "text": output.title, "style": {"bold": True}}
    body = {"type": "text", "text": output.fit(limit)}
    return {
        "type": "rich_text",
        "elements": [
            {"type": "rich_text_section", "elements": [heading]},
            {"type": "rich_text_preformatted", "elements": [body]},
        ],
    }


def _plain_text(text: str) -> Block:
    """Return a text object; ``text`` is escaped already. No ``:name:`` in it becomes an emoji."""
    return {"type": "plain_text", "text": text, "emoji": False}


def _value(text: str) -> str:
    return truncate(text, VALUE_MAX, _escape)
