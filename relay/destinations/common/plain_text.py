"""Renders a card as plain text, for apps on phones that show no markup.

Such apps still turn addresses into links. The apps of ntfy and Gotify for Android use ``Linkify``,
which links anything after ``://`` and any host whose last part is a top-level domain
(https://developer.android.com/reference/android/util/Patterns); ntfy's web app links anything
after ``http://``. A zero-width space in ``://`` and after every dot within a word prevents all of
these links.

Names, labels and images are hostile, but each is on one line, which begins with a name of relay's.
Container output keeps its line breaks: each of its lines begins with a bar.
"""

import re
from collections.abc import Callable, Mapping

import msgspec

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

FitText = Callable[[str, int], str]

_BAR = "│ "
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=\.)(?=\w)")


class TextLimits(msgspec.Struct, frozen=True):
    """The limit of each part of a text, in the unit that ``size`` counts."""

    size: Callable[[str], int]
    value: int
    """Each fact."""
    custom_text: int
    """The text of the configuration, which replaces the facts."""
    inspect: int
    """All inspect fields together, with their paths."""
    output: Mapping[str, int]
    """All output of each kind, by its title."""
    notes: int
    """All notes together."""


def render_plain_text(card: Card, limits: TextLimits) -> str:
    """Return everything except the headline, without links; never blank."""
    lines = [*_custom_text(card, limits), *_facts(card, limits), *_inspect_lines(card, limits)]
    notes = _fit(" · ".join(card.notes), limits.notes, limits)
    return "\n\n".join(["\n".join(lines), *_output_sections(card, limits), notes])


def break_links(text: str) -> str:
    """Insert a `ZERO_WIDTH_SPACE` wherever an app would find a link."""
    return _ADDRESS.sub(ZERO_WIDTH_SPACE, text)


def _custom_text(card: Card, limits: TextLimits) -> list[str]:
    return [_fit(card.body, limits.custom_text, limits, truncate_lines)] if card.body else []


def _facts(card: Card, limits: TextLimits) -> list[str]:
    # The time is last: a phone's lock screen shows the first lines, and its own time.
    facts = [*card.facts, ("Time", card.time)]
    return [f"{name}: {_fit(value, limits.value, limits)}" for name, value in facts]


def _inspect_lines(card: Card, limits: TextLimits) -> list[str]:
    each = limits.inspect // max(1, len(card.inspect_fields)) - 2
    lines = (f"{truncate(path, each // 2)}: {value}" for path, value in card.inspect_fields)
    return [_fit(line, each, limits) for line in lines]


def _output_sections(card: Card, limits: TextLimits) -> list[str]:
    return [
        f"{title}:\n{_fit(text, limits.output[title], limits, _truncate_with_bars)}"
        for title, text in card.output
    ]


def _truncate_with_bars(text: str, limit: int) -> str:
    """Return the end of a text, a bar before each line."""
    return "\n".join(f"{_BAR}{line}" for line in truncate_start(text, limit).split("\n"))


def _fit(text: str, limit: int, limits: TextLimits, truncate_text: FitText = truncate) -> str:
    """Return ``text`` without links. Its ``limits.size`` is at most ``limit``.

    ``limit`` is at least 20. `break_links` lengthens a text, so it is truncated further until the
    result fits.
    """
    allowed = limit
    while (size := limits.size(shown := break_links(truncate_text(text, allowed)))) > limit:
        allowed = allowed * limit // size
    return shown


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
    if fields := _inspect_blocks(card):
        parts += [f"**{INSPECT_TITLE}**", _code_block(fields)]
    for title, text in card.output:
        parts += [f"**{title}**", _code_block(truncate_start(text, OUTPUT_MAX[title], _escape))]
    return "\n\n".join([*parts, " · ".join(_inline_code(note, NOTE_MAX) for note in card.notes)])


def _inspect_blocks(card: Card) -> str:
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
