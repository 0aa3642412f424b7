"""Cutting text and making it printable."""

import json
import re
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.text import (
    BLANK,
    ELLIPSIS,
    Escape,
    defuse_links,
    escape_json_bytes,
    escape_unprintable,
    escape_with,
    truncate,
    truncate_lines,
    truncate_or_blank,
    truncate_start,
    utf16_length,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("shop-web-1", "shop-web-1"),
        ("Größe 日本 🔥", "Größe 日本 🔥"),
        ("a\tb\r\nc\0", r"a\tb\r\nc\x00"),
        ("\x1b[31m\x9b\x7f", r"\x1b[31m\x9b\x7f"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("\u200b\u2028\U000e0041", r"\u200b\u2028\U000e0041"),
        ("\ud800", r"\ud800"),
        ("a\u3164b\u034f\u2800", r"a\u3164b\u034f\u2800"),
        ("⚠\ufe0f", "⚠\ufe0f"),
    ],
)
def test_escapes_what_does_not_print(text: str, shown: str) -> None:
    """Controls, overrides, invisible characters and surrogates are escaped; the rest stays."""
    assert escape_unprintable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see http://a and ftp://b", "see http∶//a and ftp∶//b"),
        ("a:b //c : //d", "a:b //c : //d"),
        (":://", ":∶//"),
    ],
)
def test_defuses_links(text: str, shown: str) -> None:
    """The text keeps its length and can still be read."""
    assert defuse_links(text) == shown
    assert utf16_length(defuse_links(text)) == utf16_length(text)


def test_keeps_text_that_fits() -> None:
    """Text of exactly the limit is not cut."""
    assert truncate("12345", 5) == "12345"


def test_marks_the_cut() -> None:
    """The ellipsis is the last character of a cut text, and counts towards the limit."""
    assert truncate("123456", 5) == "1234" + ELLIPSIS


def test_counts_in_utf16() -> None:
    """An emoji counts two: services that count code points see fewer, never more."""
    assert truncate("🔥🔥🔥", 5) == "🔥🔥" + ELLIPSIS


def test_never_cuts_an_escape_in_two() -> None:
    """The escape of one character is kept whole or not at all."""
    assert truncate("ab&cd", 6, lambda character: {"&": "&amp;"}.get(character, character)) == "ab…"


@given(st.text(), st.integers(1, 40))
def test_keeps_every_limit(text: str, limit: int) -> None:
    """For any text, the result is printable and no longer than the limit."""
    cut = truncate(text, limit)
    assert utf16_length(cut) <= limit
    assert cut.isprintable()
    assert cut == escape_unprintable(text) or cut.endswith(ELLIPSIS)


def truncate_by_character(text: str, limit: int, escape: Escape) -> str:
    """The definition of `truncate`, character by character."""
    pieces = [escape(character) for character in text]
    if sum(map(utf16_length, pieces)) <= limit:
        return "".join(pieces)
    while sum(map(utf16_length, pieces)) >= limit:
        pieces.pop()
    return "".join(pieces) + ELLIPSIS


ESCAPES: list[Escape] = [
    escape_unprintable,
    escape_with({"&": "&amp;", "<": "‹", "-": "\\-"}),
    lambda character: character,
    lambda character: f"\\{character}",
]
"""Those of services: they change nothing, some characters, or all."""


@pytest.mark.parametrize("escape", ESCAPES)
@given(st.text() | st.text("ab-]^\\\n<&é🔥", max_size=50), st.integers(1, 40))
def test_short_cuts_change_no_result(escape: Escape, text: str, limit: int) -> None:
    """Ordinary text is not looked at character by character, but the result is the same."""

    def keep_breaks(character: str) -> str:
        return character if character == "\n" else escape(character)

    def backwards(character: str) -> str:
        return keep_breaks(character)[::-1]

    assert truncate(text, limit, escape) == truncate_by_character(text, limit, escape)
    assert truncate_lines(text, limit, escape) == truncate_by_character(text, limit, keep_breaks)
    start_cut = truncate_by_character(text[::-1], limit, backwards)[::-1]
    assert truncate_start(text, limit, escape) == start_cut


@pytest.mark.parametrize("nothing", ["", " ", "\n\t", "\u3000"])
def test_replaces_text_that_shows_nothing(nothing: str) -> None:
    """The replacement is truncated and escaped like any text; other text is unchanged."""
    assert truncate_or_blank(nothing, 9) == BLANK
    assert truncate_or_blank(nothing, 5) == "(bla" + ELLIPSIS
    assert truncate_or_blank(nothing, 99, lambda character: f"\\{character}").startswith("\\(\\b")
    assert truncate_or_blank(f" x{nothing}", 40) == truncate(f" x{nothing}", 40)


def test_keeps_the_end_of_output() -> None:
    """Of several lines the last ones are kept, with whole escapes and line breaks."""
    assert truncate_start("1\n2\n3\x1b", 8) == ELLIPSIS + "2\n3\\x1b"[-7:]
    assert truncate_start("1\n2", 3) == "1\n2"


@given(st.text(), st.integers(1, 40))
def test_the_end_keeps_every_limit(text: str, limit: int) -> None:
    """For any text, its end is kept, printable except for line breaks."""
    end = truncate_start(text, limit)
    assert utf16_length(end) <= limit
    assert end.replace("\n", "").isprintable()
    escaped = "\n".join(escape_unprintable(line) for line in text.split("\n"))
    assert end == escaped or (end[0] == ELLIPSIS and escaped.endswith(end[1:]))


@given(st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner, max_size=3)))
def test_json_keeps_its_value(value: object) -> None:
    """What does not show is escaped as JSON escapes it, so every reader gets the same text."""
    escaped = escape_json_bytes(msgspec.json.encode(value))
    assert json.loads(escaped) == value
    assert not re.search(
        "[\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]", escaped.decode()
    )


def test_every_format_character_is_escaped_in_json() -> None:
    """All that Unicode calls a format character, a line end or a control."""
    missed = [
        hex(code)
        for code in range(0x20, 0x110000)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Zl", "Zp")
        and escape_json_bytes(chr(code).encode()) == chr(code).encode()
    ]
    assert missed == []


def test_json_that_shows_everything_is_not_copied() -> None:
    """Most documents need no escape."""
    plain = b'{"name":"web"}'
    assert escape_json_bytes(plain) is plain
    readable = '{"name":"Größe 日本 🔥"}'.encode()
    assert escape_json_bytes(readable) == readable
