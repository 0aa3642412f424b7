"""Cutting text and making it printable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.text import (
    BLANK,
    ELLIPSIS,
    defuse_links,
    escape_unprintable,
    truncate,
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
    ],
)
def test_spells_out_what_does_not_print(text: str, shown: str) -> None:
    """Controls, overrides, invisible characters and surrogates become escapes; the rest stays."""
    assert escape_unprintable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see http://a and ftp://b", "see http∶//a and ftp∶//b"),
        ("a:b //c : //d", "a:b //c : //d"),
        (":://", ":∶//"),
    ],
)
def test_leaves_no_address_whole(text: str, shown: str) -> None:
    """As long as before, and to be read like it."""
    assert defuse_links(text) == shown
    assert utf16_length(defuse_links(text)) == utf16_length(text)


def test_leaves_what_fits() -> None:
    """Text of exactly the limit is not cut."""
    assert truncate("12345", 5) == "12345"


def test_marks_where_it_cuts() -> None:
    """The mark is the last character of what was cut, and within the limit."""
    assert truncate("123456", 5) == "1234" + ELLIPSIS


def test_counts_in_utf16() -> None:
    """An emoji counts two: vendors that count code points see less, never more."""
    assert truncate("🔥🔥🔥", 5) == "🔥🔥" + ELLIPSIS


def test_never_cuts_an_escape_in_two() -> None:
    """What one character was spelled as is there as a whole or not at all."""
    assert truncate("ab&cd", 6, lambda character: {"&": "&amp;"}.get(character, character)) == "ab…"


@given(st.text(), st.integers(1, 40))
def test_keeps_every_limit(text: str, limit: int) -> None:
    """Whatever the text, the result is printable and no longer than the limit."""
    cut = truncate(text, limit)
    assert utf16_length(cut) <= limit
    assert cut.isprintable()
    assert cut == escape_unprintable(text) or cut.endswith(ELLIPSIS)


@pytest.mark.parametrize("nothing", ["", " ", "\n\t", "\u3000"])
def test_what_shows_nothing_says_so(nothing: str) -> None:
    """Within the limit, and spelled as everything is; anything else is as `fit` has it."""
    assert truncate_or_blank(nothing, 9) == BLANK
    assert truncate_or_blank(nothing, 5) == "(bla" + ELLIPSIS
    assert truncate_or_blank(nothing, 99, lambda character: f"\\{character}").startswith("\\(\\b")
    assert truncate_or_blank(f" x{nothing}", 40) == truncate(f" x{nothing}", 40)


def test_keeps_the_end_of_what_was_printed() -> None:
    """Of several lines the last are kept, whole escapes and line breaks among them."""
    assert truncate_start("1\n2\n3\x1b", 8) == ELLIPSIS + "2\n3\\x1b"[-7:]
    assert truncate_start("1\n2", 3) == "1\n2"


@given(st.text(), st.integers(1, 40))
def test_an_end_keeps_every_limit(text: str, limit: int) -> None:
    """Whatever the text, what is kept of it is its end, printable but for line breaks."""
    end = truncate_start(text, limit)
    assert utf16_length(end) <= limit
    assert end.replace("\n", "").isprintable()
    spelled = "\n".join(escape_unprintable(line) for line in text.split("\n"))
    assert end == spelled or (end[0] == ELLIPSIS and spelled.endswith(end[1:]))
