"""A message for a Slack incoming webhook, in Block Kit.

The headline stands in the message's own blocks, the facts beside a coloured bar in an attachment
(only attachments have a colour). With blocks there, Slack shows the top-level ``text`` in push
notifications and to screen readers only
(https://docs.slack.dev/reference/methods/chat.postMessage).

Names, labels and images are hostile. They go into ``plain_text`` objects, where Slack formats and
links nothing, and ``& < >`` are escaped all the same, as Slack asks for every text
(https://docs.slack.dev/messaging/formatting-message-text). What a container printed goes into
``rich_text``, where text is taken as it is: mentions and links are elements of their own there, and
an escape would show (https://docs.slack.dev/reference/block-kit/blocks/rich-text-block).
"""

from collections.abc import Sequence

import msgspec

from relay.core.exchange import Request
from relay.core.text import (
    escape_unprintable,
    truncate,
    truncate_lines,
    truncate_start,
    utf16_length,
)
from relay.destinations.common.card import HEALTH, LOGS, Card

# Slack's limits. It refuses a whole message for one text that is too long.
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
"""Ours, for each value, below all of the above: it keeps the sum of the blocks far from the 13,000
characters or so at which Slack answers ``msg_blocks_too_long``, which it does not document
(https://github.com/slackapi/bolt-js/issues/2509). No label can silence an alert by its length."""
OUTPUT_MAX = {LOGS: 2_000, HEALTH: 1_000}
"""Ours, for the same reason: all that was printed of each kind."""
CUSTOM_TEXT_MAX = 3_000
"""The configuration's text: https://docs.slack.dev/reference/block-kit/blocks/section-block"""
INSPECT_MAX = 2_400
"""All inspect fields together."""
PATH_MAX = 60
"""The name of one."""

Block = dict[str, object]

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def render(card: Card, url: str) -> Request:
    """The message about the first event, with how many more there are."""
    emoji = card.emoji
    header = f"{emoji} {card.title(HEADER_MAX - utf16_length(emoji) - 1, _escape)}"
    text = f"{header} · {_value(card.event.host)}" if card.event.host else header
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
                "blocks": [
                    *_body(card),
                    {"type": "section", "fields": _fields(card)},
                    *_included_blocks(card),
                    {"type": "context", "elements": [_plain_text(_value(it)) for it in card.notes]},
                ],
            }
        ],
    }
    return Request(msgspec.json.encode(message), url, {"Content-Type": "application/json"})


def _body(card: Card) -> list[Block]:
    if not card.body:
        return []
    return [
        {
            "type": "section",
            "text": _plain_text(truncate_lines(card.body, CUSTOM_TEXT_MAX, _escape)),
        }
    ]


def _fields(card: Card) -> list[Block]:
    # The line break is ours: `fit` leaves none in a value, so no value can pass for a field.
    fields = [_plain_text(f"{name}\n{_value(value)}") for name, value in card.facts]
    return [_time(card), *fields]


def _time(card: Card) -> Block:
    """In the reader's own time zone, which needs ``mrkdwn``; all of it is our own text.

    https://docs.slack.dev/messaging/formatting-message-text#date-formatting
    """
    seconds = card.event.time_ns // 1_000_000_000
    date = f"<!date^{seconds}^{{date_num}} {{time_secs}}|{card.time}>"
    return {"type": "mrkdwn", "text": f"Time\n{date}", "verbatim": True}


def _included_blocks(card: Card) -> list[Block]:
    fields = _inspect_fields(card.inspect_fields)
    sections: list[Block] = [
        {"type": "section", "fields": fields[at : at + FIELDS_MAX]}
        for at in range(0, len(fields), FIELDS_MAX)
    ]
    return sections + [_output_block(title, text, OUTPUT_MAX[title]) for title, text in card.output]


def _inspect_fields(inspected: Sequence[tuple[str, str]]) -> list[Block]:
    each = min(VALUE_MAX, INSPECT_MAX // max(1, len(inspected)))
    fields = []
    for path, value in inspected:
        name = truncate(path, PATH_MAX, _escape)
        fields.append(
            _plain_text(f"{name}\n{truncate(value, each - utf16_length(name) - 1, _escape)}")
        )
    return fields


def _output_block(title: str, text: str, limit: int) -> Block:
    """What was printed, in a fixed width; of a long text the end."""
    heading = {"type": "text", "text": title, "style": {"bold": True}}
    body = {"type": "text", "text": truncate_start(text, limit)}
    return {
        "type": "rich_text",
        "elements": [
            {"type": "rich_text_section", "elements": [heading]},
            {"type": "rich_text_preformatted", "elements": [body]},
        ],
    }


def _plain_text(text: str) -> Block:
    """``text`` is escaped already. ``emoji: false`` keeps a ``:name:`` in it from becoming one."""
    return {"type": "plain_text", "text": text, "emoji": False}


def _value(text: str) -> str:
    return truncate(text, VALUE_MAX, _escape)


def _escape(character: str) -> str:
    return _ESCAPES.get(character) or escape_unprintable(character)
