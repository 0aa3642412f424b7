"""Text that others wrote, made fit to be shown: printable, on one line, within a length."""

from collections.abc import Callable

ELLIPSIS = "…"
"""Stands where text was cut."""
BLANK = "(blank)"
"""Stands in place of what would show nothing."""
ZERO_WIDTH_SPACE = "\u200b"
"""A space without width, where two characters must not be read together. Ours only: what others
wrote of it is spelled out."""


Truncator = Callable[[str, int, Callable[[str], str]], str]
"""`fit`, `truncate_lines` or `truncate_start`."""


def defuse_links(text: str) -> str:
    """``text`` in which no address is left whole, and as long: the colon of ``://`` is a ratio.

    For texts that others pass on to places of which nobody knows what they make a link of.
    """
    return text.replace("://", "∶//")


def escape_unprintable(text: str) -> str:
    r"""``text`` with every character that does not print spelled out, as in ``\x1b``, ``\u202e``.

    After Unicode those are controls (C0, DEL, C1), formats (bidirectional overrides, zero
    widths), line ends, every space but U+0020, surrogates, private use and the unassigned.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def utf16_length(text: str) -> int:
    """How long ``text`` is in UTF-16 units: the strictest way in which vendors count."""
    return len(text.encode("utf-16-le")) // 2


def truncate(text: str, limit: int, escape: Callable[[str], str] = escape_unprintable) -> str:
    """``text``, each character as ``spell`` writes it, in at most ``limit`` `units`.

    Where it is cut stands `MARK`. What ``spell`` makes of a character is kept whole or not at
    all, so that no escape is ever cut in two. ``limit`` is at least 1.
    """
    pieces: list[str] = []
    size = kept = 0
    for character in text:
        piece = escape(character)
        size += utf16_length(piece)
        if size > limit:
            return "".join(pieces[:kept]) + ELLIPSIS
        pieces.append(piece)
        if size < limit:  # the mark would still have room behind this piece
            kept = len(pieces)
    return "".join(pieces)


def truncate_or_blank(
    text: str, limit: int, escape: Callable[[str], str] = escape_unprintable
) -> str:
    """As `fit`, but of what would show nothing it says so."""
    return truncate(text if text.strip() else BLANK, limit, escape)


def truncate_lines(text: str, limit: int, escape: Callable[[str], str] = escape_unprintable) -> str:
    """As `fit`, but line breaks stay what they are."""
    return truncate(
        text, limit, lambda character: character if character == "\n" else escape(character)
    )


def truncate_start(text: str, limit: int, escape: Callable[[str], str] = escape_unprintable) -> str:
    """As `fit`, but the end of the text is what is kept, and its line breaks stay what they are."""

    def backwards(character: str) -> str:
        return character if character == "\n" else escape(character)[::-1]

    return truncate(text[::-1], limit, backwards)[::-1]
