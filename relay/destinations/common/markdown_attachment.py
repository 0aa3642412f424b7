"""What Mattermost and Rocket.Chat make of a card: Slack's attachments, with Markdown in the texts.

Names, labels and images are hostile, and the two make more of a text than Markdown has escapes
for: mentions (``@all``, ``#channel``, ``~channel``), emoji codes, links to bare addresses, formulas
between ``$``. A backslash stops only some of it, and not in every one of their parsers: each has
one for the server, one for browsers and one for phones. But all of them take code as it is. So
nothing that is not ours stands outside of code, in a line or in a block, and no backtick inside:

- Mattermost's server looks for mentions in texts and not in code (``server/channels/app``,
  ``getExplicitMentions``), its clients format none of it.
- Rocket.Chat's parser ends code at the next backtick only (``packages/message-parser``,
  ``InlineCode`` and ``Code``), and its browser client puts emoji in code back to what they were.

What code does not hide is in the headline, as `_escape_headline` says.

The paths are those of https://github.com/mattermost/mattermost and, below ``apps/meteor`` where it
is not a package, https://github.com/RocketChat/Rocket.Chat. What an attachment may hold:
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

# Ours: they keep every text below the 5,000 characters that Rocket.Chat formats, and all of them
# together below the 16,383 that Mattermost takes in a single one.
HEADLINE_MAX = 200
VALUE_MAX = 500
"""Each fact."""
CUSTOM_TEXT_MAX = 3_000
"""The configuration's text, which stands in place of the facts."""
INSPECT_MAX = 1_000
"""All inspect fields together, with their names."""
OUTPUT_MAX = {LOGS: 2_000, HEALTH: 1_000}
"""All that was printed of each kind."""
NOTE_MAX = 110
"""Each piece of the small print."""

INSPECT_TITLE = "Inspected"

Attachment = dict[str, object]

_BACKTICK = "\u02cb"
"""MODIFIER LETTER GRAVE ACCENT, which looks like one and ends no code."""


def headline(card: Card) -> str:
    """The headline, for the message's own text: what is shown in push notifications too.

    It is not bold: for Mattermost's browser client that ends at the next ``**``, in code or not.
    """
    return f"{card.emoji} `{card.title(HEADLINE_MAX, _escape_headline)}`"


def build_attachments(card: Card) -> list[Attachment]:
    """The facts, and below them what was included and the small print."""
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
    # A blank line around every block: to the parser of Rocket.Chat's browser client, a line of
    # dashes in a log would else make a heading of all above it, and end the block.
    parts = (
        [f"**{INSPECT_TITLE}**", _code_block(inspected)]
        if (inspected := _inspect_lines(card))
        else []
    )
    for title, text in card.output:
        parts += [f"**{title}**", _code_block(truncate_start(text, OUTPUT_MAX[title], _escape))]
    return "\n\n".join([*parts, " · ".join(_inline_code(note, NOTE_MAX) for note in card.notes)])


def _inspect_lines(card: Card) -> str:
    """A line each; `fit` leaves no line break in one."""
    each = INSPECT_MAX // max(1, len(card.inspect_fields))
    lines = []
    for path, value in card.inspect_fields:
        name = truncate(path, each // 2, _escape)
        lines.append(f"{name}: {truncate(value, each - utf16_length(name) - 3, _escape)}")
    return "\n".join(lines)


def _code_block(text: str) -> str:
    """``text`` has no backtick. A word right behind ours would be taken for a language."""
    return f"```\n{text}\n```"


def _inline_code(text: str, limit: int) -> str:
    return f"`{truncate_or_blank(text, limit, _escape)}`"


def _escape(character: str) -> str:
    return _BACKTICK if character == "`" else escape_unprintable(character)


def _escape_headline(character: str) -> str:
    """For the message's own text, in which patterns are looked for in code as well.

    Rocket.Chat finds whom to notify there (``app/mentions/lib/MentionsParser``), Mattermost the
    hashtags to be searched for (``server/public/model``, ``ParseHashtags``).
    """
    return f"{character}{ZERO_WIDTH_SPACE}" if character in "@#" else _escape(character)
