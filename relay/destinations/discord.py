r"""A message for a Discord webhook: one embed.

Names, labels and images are hostile, and Discord reads Markdown in an embed's title, description
and fields; a footer it takes as it is (https://github.com/Pycord-Development/pycord/issues/96).
Before every character that could begin something stands a backslash: it takes the meaning from any
ASCII punctuation, is not shown, and, unlike an invisible character, is not copied along with a
name. So ``\<`` makes no mention, channel, emoji or timestamp
(https://discord.com/developers/docs/reference#message-formatting), ``\[`` no link with a text,
``\#``, ``\-``, ``\>`` and ``1\.`` no heading, list or quote, and ``\:`` no emoji code and no link:
an address becomes one by its ``://`` only.

A code block knows no backslash and no markup but its end, three backticks: in what a container
printed an invisible space stands behind each, so that no two are neighbours.

Nobody is ever notified: ``allowed_mentions`` allows none, whatever the text.
"""

import msgspec

from relay.core.event import format_rfc3339
from relay.core.exchange import Request
from relay.core.text import (
    ELLIPSIS,
    ZERO_WIDTH_SPACE,
    escape_unprintable,
    truncate,
    truncate_lines,
    truncate_or_blank,
    truncate_start,
    utf16_length,
)
from relay.destinations.common.card import HEALTH, LOGS, Card

# Discord's limits: https://discord.com/developers/docs/resources/message#embed-object-embed-limits
# It refuses a whole message for one text that is too long, or is blank where one has to be.
TITLE_MAX = 256
DESCRIPTION_MAX = 4_096
FIELDS_MAX = 25
FIELD_NAME_MAX = 256
FIELD_VALUE_MAX = 1_024
FOOTER_MAX = 2_048
TOTAL_MAX = 6_000
"""All of the above together: title, description, names, values and footer."""

# Ours: so that even all that there can be stays within `TOTAL_MAX`.
VALUE_MAX = 200
"""Each fact."""
INSPECT_MAX = 1_200
"""All inspect fields together, with their names."""
NOTE_MAX = 150
"""Each piece of the footer."""
OUTPUT_MAX = {LOGS: 2_000, HEALTH: 900}
"""All that was printed of each kind."""
CUSTOM_TEXT_MAX = 3_980
"""The configuration's text (which stands in place of the facts) and what was printed."""

Part = dict[str, object]

_MARKDOWN_CHARACTERS = frozenset("\\`*_~|<>[]#@:-.")


def render(card: Card, url: str) -> Request:
    """The message about the first event, with how many more there are."""
    message = {"embeds": [_embed(card)], "allowed_mentions": {"parse": []}}
    return Request(msgspec.json.encode(message), url, {"Content-Type": "application/json"})


def _embed(card: Card) -> Part:
    title = card.title(TITLE_MAX - utf16_length(card.emoji) - 1, _escape)
    embed: Part = {
        "title": f"{card.emoji} {title}",
        "color": int(card.colour.removeprefix("#"), 16),
        "fields": _fields(card),
        "footer": {"text": " · ".join(truncate(note, NOTE_MAX) for note in card.notes)},
        "timestamp": f"{format_rfc3339(card.event.time_ns)[:23]}Z",
    }
    if description := _description(card):
        embed["description"] = description
    return embed


def _description(card: Card) -> str:
    blocks = [_output_block(title, text) for title, text in card.output]
    if card.body:
        room = CUSTOM_TEXT_MAX - sum(utf16_length(block) + 1 for block in blocks)
        blocks.insert(0, truncate_lines(card.body, room, _escape))
    return "\n".join(blocks)


def _output_block(title: str, text: str) -> str:
    """What was printed, in a fixed width; of a long text the end.

    Discord takes a word right behind the backticks for a language: ours has a line to itself.
    """
    return f"**{title}**\n```\n{truncate_start(text, OUTPUT_MAX[title], _escape_in_code)}\n```"


def _fields(card: Card) -> list[Part]:
    facts = [(name, truncate_or_blank(value, VALUE_MAX, _escape)) for name, value in card.facts]
    inspected = card.fit_inspect_fields(INSPECT_MAX, VALUE_MAX, _escape)
    fields = [_field(name, value) for name, value in (*facts, *inspected)]
    if len(fields) > FIELDS_MAX:
        more = len(fields) - FIELDS_MAX + 1
        fields[FIELDS_MAX - 1 :] = [_field(ELLIPSIS, f"and {more} more")]
    return fields


def _field(name: str, value: str) -> Part:
    """Both are escaped already."""
    return {"name": name, "value": value, "inline": True}


def _escape(character: str) -> str:
    if character in _MARKDOWN_CHARACTERS:
        return f"\\{character}"
    return escape_unprintable(character).replace("\\", "\\\\")


def _escape_in_code(character: str) -> str:
    return f"`{ZERO_WIDTH_SPACE}" if character == "`" else escape_unprintable(character)
