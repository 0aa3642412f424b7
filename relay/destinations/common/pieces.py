"""The texts of the configuration in pieces, by who wrote them.

A ``title`` or a ``text`` is a template. What its author wrote is not hostile, and its links must
work. What is filled in comes from anybody who may start a container. So a text stays in pieces
until a service writes it: the author's words, the author's links, and what is filled in.
"""

import re
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from relay.config.templates.parts import TemplatePart
from relay.core.text import (
    ELLIPSIS,
    Escape,
    defuse_links,
    escape_brackets,
    escape_unprintable,
    truncate_lines,
    utf16_length,
)

MAX_PIECES = 30
"""How many pieces a text may have, since services add markup to each. If a template makes more, the
rest is one piece."""

ESCAPE_MAX = 20
"""More than the UTF-16 units that any service writes for one character, as in ``\\U000e0001``."""

# A link ends before white space, quotes, brackets and whatever starts markup in a chat, and before
# the punctuation of the sentence that it is in. The lengths bound the work for a hostile text.
_LINK = re.compile(
    r"(?P<site>https?://[^\s/?#<>\"'`|\\^{}\[\]*]{1,255})(?:[/?#][^\s<>\"'`|\\^{}\[\]*]{0,2000})?"
)
_SENTENCE_END = ".,;:!?"
_NOT_IN_LINK = re.compile(r"[^A-Za-z0-9._~%=&+,:@/-]")
"""A character that ends a link if it is filled in."""
_LINE_BREAK = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")


class PieceKind(Enum):
    """Who wrote a piece, and what it is."""

    OWN = "own"
    """Words of the configuration."""
    LINK = "link"
    """A link whose scheme and host are in the configuration. Parts of its path may be filled in."""
    FILLED = "filled"
    """What a template filled in, or a text of relay's that holds names: hostile."""


class Piece(NamedTuple):
    """A part of a text, not escaped yet."""

    kind: PieceKind
    text: str


Pieces = tuple[Piece, ...]


class Escapes(NamedTuple):
    """How a service writes a character of each kind of piece."""

    filled: Escape = escape_unprintable
    own: Escape = escape_unprintable
    link: Escape = escape_unprintable

    def of(self, kind: PieceKind) -> Escape:
        """Return the escape of a kind."""
        match kind:
            case PieceKind.OWN:
                return self.own
            case PieceKind.LINK:
                return self.link
            case PieceKind.FILLED:
                return self.filled


PLAIN = Escapes()
"""For services that interpret nothing: only what does not print is escaped."""


def split_links(parts: Iterable[TemplatePart]) -> Pieces:
    """Return the pieces of a rendered template. None is empty, and neighbours differ in kind.

    An address is a link if its scheme and its host are the author's. If any part of these is filled
    in, the whole address counts as filled in.
    """
    text, kinds = "", []
    for part in parts:
        # what is filled in and shows nothing is as harmless as the author's own words
        is_own = part.is_fixed or part.text.isspace()
        kinds += [PieceKind.OWN if is_own else PieceKind.FILLED] * len(part.text)
        text += part.text
    for found in _LINK.finditer(text):
        start, end = found.start(), found.end()
        kind = PieceKind.FILLED
        if kind not in kinds[start : found.end("site")]:
            kind, end = PieceKind.LINK, _find_end(text, kinds, start, end)
        kinds[start:end] = [kind] * (end - start)
    return _limit(_group(text, kinds))


def _find_end(text: str, kinds: list[PieceKind], start: int, end: int) -> int:
    """Return where a link ends.

    That is before a filled-in character that no address needs, and before the punctuation of the
    sentence.
    """
    for at in range(start, end):
        if kinds[at] is PieceKind.FILLED and _NOT_IN_LINK.match(text[at]):
            end = at
            break
    while text[end - 1] in _SENTENCE_END or _closes_nothing(text[start:end]):
        end -= 1
    return end


def _closes_nothing(link: str) -> bool:
    return link.endswith(")") and link.count("(") < link.count(")")


def _group(text: str, kinds: list[PieceKind]) -> list[Piece]:
    pieces, start = [], 0
    for at in range(1, len(text) + 1):
        if at == len(text) or kinds[at] is not kinds[start]:
            pieces.append(Piece(kinds[start], text[start:at]))
            start = at
    return pieces


def _limit(pieces: list[Piece]) -> Pieces:
    if len(pieces) <= MAX_PIECES:
        return tuple(pieces)
    rest = "".join(piece.text for piece in pieces[MAX_PIECES - 1 :])
    return (*pieces[: MAX_PIECES - 1], Piece(PieceKind.FILLED, rest))


def to_line(pieces: Pieces) -> Pieces:
    """Return the pieces on one line, without white space at its ends; none if nothing is left."""
    line = [Piece(kind, _LINE_BREAK.sub(" ", text)) for kind, text in pieces]
    while line and not (text := line[0].text.lstrip()):
        del line[0]
    if line:
        line[0] = Piece(line[0].kind, text)
    while line and not (text := line[-1].text.rstrip()):
        del line[-1]
    if line:
        line[-1] = Piece(line[-1].kind, text)
    return tuple(line)


def fit(pieces: Pieces, limit: int, escapes: Escapes = PLAIN) -> list[Piece]:
    """Return the pieces escaped, in at most ``limit`` UTF-16 units; line breaks are kept.

    An ellipsis marks the cut. A link is whole, or is not there at all. ``limit`` is at least 1.
    """
    kept: list[Piece] = []
    for at, (kind, text) in enumerate(pieces, start=1):
        # a text that is cut here is still longer than the limit
        escaped = truncate_lines(text, limit + ESCAPE_MAX, escapes.of(kind))
        size = utf16_length(escaped)
        # something has to be left for the ellipsis, unless this piece is the last
        if size > limit - (at < len(pieces)):
            if kind is PieceKind.LINK:
                return [*kept, Piece(PieceKind.OWN, ELLIPSIS)]
            # one character more, since it has to be cut even if it just fits
            cut = truncate_lines(text + ELLIPSIS, limit, escapes.of(kind))
            return [*kept, Piece(kind, cut)]
        kept.append(Piece(kind, escaped))
        limit -= size
    return kept


FORWARDED = Escapes(escape_brackets, escape_brackets, escape_brackets)
"""For services that forward texts to others: see `join_forwarded`."""


def join_forwarded(pieces: Iterable[Piece]) -> str:
    """Return the text of pieces that were escaped by `FORWARDED`; only the author's links remain.

    See `relay.core.text.truncate_forwarded`.
    """
    text = words = ""
    for kind, piece in pieces:
        if kind is PieceKind.LINK:
            text, words = text + defuse_links(words) + piece, ""
        else:
            words += piece
    return text + defuse_links(words)


def join(pieces: Iterable[Piece]) -> str:
    """Return the text of pieces."""
    return "".join(piece.text for piece in pieces)
