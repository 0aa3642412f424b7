"""A message for a Microsoft Teams workflow that is started by a webhook request: an Adaptive Card.

The workflow posts each card among the ``attachments``
(https://learn.microsoft.com/connectors/teams/#microsoft-teams-webhook).

Names, labels and images are hostile. Teams reads Markdown and mentions in a ``TextBlock`` and a
``FactSet`` (https://learn.microsoft.com/microsoftteams/platform/task-modules-and-cards/cards/cards-format),
but not in the runs of a ``RichTextBlock``
(https://learn.microsoft.com/adaptive-cards/schema-explorer/text-run): so nothing else holds a text
here, and nothing has to be escaped. A mention would need an entity in ``msteams`` as well. What is
left are ``{{DATE(…)}}`` and ``{{TIME(…)}}``, which Teams does not know, but Microsoft's own library
puts in place in runs too: a space between the braces leaves them what they are.
"""

import re
from collections.abc import Iterable

import msgspec

from relay.core.exchange import Request
from relay.core.notification import Severity
from relay.core.text import (
    truncate,
    truncate_lines,
    truncate_or_blank,
    truncate_start,
    utf16_length,
)
from relay.destinations.common.card import HEALTH, LOGS, Card

MESSAGE_MAX = 28_000
"""Bytes: https://learn.microsoft.com/connectors/teams/ says "about 28 KB" and not how they are
counted. In UTF-16, ASCII would take twice its length: the message stays below it even so."""

# Ours, in UTF-16 units, none of which takes more than three bytes of JSON: so that all that there
# can be at once stays below `MESSAGE_MAX`.
TITLE_MAX = 200
VALUE_MAX = 200
"""Each fact."""
INSPECT_MAX = 1_200
"""All inspect fields together, with their names."""
CUSTOM_TEXT_MAX = 1_500
"""The configuration's text, which stands in place of the facts."""
NOTE_MAX = 120
"""Each piece of the small print."""
OUTPUT_MAX = {LOGS: 2_000, HEALTH: 1_000}
"""All that was printed of each kind."""

Part = dict[str, object]

_COLOURS = {
    Severity.CRITICAL: "Attention",
    Severity.WARNING: "Warning",
    Severity.INFO: "Accent",
}
_COLOUR_RESOLVED = "Good"
_FUNCTION = re.compile(r"\{\{(?=(?:DATE|TIME)\()")


def render(card: Card, url: str) -> Request:
    """The message about the first event, with how many more there are."""
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.2",  # the first that has all of it: so every client draws it
            "msteams": {"width": "Full"},
            "body": [
                *_headline(card),
                *_facts(card),
                *_output_containers(card),
                _notes(card.notes),
            ],
        },
    }
    message = {"type": "message", "attachments": [attachment]}
    return Request(msgspec.json.encode(message), url, {"Content-Type": "application/json"})


def _headline(card: Card) -> list[Part]:
    colour = _COLOUR_RESOLVED if card.is_resolved else _COLOURS[card.severity]
    title = f"{card.emoji} {card.title(TITLE_MAX - utf16_length(card.emoji) - 1)}"
    blocks = [_block(_run(title, size="Large", weight="Bolder", color=colour))]
    if card.body:
        blocks.append(_block(_run(truncate_lines(card.body, CUSTOM_TEXT_MAX))))
    return blocks


def _facts(card: Card) -> list[Part]:
    facts = [
        ("Time", card.readable_time),
        *((name, truncate_or_blank(value, VALUE_MAX)) for name, value in card.facts),
        *card.fit_inspect_fields(INSPECT_MAX, VALUE_MAX),
    ]
    return [_fact(name, value) for name, value in facts]


def _fact(name: str, value: str) -> Part:
    return _block(_run(f"{name}: ", weight="Bolder"), _run(value), spacing="Small")


def _output_containers(card: Card) -> Iterable[Part]:
    """What was printed, in a fixed width; of a long text the end."""
    for title, text in card.output:
        shown = truncate_start(text, OUTPUT_MAX[title])
        yield {
            "type": "Container",
            "style": "emphasis",
            "items": [
                _block(_run(title, weight="Bolder")),
                _block(_run(shown, fontType="Monospace", size="Small"), spacing="Small"),
            ],
        }


def _notes(notes: Iterable[str]) -> Part:
    line = " · ".join(truncate(note, NOTE_MAX) for note in notes)
    return _block(_run(line, size="Small", isSubtle=True), separator=True)


def _block(*runs: Part, **look: object) -> Part:
    return {"type": "RichTextBlock", "inlines": runs, **look}


def _run(text: str, **look: object) -> Part:
    return {"type": "TextRun", "text": _FUNCTION.sub("{ {", text), **look}
