"""Makes text from others fit to be shown: printable, on one line, and within a length limit."""

import codecs
import json
import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache

ELLIPSIS = "…"
"""Marks the place where text was cut."""
BLANK = "(blank)"
"""Replaces text that would show nothing."""
ZERO_WIDTH_SPACE = "\u200b"
"""Separates two characters that must not be read together. Only relay inserts it: in the text of
others it is escaped."""

codecs.lookup("utf-16-le")  # its module is read now: later there may be no file descriptor left
# Python says that these print: letters and marks by their category, and default ignorable ones by
# https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt. The selectors of emoji
# (U+FE00 to U+FE0F) are no such ones; the braille pattern without dots looks like a space.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\uffa0\U000e0100-\U000e01ef]"
)
_HIDDEN = (  # DEL, C1, format characters, line ends and `_INVISIBLE`
    *(*range(0x7F, 0xA0), 0xAD, 0x34F, *range(0x600, 0x606), 0x61C, 0x6DD, 0x70F, 0x890, 0x891),
    *(0x8E2, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x2010)),
    *(*range(0x2028, 0x202F), *range(0x2060, 0x2070), 0x2800, 0x3164, 0xFEFF, 0xFFA0),
    *(*range(0xFFF0, 0xFFFC), 0x110BD, 0x110CD, *range(0x13430, 0x13440), *range(0x1BCA0, 0x1BCA4)),
    *(*range(0x1D173, 0x1D17B), *range(0xE0000, 0xE0200)),
)

Escape = Callable[[str], str]
"""Returns how a service writes one character; for the same character always the same."""
Truncator = Callable[[str, int, Escape], str]
"""`truncate`, `truncate_lines` or `truncate_start`."""


def escape_unprintable(text: str) -> str:
    r"""Escape every character that does not print, as in ``\x1b`` or ``\u202e``.

    By Unicode these are controls (C0, DEL, C1), format characters (bidirectional overrides, zero
    widths), line ends, every space except U+0020, surrogates, private use and unassigned ones. So
    are letters and marks that show nothing (`_INVISIBLE`).
    """
    if _shows(text):
        return text
    return _replace_unprintable(text, lambda it: it.encode("unicode_escape").decode())


def escape_json(text: str) -> str:
    r"""Escape every character of a JSON text that does not print, as in ``\u001b``."""
    if _shows(text):
        return text
    return _replace_unprintable(text, lambda it: json.dumps(it)[1:-1])


def _replace_unprintable(text: str, escape: Escape) -> str:
    # A text may be long, but has few different characters: each of them is looked at once.
    shown = {it: it if _shows(it) else escape(it) for it in set(text)}
    return "".join(map(shown.__getitem__, text))


def _shows(text: str) -> bool:
    return text.isprintable() and (text.isascii() or not _INVISIBLE.search(text))


def escape_json_bytes(encoded: bytes) -> bytes:
    r"""Escape what `escape_json` does in UTF-8, except private use, unassigned ones and spaces.

    Works on bytes of any number, most of which need no escape, in one pass.
    """
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    hidden, escapes = _hidden()
    return encoded.decode().translate(escapes).encode() if hidden.search(encoded) else encoded


@cache
def _hidden() -> tuple[re.Pattern[bytes], Mapping[int, str]]:
    """Return what finds one of `_HIDDEN` in UTF-8, and how JSON escapes them."""
    ends_of: dict[bytes, bytes] = {}
    for code in _HIDDEN:
        start, last = chr(code).encode()[:-1], chr(code).encode()[-1:]
        ends_of[start] = ends_of.get(start, b"") + last
    groups = (re.escape(start) + b"[" + re.escape(last) + b"]" for start, last in ends_of.items())
    return re.compile(b"|".join(groups)), {code: json.dumps(chr(code))[1:-1] for code in _HIDDEN}


def escape_with(replacements: Mapping[str, str]) -> Escape:
    """Return an escape that replaces these characters, and escapes what does not print."""
    return lambda character: replacements.get(character) or escape_unprintable(character)


escape_brackets = escape_with({"<": "‹", ">": "›"})
"""Replaces ``<`` and ``>``, between which mentions, links and tags stand."""


def utf16_length(text: str) -> int:
    """Return the length in UTF-16 code units: the strictest way in which services count."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def truncate(text: str, limit: int, escape: Escape = escape_unprintable) -> str:
    """Return ``text``, each character escaped by ``escape``, in at most ``limit`` UTF-16 units.

    `ELLIPSIS` marks the cut. What ``escape`` returns for a character is kept whole or not at all,
    so no escape sequence is cut in two. ``limit`` is at least 1.
    """
    start = text[: limit + 1]
    if _find_unchanged(escape).fullmatch(start):
        return text if len(text) <= limit else start[: limit - 1] + ELLIPSIS
    known: dict[str, tuple[str, int]] = {}
    pieces: list[str] = []
    size = kept = 0
    for character in text:
        if character not in known:
            escaped = escape(character)
            known[character] = escaped, utf16_length(escaped)
        piece, length = known[character]
        size += length
        if size > limit:
            return "".join(pieces[:kept]) + ELLIPSIS
        pieces.append(piece)
        if size < limit:  # the ellipsis would still fit after this piece
            kept = len(pieces)
    return "".join(pieces)


@lru_cache(maxsize=64)
def _find_unchanged(escape: Escape) -> re.Pattern[str]:
    """Return what matches a text of ASCII characters that ``escape`` leaves as they are."""
    unchanged = "".join(it for it in map(chr, range(128)) if escape(it) == it)
    return re.compile(f"[{re.escape(unchanged)}]*" if unchanged else "")


def truncate_or_blank(text: str, limit: int, escape: Escape = escape_unprintable) -> str:
    """Like `truncate`, but `BLANK` replaces a text that would show nothing."""
    return truncate(text if text.strip() else BLANK, limit, escape)


def truncate_lines(text: str, limit: int, escape: Escape = escape_unprintable) -> str:
    """Like `truncate`, but line breaks are kept."""
    return truncate(text, limit, _keep_line_breaks(escape))


def truncate_start(text: str, limit: int, escape: Escape = escape_unprintable) -> str:
    """Like `truncate_lines`, but the end of the text is kept and its start is cut."""
    return truncate(text[::-1], limit, _escape_backwards(escape))[::-1]


@lru_cache(maxsize=64)  # the same function again, so that `_find_unchanged` knows it
def _keep_line_breaks(escape: Escape) -> Escape:
    return lambda character: character if character == "\n" else escape(character)


@lru_cache(maxsize=64)
def _escape_backwards(escape: Escape) -> Escape:
    return lambda character: character if character == "\n" else escape(character)[::-1]


def defuse_links(text: str) -> str:
    """Replace the colon of every ``://`` by a ratio sign, so that no address remains a link.

    The length stays the same. For services that forward the text to other programs, which may make
    links of addresses.
    """
    return text.replace("://", "∶//")


def truncate_forwarded(text: str, limit: int, cut: Truncator = truncate) -> str:
    """Return a text without links and mentions, for services that forward it to chats and mail."""
    return defuse_links(cut(text, limit, escape_brackets))
