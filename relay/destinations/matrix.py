"""Messages for a Matrix room, sent by a user with an access token.

The sections quoted below are those of the client-server API
(https://spec.matrix.org/latest/client-server-api/).

Names, labels and images are hostile. In ``formatted_body``, which is HTML, all text that is not
relay's own is escaped, and is inline code or a code block; so is what is filled into a text of the
configuration. Clients turn neither addresses nor the ids of users and rooms in code into links
(Element: ``ignoreTags`` in ``linkify-matrix.ts``, https://github.com/element-hq/element-web). Push
notifications and simple clients show the plain ``body`` instead: see
`relay.destinations.common.plain_text`.

Nobody is ever mentioned: ``m.mentions`` is empty. If it is present, servers do not look for names
or ``@room`` in the ``body`` ("User and room mentions").
"""

import hashlib
import re
from collections.abc import Iterable
from html import escape as _escape_html
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from pydantic import AfterValidator

from relay.config.errors import ConfigIssue
from relay.config.section import forbid
from relay.config.types import Rate, RateLimit, Secret
from relay.core.exchange import NO_HINT, Request, Response, ResponseHint
from relay.core.text import escape_with, truncate, utf16_length
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.common.pieces import Escapes, Piece, PieceKind
from relay.destinations.common.plain_text import TextLimits, break_links, render_plain_text
from relay.destinations.common.responses import parse_number, parse_object, without
from relay.destinations.common.service import ServiceDestination
from relay.destinations.common.webhook import append_path, warn_of_path

EVENT_MAX = 65_536
"""The size of a whole event in bytes, with what servers add, such as signatures: "Size limits"."""
CONTENT_MAX = 56_000
"""Our own limit for the content of an event, in bytes. It leaves 9 KiB for what servers add."""

# Our own limits, in UTF-16 units. They apply to each of the two bodies. A unit takes at most three
# bytes of JSON, so the longest possible content stays below `CONTENT_MAX`.
HEADLINE_MAX = 200
LIMITS = TextLimits(
    size=utf16_length,
    value=200,
    custom_text=2_000,
    inspect=1_600,
    output={LOGS: 2_000, HEALTH: 1_000},
    notes=400,
)
NOTE_MAX = 120
"""Each note."""

_ROOM_ID = re.compile(r"![!-~]{1,254}")
"""At most 255 bytes: https://spec.matrix.org/latest/appendices/#room-ids"""
_escape = escape_with({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})
_ESCAPES = Escapes(_escape, _escape, _escape)


def _check_room(text: str) -> str:
    if text.startswith("#"):
        raise ValueError(
            "is an alias: take the id of the room, which begins with '!' "
            "(in Element: Room settings, Advanced, Internal room ID)"
        )
    if not _ROOM_ID.fullmatch(text):
        raise ValueError("is not the id of a room, as in !abc123:example.org")
    return text


