"""Makes text from others fit to be shown: printable, on one line, and within a length limit."""

import codecs
import json
from collections.abc import Callable, Mapping

ELLIPSIS = "…"
"""Marks the place where text was cut."""
BLANK = "(blank)"
"""Replaces text that would show nothing."""
ZERO_WIDTH_SPACE = "\u200b"
"""Separates two characters that must not be read together. Only relay inserts it: in the text of
others it is escaped."""

codecs.lookup("utf-16-le")  # its module is read now: later there may be no file descriptor left

Truncator = Callable[[str, int, Callable[[str], str]], str]
"""`truncate`, `truncate_lines` or `truncate_start`."""


def escape_unprintable(text: str) -> str:
    r"""Escape every character that does not print, as in ``\x1b`` or ``\u202e``.

    By Unicode these are controls (C0, DEL, C1), format characters (bidirectional overrides, zero
    widths), line ends, every space except U+0020, surrogates, private use and unassigned ones.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def escape_json(text: str) -> str:
    r"""Escape every character of a JSON text that does not print, as in ``\u001b``."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1] for character in text
    )


def escape_with(replacements: Mapping[str, str]) -> Callable[[str], str]:
    """Return an escape that replaces these characters, and escapes what does not print."""
    return lambda character: replacements.get(character) or escape_unprintable(character)


escape_brackets = escape_with({"<": "‹", ">": "›"})
"""Replaces ``<`` and ``>``, between which mentions, links and tags stand."""


def utf16_length(text: str) -> int:
    """Return the length in UTF-16 code units: the strictest way in which services count."""
    return len(text.encode("utf-16-le")) // 2


def truncate(text: str, limit: int, escape: Callable[[str], str] = escape_unprintable) -> str:
    """Return ``text``, each character escaped by ``escape``, in at most ``limit`` UTF-16 units.

    `ELLIPSIS` marks the cut. What ``escape`` returns for a character is kept whole or not at all,
    so no escape sequence is cut in two. ``limit`` is at least 1.
    """
    pieces: list[str] = []
    size = kept = 0
    for character in text:
        piece = escape(character)
        size += utf16_length(piece)
        if size > limit:
            return "".join(pieces[:kept]) + ELLIPSIS
        pieces.append(piece)
        if size < limit:  # the ellipsis would still fit after this piece
            kept = len(pieces)
    return "".join(pieces)


def truncate_or_blank(
    text: str, limit: int, escape: Callable[[str], str] = escape_unprintable
) -> str:
    """Like `truncate`, but `BLANK` replaces a text that would show nothing."""
    return truncate(text if text.strip() else BLANK, limit, escape)


def truncate_lines(text: str, limit: int, escape: Callable[[str], str] = escape_unprintable) -> str:
    """Like `truncate`, but line breaks are kept."""
    return truncate(
        text, limit, lambda character: character if character == "\n" else escape(character)
    )


def truncate_start(text: str, limit: int, escape: Callable[[str], str] = escape_unprintable) -> str:
    """Like `truncate_lines`, but the end of the text is kept and its start is cut."""

    def escape_reversed(character: str) -> str:
        return character if character == "\n" else escape(character)[::-1]

    return truncate(text[::-1], limit, escape_reversed)[::-1]


def defuse_links(text: str) -> str:
    """Replace the colon of every ``://`` by a ratio sign, so that no address remains a link.

    The length stays the same. For services that forward the text to other programs, which may make
    links of addresses.
    """
    return text.replace("://", "∶//")


def truncate_forwarded(text: str, limit: int, cut: Truncator = truncate) -> str:
    """Return a text without links and mentions, for services that forward it to chats and mail."""
    return defuse_links(cut(text, limit, escape_brackets))
