"""Messages for a Google Chat webhook: one card each.

Names, labels and images are hostile. The ``text`` of a message may hold mentions (``<users/all>``),
links and Markdown, so relay sends none. The texts of a card are HTML and hold none of these
(https://developers.google.com/workspace/chat/format-messages#card-formatting): there ``& < >`` are
escaped, and only a link of the configuration is an ``a``. The headline is such a text too, and not
the header of the card: a header has a fixed height, and no document says whether it is HTML.
``fallbackText``, which phones show in their notifications, is plain text, where an escape would be
visible: a zero-width space after every ``<`` prevents mentions there. The link of the configuration
is a button (https://developers.google.com/workspace/chat/api/reference/rest/v1/cards#buttonlist).
"""

from collections.abc import Iterable
from typing import Literal

from relay.config.types import Rate, RateLimit
from relay.core.exchange import NO_HINT, Request, Response, ResponseHint
from relay.core.text import (
    ZERO_WIDTH_SPACE,
    escape_unprintable,
    escape_with,
    truncate,
)
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.common.pieces import Escapes, Piece, PieceKind
from relay.destinations.common.responses import (
    ECHO_MAX_BYTES,
    ERROR_STATUSES,
    parse_object,
    without,
)
from relay.destinations.common.service import ServiceDestination

MESSAGE_MAX = 32_000
"""In bytes: https://developers.google.com/workspace/chat/create-messages"""
WIDGETS_MAX = 100
"""The widgets of a card:
https://developers.google.com/workspace/chat/api/reference/rest/v1/cards"""

# Our own limits, in UTF-16 units. A unit takes at most four bytes of JSON (a line break, as a tag),
# so the longest possible message stays below `MESSAGE_MAX`.
TITLE_MAX = 200
VALUE_MAX = 200
"""Each fact."""
INSPECT_MAX = 1_500
"""All inspect fields together, with their paths."""
CUSTOM_TEXT_MAX = 1_500
"""The text of the configuration, which replaces the facts."""
NOTE_MAX = 120
"""Each note."""
OUTPUT_MAX = {LOGS: 2_000, HEALTH: 1_000}
"""All output of each kind."""

Part = dict[str, object]

_escape = escape_with({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_ESCAPES = Escapes(_escape, _escape, _escape)
_NOTE_COLOUR = "#80868b"


class GoogleChatDestination(ServiceDestination):
    """A Google Chat webhook."""

    max_response_bytes = ECHO_MAX_BYTES
    own_urls = r"https://chat\.googleapis\.com/"

    type: Literal["googlechat"] = "googlechat"
    # one a second and space: https://developers.google.com/workspace/chat/limits
    rate_limit: RateLimit | None = Rate(1, 1.0)

    def render(self, card: Card) -> Request:
        """Return the message about the first event, with the number of further events."""
        fallback = f"{card.emoji} {card.title(TITLE_MAX, _FALLBACK_ESCAPES)}"
        if host := card.host:
            fallback += f" · {truncate(host, VALUE_MAX, _escape_fallback)}"
        message = {"fallbackText": fallback, "cardsV2": [{"card": {"sections": _sections(card)}}]}
        return self.json_request(message)

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Read the code of an error: ``{"error": {"code": 429, …}}``.

        A success is the message, of which a webhook gets the ``name``.
        https://google.aip.dev/193,
        https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages/create
        """
        match parse_object(response.body):
            case {"error": {"code": int(code)}} if code in ERROR_STATUSES:
                return ResponseHint(status=code)
            case {"name": str()}:
                return NO_HINT
        return without(response, "the name of a message")


def _sections(card: Card) -> list[Part]:
    first = [_paragraph(f"{card.emoji} <b>{_html(card.title_pieces(TITLE_MAX, _ESCAPES))}</b>")]
    if card.body:
        first.append(_paragraph(_html(card.body_pieces(CUSTOM_TEXT_MAX, _ESCAPES))))
    facts = [
        ("Time", card.readable_time),
        *card.fit_facts(VALUE_MAX, _escape),
        *card.fit_inspect_fields(INSPECT_MAX, VALUE_MAX, _escape),
    ]
    first += [_fact(name, value) for name, value in facts]
    sections: list[Part] = [{"widgets": first}]
    for output in card.output:
        shown = output.fit(OUTPUT_MAX[output.title], _escape)
        sections.append({"header": output.title, "widgets": [_paragraph(shown)]})
    if card.link:
        button = {"text": card.link_label, "onClick": {"openLink": {"url": card.link}}}
        sections.append({"widgets": [{"buttonList": {"buttons": [button]}}]})
    notes = " · ".join(truncate(note, NOTE_MAX, _escape) for note in card.notes)
    sections.append({"widgets": [_paragraph(f'<font color="{_NOTE_COLOUR}">{notes}</font>')]})
    return sections


def _html(pieces: Iterable[Piece]) -> str:
    """Return escaped pieces as HTML, in which only the links of the configuration are links."""
    return "".join(
        f'<a href="{text}">{text}</a>' if kind is PieceKind.LINK else text for kind, text in pieces
    )


def _fact(name: str, value: str) -> Part:
    return {"decoratedText": {"topLabel": name, "text": value, "wrapText": True}}


def _paragraph(html: str) -> Part:
    return {"textParagraph": {"text": html.replace("\n", "<br>")}}


def _escape_fallback(character: str) -> str:
    return f"<{ZERO_WIDTH_SPACE}" if character == "<" else escape_unprintable(character)


_FALLBACK_ESCAPES = Escapes(_escape_fallback, _escape_fallback)