class MatrixDestination(ServiceDestination):
    """A Matrix room."""

    public_keys = ServiceDestination.public_keys | {"room_id"}
    schema_rules = (forbid("basic_auth", "bearer_token", "bearer_token_file"),)
    authorization_key = "access_token"

    type: Literal["matrix"] = "matrix"
    access_token: Secret
    """The access token of a user who has joined the room."""
    room_id: Annotated[str, AfterValidator(_check_room)]
    """The id of the room, which begins with ``!``; an alias is not accepted. In an encrypted room
    the message is readable, but not encrypted."""
    # Synapse's default ``rc_message``: 0.2 a second, in bursts of up to 10.
    # synapse/config/ratelimiting.py in https://github.com/element-hq/synapse
    rate_limit: RateLimit | None = Rate(10, 50.0)
    """How many requests may start in a period of time. All rooms of one ``access_token`` share the
    limit. Default: 10 in 50 seconds, as Synapse allows by default."""

    def find_warnings(self) -> Iterable[ConfigIssue]:
        """Warn of a URL to which the path of the API is appended a second time."""
        return warn_of_path(self.url, r"/_matrix(/|$)")

    @property
    def recipient(self) -> str:
        """The sending user, by access token: a server limits a user in all rooms together."""
        return self.access_token.get_secret_value()

    def render(self, card: Card) -> Request:
        """Return the message about the first event, with the number of further events.

        The access token is in a header, because URLs may be logged ("Using access tokens").
        """
        headline = f"{card.emoji} {break_links(card.title_pieces(HEADLINE_MAX))}"
        content = {
            "msgtype": "m.text",
            "body": f"{headline}\n\n{render_plain_text(card, LIMITS, with_link=True)}",
            "format": "org.matrix.custom.html",
            "formatted_body": _html_body(card),
            "m.mentions": {},
        }
        headers = {"Authorization": f"Bearer {self.access_token.get_secret_value()}"}
        request = self.json_request(content, headers)
        return replace(request, method="PUT", url=self._url(card.notification.id))

    def _url(self, notification_id: str) -> str:
        """Return the URL for a notification. It stays the same over all retries.

        It ends in the transaction id. If a server knows the id already, it answers as before and
        does not send the message again ("Transaction identifiers").
        """
        identity = msgspec.json.encode([self.room_id, notification_id])
        transaction_id = f"relay-{hashlib.blake2b(identity, digest_size=16).hexdigest()}"
        room = quote(self.room_id, safe="")
        path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{transaction_id}"
        return append_path(self.endpoint, path)

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Read ``M_LIMIT_EXCEEDED`` with any status, and check that a 2xx has an ``event_id``.

        "Standard error response" gives error codes precedence over the status. ``retry_after_ms``
        is deprecated in favour of ``Retry-After``, but servers still send it ("Rate limiting").

        A 2xx with other content is not from a homeserver, but for instance the page of a web
        client. To repeat the request is harmless because of its transaction id.
        """
        match parse_object(response.body):
            case {"errcode": "M_LIMIT_EXCEEDED", **other}:
                wait_ms = parse_number(other.get("retry_after_ms"))
                return ResponseHint(429, retry_after_s=None if wait_ms is None else wait_ms / 1000)
            case {"errcode": str()}:
                return ResponseHint(is_rejected=True)
            case {"event_id": str()}:
                return NO_HINT
        return without(response, "an event_id")


def _html_body(card: Card) -> str:
    """Return the message as HTML, with tags that "m.room.message msgtypes" lets clients show."""
    title = _html(card.title_pieces(HEADLINE_MAX, _ESCAPES))
    blocks = [f"<p>{card.emoji} <strong>{title}</strong></p>"]
    if card.body:
        blocks.append(f"<p>{_html(card.body_pieces(LIMITS.custom_text, _ESCAPES))}</p>")
    facts = [*card.fit_facts(LIMITS.value, _escape), ("Time", card.time)]
    lines = [f"{name}: {_code(value)}" for name, value in facts]
    for path, value in card.fit_inspect_fields(LIMITS.inspect, LIMITS.value, _escape):
        lines.append(f"{_code(path)}: {_code(value)}")
    blocks.append(f"<p>{'<br>'.join(lines)}</p>")
    for output in card.output:
        shown = output.fit(LIMITS.output[output.title], _escape)
        blocks.append(f"<p><strong>{output.title}</strong></p>{_code_block(shown)}")
    if card.link:
        blocks.append(
            f'<p><a href="{_escape_html(card.link)}">{_escape_html(card.link_label)}</a></p>'
        )
    notes = " · ".join(_code(truncate(note, NOTE_MAX, _escape)) for note in card.notes)
    return "".join([*blocks, f"<p>{notes}</p>"])


def _html(pieces: Iterable[Piece]) -> str:
    """Return escaped pieces as HTML: what is filled in as code, the author's links as links."""
    return "".join(map(_piece_html, pieces))


def _piece_html(piece: Piece) -> str:
    match piece.kind:
        case PieceKind.OWN:
            return piece.text.replace("\n", "<br>")
        case PieceKind.LINK:
            return f'<a href="{piece.text}">{piece.text}</a>'
        case PieceKind.FILLED if "\n" in piece.text:
            return f"</p>{_code_block(piece.text)}<p>"
        case PieceKind.FILLED:
            return _code(piece.text)


def _code(html: str) -> str:
    """Return inline code; ``html`` is escaped already."""
    return f"<code>{html}</code>"


def _code_block(html: str) -> str:
    """Return a code block; ``html`` is escaped already."""
    return f"<pre><code>{html}</code></pre>"
