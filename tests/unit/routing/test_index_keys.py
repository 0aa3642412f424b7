"""The index keys that patterns imply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Exists, Field, Glob, Not, Pattern, Range, Regex
from relay.config.match_parser import parse_regex
from relay.config.regex import compile_regex
from relay.routing.value_index import PREFIX_MAX, PRESENT, IndexKey, KeyKind, find_keys
from tests.unit.routing.reference_matcher import (
    bounds,
    pattern_holds,
    patterns,
    patterns_of_text,
    texts,
)

LABEL = Field("label", "a", ())
NAME = Field("name", None, ())


def regex(text: str) -> Regex:
    return parse_regex(text)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (Glob("web"), [(KeyKind.EXACT, "web")]),
        (Glob(""), [(KeyKind.EXACT, "")]),
        (Glob("web-*"), [(KeyKind.PREFIX, "web-")]),
        (Glob("web-?"), [(KeyKind.PREFIX, "web-")]),
        (Glob("web-[0-9]"), [(KeyKind.PREFIX, "web-")]),
        (Glob("*-web-*"), [(KeyKind.PART, "-web-")]),
        (Glob("shop-*-web"), [(KeyKind.PREFIX, "shop-"), (KeyKind.PART, "-web")]),
        (Glob("?ab*the longest*abc"), [(KeyKind.PART, "the longest")]),
        (Glob("[]*]abc[!]?]"), [(KeyKind.PART, "abc")]),
        (Glob("[abc]ab[abc]"), [PRESENT]),
        (Glob("*"), [PRESENT]),
        (Glob("x" * 100 + "*"), [(KeyKind.PREFIX, "x" * PREFIX_MAX)]),
        (regex("web-[0-9]+"), [(KeyKind.PREFIX, "web-")]),
        (regex("web-?"), [(KeyKind.PREFIX, "web")]),
        (regex("web{2}"), [(KeyKind.PREFIX, "we")]),
        (regex("web|db"), [PRESENT]),
        (regex("shop-(web|(?:db|api)-[0-9])"), [(KeyKind.PREFIX, "shop-")]),
        (regex(r"shop[|(]\|"), [(KeyKind.PREFIX, "shop")]),
        (regex(r"shop[\^]|b]c"), [PRESENT]),
        (regex(r"shop\(|b\)"), [PRESENT]),
        (regex("shop[)(]|[)]"), [PRESENT]),
        (regex(r"shop\Q[\E|web]"), [PRESENT]),
        (regex("shop[[:alpha:](]|web[[:alpha:])]"), [PRESENT]),
        (regex("shop[[:alpha:]|]-web"), [(KeyKind.PREFIX, "shop")]),
        (regex("shop-(?i:web|db)"), [PRESENT]),
        (regex("(?i)web"), [PRESENT]),
        (regex("w*"), [PRESENT]),
        (Range(137, 137), [(KeyKind.EXACT, 137)]),
        (Range(1, 125), [PRESENT]),
        (Range(128, None), [PRESENT]),
        (Range(None, None), [PRESENT]),
        (Exists(True), [PRESENT]),
        (Exists(False), []),
    ],
)
def test_the_keys_of_a_pattern(
    pattern: Pattern, found: list[tuple[KeyKind, str | int | None]]
) -> None:
    """A pattern implies an exact value, a prefix, a part, or only that there is a value."""
    for absent_fits in (True, False):
        assert list(find_keys(pattern, absent_fits=absent_fits)) == found


@pytest.mark.parametrize(("absent_fits", "found"), [(True, ()), (False, (PRESENT,))])
def test_a_negation_implies_little(absent_fits: bool, found: tuple[IndexKey, ...]) -> None:
    """A negation implies at best that there is a value."""
    assert find_keys(Not((Glob("web"),)), absent_fits=absent_fits) == found


def has_key(hook: IndexKey, value: str | int) -> bool:
    """Whether a value has the property that a key describes."""
    match hook.kind:
        case KeyKind.EXACT:
            return value == hook.value
        case KeyKind.PREFIX:
            return str(value).startswith(str(hook.value))
        case KeyKind.PART:
            return str(hook.value) in str(value)
        case KeyKind.PRESENT:
            return True


def _is_regex(text: str) -> bool:
    try:
        parse_regex(text)
    except ValueError:
        return False
    return True


_pieces = (
    *("a", "b", "|", "(", ")", "(?:", "(?i:", "[", "]", "[:alpha:]"),
    *("^", "\\", "*", "?", ".", r"\Q", r"\E"),
)


@given(
    st.lists(st.sampled_from(_pieces), max_size=9).map("".join).filter(_is_regex),
    st.text("ab|()[]^", max_size=3),
)
def test_a_text_that_fits_a_regex_has_its_prefix(text: str, value: str) -> None:
    """A text that fits a regular expression has its prefix, however the expression is written."""
    pattern = regex(text)
    if compile_regex(text)(value):
        assert all(has_key(hook, value) for hook in find_keys(pattern, absent_fits=False))


@given(
    st.tuples(patterns(patterns_of_text), texts)
    | st.tuples(patterns(st.builds(Range, bounds, bounds)), st.integers(0, 3)),
    st.sampled_from((LABEL, NAME)),
)
def test_a_value_that_fits_a_pattern_has_its_keys(
    tried: tuple[tuple[Pattern, ...], str | int], field: Field
) -> None:
    """Every value has all keys; a pattern that fits an absent value has none."""
    candidates, value = tried
    for pattern in candidates:
        found = find_keys(pattern, absent_fits=field is LABEL)
        if pattern_holds(pattern, [value], field) and found:
            assert all(has_key(hook, value) for hook in found)
        if pattern_holds(pattern, [], field):
            assert not found
