"""A message for a Google Chat webhook: a card.

Names, labels and images are hostile. The ``text`` of a message knows mentions (``<users/all>``),
links and Markdown, so there is none. A card's texts know none of these but HTML
(https://developers.google.com/workspace/chat/format-messages#card-formatting): there ``& < >`` are
escaped. The headline is such a text too, and no header of the card: that has a fixed height, and
nothing says whether it is HTML. What a phone notifies of, ``fallbackText``, is plain, and an escape
would show: there a space without width behind every ``<`` leaves no mention to find.
"""

from collections.abc import Iterable

import msgspec

from relay.core.exchange import Request
from relay.core.text import (
    ZERO_WIDTH_SPACE,
    escape_unprintable,
    truncate,
    truncate_lines,
    truncate_or_blank,
    truncate_start,
)
from relay.destinations.common.card import HEALTH, LOGS, Card

MESSAGE_MAX = 32_000
"""Bytes: https://developers.google.com/workspace/chat/create-messages"""
WIDGETS_MAX = 100
"""Of a card: https://developers.google.com/workspace/chat/api/reference/rest/v1/cards"""

# Ours, in UTF-16 units, none of which takes more than four bytes of JSON (a line break, as a tag):
# so that all that there can be at once stays below `MESSAGE_MAX`.
TITLE_MAX = 200
VALUE_MAX = 200
"""Each fact."""
INSPECT_MAX = 1_500
"""All inspect fields together, with their names."""
CUSTOM_TEXT_MAX = 1_500
"""The configuration's text, which stands in place of the facts."""
NOTE_MAX = 120
"""Each piece of the small print."""
OUTPUT_MAX = {LOGS: 2_000, HEALTH: 1_000}
"""All that was printed of each kind."""

Part = dict[str, object]

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_NOTE_COLOUR = "#80868b"


def render(card: Card, url: str) -> Request:
    """The message about the first event, with how many more there are."""
    first = [_headline(card), *_body(card), *_facts(card)]
    sections: list[Part] = [{"widgets": first}]
    for title, text in card.output:
        shown = truncate_start(text, OUTPUT_MAX[title], _escape)
        sections.append({"header": title, "widgets": [_paragraph(shown)]})
    sections.append({"widgets": [_notes(card.notes)]})
    message = {"fallbackText": _fallback(card), "cardsV2": [{"card": {"sections": sections}}]}
    return Request(msgspec.json.encode(message), url, {"Content-Type": "application/json"})


def _fallback(card: Card) -> str:
    line = f"{card.emoji} {card.title(TITLE_MAX, _escape_fallback)}"
    host = card.event.host
    return f"{line} · {truncate(host, VALUE_MAX, _escape_fallback)}" if host else line


def _headline(card: Card) -> Part:
    return _paragraph(f"{card.emoji} <b>{card.title(TITLE_MAX, _escape)}</b>")


def _body(card: Card) -> list[Part]:
    return [_paragraph(truncate_lines(card.body, CUSTOM_TEXT_MAX, _escape))] if card.body else []


def _facts(card: Card) -> Iterable[Part]:
    yield _fact("Time", card.readable_time)
    for name, value in card.facts:
        yield _fact(name, truncate_or_blank(value, VALUE_MAX, _escape))
    for name, value in card.fit_inspect_fields(INSPECT_MAX, VALUE_MAX, _escape):
        yield _fact(name, value)


def _fact(name: str, value: str) -> Part:
    return {"decoratedText": {"topLabel": name, "text": value, "wrapText": True}}


def _notes(notes: Iterable[str]) -> Part:
    line = " · ".join(truncate(note, NOTE_MAX, _escape) for note in notes)
    return _paragraph(f'<font color="{_NOTE_COLOUR}">{line}</font>')


def _paragraph(html: str) -> Part:
    return {"textParagraph": {"text": html.replace("\n", "<br>")}}


def _escape(character: str) -> str:
    return _ESCAPES.get(character) or escape_unprintable(character)


def _escape_fallback(character: str) -> str:
    return f"<{ZERO_WIDTH_SPACE}" if character == "<" else escape_unprintable(character)
