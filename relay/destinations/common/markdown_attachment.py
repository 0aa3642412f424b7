"""Renders a card for Mattermost and Rocket.Chat: Slack's attachments with Markdown in the texts.

Names, labels and images are hostile. Both services recognise more than Markdown can escape:
mentions (``@all``, ``#channel``, ``~channel``), emoji codes, bare addresses, formulas between
``$``. A backslash prevents only some of these, and not in every parser: each service has one parser
on the server, one in browsers and one on phones. None of them interprets code. So every text that
is not relay's own is inline code or a code block, and contains no backtick:

- Mattermost's server looks for mentions in texts and not in code (``server/channels/app``,
  ``getExplicitMentions``), and its clients do not format code.
- Rocket.Chat's parser ends code only at the next backtick (``packages/message-parser``,
  ``InlineCode`` and ``Code``), and its browser client restores emoji in code.

Code does not protect the headline entirely: see `_escape_headline`.

The paths are those of https://github.com/mattermost/mattermost and, below ``apps/meteor`` unless it
is a package, of https://github.com/RocketChat/Rocket.Chat. The fields of an attachment:
https://docs.mattermost.com/developers/integrate/reference/message-attachments
"""

from relay.core.text import (
    ZERO_WIDTH_SPACE,
    escape_unprintable,
    truncate,
    truncate_lines,
    truncate_or_blank,
    truncate_start,
    utf16_length,
)
from relay.destinations.common.card import HEALTH, LOGS, Card

# Our own limits, in UTF-16 units. They keep every text below the 5,000 characters that Rocket.Chat
# formats, and all texts together below the 16,383 that Mattermost accepts in a single one.
HEADLINE_MAX = 200
VALUE_MAX = 500
"""Each fact."""
CUSTOM_TEXT_MAX = 3_000
"""The text of the configuration, which replaces the facts."""
INSPECT_MAX = 1_000
"""All inspect fields together, with their paths."""
OUTPUT_MAX = {LOGS: 2_000, HEALTH: 1_000}
"""All output of each kind."""
NOTE_MAX = 110
"""Each note."""

INSPECT_TITLE = "Inspected"

Attachment = dict[str, object]

_BACKTICK = "\u02cb"
"""MODIFIER LETTER GRAVE ACCENT, which looks like a backtick and does not end code."""


def headline(card: Card) -> str:
    """Return the message's own text, which push notifications show too.

    It is not bold, because Mattermost's browser client ends bold text at the next ``**``, even in
    code.
    """
    return f"{card.emoji} `{card.title(HEADLINE_MAX, _escape_headline)}`"


def build_attachments(card: Card) -> list[Attachment]:
    """Return two attachments: the facts, and below them what is included and the notes."""
    facts: Attachment = {"color": card.colour, "fields": _fields(card)}
    if card.body:
        facts["text"] = _code_block(truncate_lines(card.body, CUSTOM_TEXT_MAX, _escape))
    return [facts, {"color": card.colour, "text": _details(card)}]


def _fields(card: Card) -> list[dict[str, object]]:
    return [
        {"title": name, "value": _inline_code(value, VALUE_MAX), "short": True}
        for name, value in (("Time", card.time), *card.facts)
    ]


def _details(card: Card) -> str:
    # Blank lines around every block: otherwise the parser of Rocket.Chat's browser client takes a
    # line of dashes in a log for the underline of a heading, which ends the block.
    parts = []
    if fields := _inspect_lines(card):
        parts += [f"**{INSPECT_TITLE}**", _code_block(fields)]
    for title, text in card.output:
        parts += [f"**{title}**", _code_block(truncate_start(text, OUTPUT_MAX[title], _escape))]
    return "\n\n".join([*parts, " · ".join(_inline_code(note, NOTE_MAX) for note in card.notes)])


def _inspect_lines(card: Card) -> str:
    """Return one line per field; `truncate` escapes line breaks."""
    each = INSPECT_MAX // max(1, len(card.inspect_fields))
    lines = []
    for path, value in card.inspect_fields:
        name = truncate(path, each // 2, _escape)
        lines.append(f"{name}: {truncate(value, each - utf16_length(name) - 3, _escape)}")
    return "\n".join(lines)


def _code_block(text: str) -> str:
    """Return a code block. ``text`` has no backtick and its own lines: a word right after the
    backticks would be taken for a language."""
    return f"```\n{text}\n```"


def _inline_code(text: str, limit: int) -> str:
    return f"`{truncate_or_blank(text, limit, _escape)}`"


def _escape(character: str) -> str:
    return _BACKTICK if character == "`" else escape_unprintable(character)


def _escape_headline(character: str) -> str:
    """Escape a character of the message's own text, where code is searched too.

    Rocket.Chat looks for people to notify there (``app/mentions/lib/MentionsParser``), Mattermost
    for hashtags (``server/public/model``, ``ParseHashtags``).
    """
    return f"{character}{ZERO_WIDTH_SPACE}" if character in "@#" else _escape(character)
