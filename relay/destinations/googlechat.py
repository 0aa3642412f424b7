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
from relay.core.text import GAP, fit, fit_end, fit_lines, fit_shown, visible
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
SAID_MAX = 1_500
"""The configuration's text, which stands in place of the facts."""
NOTE_MAX = 120
"""Each piece of the small print."""
PRINTED_MAX = {LOGS: 2_000, HEALTH: 1_000}
"""All that was printed of each kind."""

Part = dict[str, object]

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SUBTLE = "#80868b"


def render(card: Card, url: str) -> Request:
    """The message about the first event, with how many more there are."""
    first = [_headline(card), *_said(card), *_facts(card)]
    sections: list[Part] = [{"widgets": first}]
    for title, text in card.printed:
        shown = fit_end(text, PRINTED_MAX[title], _escape)
        sections.append({"header": title, "widgets": [_text(shown)]})
    sections.append({"widgets": [_notes(card.notes)]})
    message = {"fallbackText": _fallback(card), "cardsV2": [{"card": {"sections": sections}}]}
    return Request(msgspec.json.encode(message), url, {"Content-Type": "application/json"})


def _fallback(card: Card) -> str:
    line = f"{card.emoji} {card.title(TITLE_MAX, _plain)}"
    host = card.event.host
    return f"{line} · {fit(host, VALUE_MAX, _plain)}" if host else line


def _headline(card: Card) -> Part:
    return _text(f"{card.emoji} <b>{card.title(TITLE_MAX, _escape)}</b>")


def _said(card: Card) -> list[Part]:
    return [_text(fit_lines(card.said, SAID_MAX, _escape))] if card.said else []


def _facts(card: Card) -> Iterable[Part]:
    yield _fact("Time", card.readable_time)
    for name, value in card.facts:
        yield _fact(name, fit_shown(value, VALUE_MAX, _escape))
    for name, value in card.inspect_fields(INSPECT_MAX, VALUE_MAX, _escape):
        yield _fact(name, value)


def _fact(name: str, value: str) -> Part:
    return {"decoratedText": {"topLabel": name, "text": value, "wrapText": True}}


def _notes(notes: Iterable[str]) -> Part:
    line = " · ".join(fit(note, NOTE_MAX, _escape) for note in notes)
    return _text(f'<font color="{_SUBTLE}">{line}</font>')


def _text(html: str) -> Part:
    return {"textParagraph": {"text": html.replace("\n", "<br>")}}


def _escape(character: str) -> str:
    return _ESCAPES.get(character) or visible(character)


def _plain(character: str) -> str:
    return f"<{GAP}" if character == "<" else visible(character)
