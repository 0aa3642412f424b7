"""Renders a card as HTML, for mail.

Mail programs know little of HTML, so there are only tables, styles within the elements, and nothing
that is loaded from elsewhere. Every text is escaped; what others chose is no link (see
`relay.destinations.common.plain_text`).
"""

from collections.abc import Iterator, Sequence
from html import escape

from relay.core.text import truncate
from relay.destinations.common.card import Card
from relay.destinations.common.command import is_command
from relay.destinations.common.pieces import Piece, PieceKind
from relay.destinations.common.plain_text import (
    TextLimits,
    break_all_links,
    break_links_in_pieces,
    is_image,
)

_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_FIXED = "font-family:ui-monospace,Consolas,Menlo,monospace"
_HEADING = "font-size:18px;font-weight:600"
_NAME = "padding:2px 16px 2px 0;vertical-align:top;white-space:nowrap;opacity:.65"
_VALUE = "padding:2px 0;vertical-align:top;word-break:break-word"
_BUTTON = (
    "display:inline-block;padding:6px 14px;border:1px solid;border-radius:4px;text-decoration:none"
)
_OUTPUT = "margin:4px 0 0;white-space:pre-wrap;word-break:break-word;font-size:13px;" + _FIXED


def render_html(card: Card, heading: Sequence[Piece], limits: TextLimits) -> str:
    """Return a whole document. ``heading`` is not escaped yet; without one there is none."""
    shown = f'<div style="{_HEADING}">{_own(heading)}</div>'
    return "\n".join(
        (
            '<!DOCTYPE html><html><head><meta charset="utf-8">'
            '<meta name="color-scheme" content="light dark"></head>',
            f'<body style="margin:0;padding:12px;font-size:15px;line-height:1.4;{_FONT}">',
            f'<div style="border-left:4px solid {card.colour};padding:2px 0 2px 14px">',
            *([shown] if heading else []),
            *_parts(card, limits),
            "</div></body></html>\n",
        )
    )


def _parts(card: Card, limits: TextLimits) -> Iterator[str]:
    if card.body:
        text = _own(card.body_pieces(limits.custom_text))
        yield f'<div style="margin-top:8px;white-space:pre-line">{text}</div>'
    yield '<table style="margin-top:8px;border-collapse:collapse;font-size:14px">'
    for name, value in (*card.fit_facts(limits.value), ("Time", card.readable_time)):
        yield _row(name, value)
    for name, value in card.fit_inspect_fields(limits.inspect, limits.value):
        yield _row(name, value)
    yield "</table>"
    for output in card.output:
        text = _foreign(output.fit(limits.output[output.title]))
        yield f'<div style="margin-top:12px;font-weight:600">{output.title}</div>'
        yield f'<pre style="{_OUTPUT}">{text}</pre>'
    if card.link:
        yield (
            f'<div style="margin-top:14px"><a href="{escape(card.link)}" style="{_BUTTON}">'
            f"{escape(card.link_label)}</a></div>"
        )
    notes = _foreign(truncate(" · ".join(card.notes), limits.notes))
    yield f'<div style="margin-top:12px;font-size:12px;opacity:.65">{notes}</div>'


def _row(name: str, value: str) -> str:
    shown = escape(value) if is_image(name, value) else _foreign(value)
    style = f"{_VALUE};{_FIXED}" if is_command(name) else _VALUE
    return f'<tr><td style="{_NAME}">{_foreign(name)}</td><td style="{style}">{shown}</td></tr>'


def _own(pieces: Sequence[Piece]) -> str:
    """Return a text of the configuration escaped, in which only its own links are links."""
    return "".join(map(_piece, break_links_in_pieces(pieces)))


def _piece(piece: Piece) -> str:
    text = escape(piece.text)
    return f'<a href="{text}">{text}</a>' if piece.kind is PieceKind.LINK else text


def _foreign(text: str) -> str:
    """Return a text that others chose, printable already, escaped and without links."""
    return escape(break_all_links(text))
