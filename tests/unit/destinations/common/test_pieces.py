"""Texts in pieces: who wrote what, which links are the author's, and limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.templates.parts import TemplatePart
from relay.core.text import escape_unprintable, utf16_length
from relay.destinations.common.pieces import (
    MAX_PIECES,
    Escapes,
    Piece,
    PieceKind,
    fit,
    join,
    split_links,
    to_line,
)
from tests.unit.destinations.samples import filled, own
from tests.unit.destinations.strategies import hostile

OWN, LINK, FILLED = PieceKind.OWN, PieceKind.LINK, PieceKind.FILLED
parts = st.lists(
    st.tuples(
        hostile | st.sampled_from(("see ", "https://wiki.example/", "https://", "x", ").", " ")),
        st.booleans(),
    ).map(lambda it: TemplatePart(*it)),
    max_size=40,
)


def links(*texts: tuple[str, bool]) -> list[str]:
    """The links in these parts; the flag says that a part is the author's."""
    pieces = split_links([TemplatePart(*text) for text in texts])
    return [text for kind, text in pieces if kind is LINK]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://wiki.example/a_b?c=d&e#f.", "https://wiki.example/a_b?c=d&e#f"),
        ("(https://wiki.example/a)", "https://wiki.example/a"),
        ("https://wiki.example/a_(b), then", "https://wiki.example/a_(b)"),
        ("<https://wiki.example|runbook>", "https://wiki.example"),
        ("http://10.0.0.5:8080/x", "http://10.0.0.5:8080/x"),
        ("https://wiki.example/Größe!", "https://wiki.example/Größe"),
    ],
)
def test_finds_links_of_the_author(text: str, expected: str) -> None:
    """Without the punctuation of the sentence."""
    assert links((text, True)) == [expected]


@pytest.mark.parametrize("text", ["wiki.example", "ftp://wiki.example", "https://", "mailto:a@b.c"])
def test_leaves_what_is_no_web_address(text: str) -> None:
    """Services decide whether they link it; it stays as it is."""
    assert own(text) == (Piece(OWN, text),)


def test_what_is_filled_in_may_continue_a_link() -> None:
    """A page may be named by a label, as long as it holds only what an address holds."""
    site = ("https://wiki.example/", True)
    assert links(site, ("shop/web-1", False)) == ["https://wiki.example/shop/web-1"]
    assert links(site, ("a|b", False)) == ["https://wiki.example/a"]
    assert links(site, ("Größe", False)) == ["https://wiki.example/Gr"]
    assert links(site, ("(x)", False)) == ["https://wiki.example/"]


@pytest.mark.parametrize(
    "texts",
    [
        (("https://evil.example", False),),
        (("https://", True), ("evil.example", False)),
        (("https://wiki.example", True), ("@evil.example/x", False)),
        (("https://wiki", True), (".evil.example", False), ("/x", True)),
        (("https:", True), ("//evil.example", False)),
    ],
)
def test_nothing_that_is_filled_in_chooses_where_a_link_leads(
    texts: tuple[tuple[str, bool], ...],
) -> None:
    """Scheme and host are the author's, or it is no link."""
    assert links(*texts) == []
    if texts[-1] != ("//evil.example", False):
        parts = [TemplatePart(*text) for text in texts]
        assert {kind for kind, _ in split_links(parts)} == {FILLED}


@given(parts)
def test_nothing_is_lost(parts: list[TemplatePart]) -> None:
    """The pieces are the text; neighbours differ, and there are not too many."""
    pieces = split_links(parts)
    assert join(pieces) == "".join(part.text for part in parts)
    assert all(text for _, text in pieces)
    assert len(pieces) <= MAX_PIECES
    for kind, text in pieces:
        assert kind is not LINK or (text.startswith("http") and not set(text) & set(' \n<>"`'))


def test_too_many_pieces_end_as_a_hostile_one() -> None:
    """What is left over may hold what is filled in."""
    many = [TemplatePart(text, text == "a ") for text in ("a ", "b") * MAX_PIECES]
    *_, last = split_links(many)
    assert (last.kind, last.text.count("b")) == (FILLED, MAX_PIECES - (MAX_PIECES - 1) // 2)


@given(parts, st.integers(1, 200))
def test_fits(parts: list[TemplatePart], limit: int) -> None:
    """In UTF-16 units, escaped; a cut is marked, and no link is cut."""
    escapes = Escapes(lambda it: f"\\{it}" if it == "x" else escape_unprintable(it))
    pieces = split_links(parts)
    shown = fit(pieces, limit, escapes)
    assert utf16_length(join(shown)) <= limit
    whole = fit(pieces, 10**9, escapes)
    if shown != whole:
        assert shown[-1].text.endswith("…")
    assert {it for it in shown if it.kind is LINK} <= set(whole)


def test_a_piece_that_fills_the_limit_is_whole() -> None:
    """Nothing has to be left for an ellipsis behind the last one."""
    pieces = (*own("abc"), *filled("de"))
    assert join(fit(pieces, 5)) == "abcde"
    assert join(fit(pieces, 4)) == "abc…"
    assert join(fit(pieces, 3)) == "ab…"
    assert join(fit((*own("a"), *own("https://wiki.example")), 10)) == "a…"


def test_a_piece_that_is_cut_is_the_last() -> None:
    """Also if it is cut before an escape that would take more than the rest of the limit."""
    pieces = (*filled("a\x1f"), *own("b"))
    assert join(fit(pieces, 3)) == "a…"
    assert join(fit(pieces, 5)) == "a…"
    assert join(fit(pieces, 6)) == r"a\x1fb"


def test_a_title_is_one_line() -> None:
    """Without white space at its ends; a blank one is nothing."""
    assert to_line((*own(" \n a\n "), *filled("b "))) == (Piece(OWN, "a "), Piece(FILLED, "b"))
    assert to_line(own(" \n")) == ()
