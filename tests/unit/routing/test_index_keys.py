"""What patterns can be found by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Exists, Field, Glob, Not, Pattern, Range, Regex
from relay.config import patterns as patterns_from_text
from relay.routing.index_keys import PREFIX_MOST, PRESENT, Hook, Kind, hooks
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
    return patterns_from_text.regex(text)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (Glob("web"), [(Kind.EXACT, "web")]),
        (Glob(""), [(Kind.EXACT, "")]),
        (Glob("web-*"), [(Kind.PREFIX, "web-")]),
        (Glob("web-?"), [(Kind.PREFIX, "web-")]),
        (Glob("web-[0-9]"), [(Kind.PREFIX, "web-")]),
        (Glob("*-web-*"), [(Kind.PART, "-web-")]),
        (Glob("shop-*-web"), [(Kind.PREFIX, "shop-"), (Kind.PART, "-web")]),
        (Glob("?ab*the longest*abc"), [(Kind.PART, "the longest")]),
        (Glob("[]*]abc[!]?]"), [(Kind.PART, "abc")]),
        (Glob("[abc]ab[abc]"), [PRESENT]),
        (Glob("*"), [PRESENT]),
        (Glob("x" * 100 + "*"), [(Kind.PREFIX, "x" * PREFIX_MOST)]),
        (regex("web-[0-9]+"), [(Kind.PREFIX, "web-")]),
        (regex("web-?"), [(Kind.PREFIX, "web")]),
        (regex("web{2}"), [(Kind.PREFIX, "we")]),
        (regex("web|db"), [PRESENT]),
        (regex("shop-(web|(?:db|api)-[0-9])"), [(Kind.PREFIX, "shop-")]),
        (regex(r"shop[|(]\|"), [(Kind.PREFIX, "shop")]),
        (regex(r"shop[\^]|b]c"), [PRESENT]),
        (regex(r"shop\(|b\)"), [PRESENT]),
        (regex("shop[)(]|[)]"), [PRESENT]),
        (regex("shop(?#()|web[)]"), [PRESENT]),
        (regex("shop-(?i:web|db)"), [PRESENT]),
        (regex("(?i)web"), [PRESENT]),
        (regex("w*"), [PRESENT]),
        (Range(137, 137), [(Kind.EXACT, 137)]),
        (Range(1, 125), [PRESENT]),
        (Range(128, None), [PRESENT]),
        (Range(None, None), [PRESENT]),
        (Exists(True), [PRESENT]),
        (Exists(False), []),
    ],
)
def test_what_a_pattern_can_be_found_by(
    pattern: Pattern, found: list[tuple[Kind, str | int | None]]
) -> None:
    """The value itself, its beginning, a part of it; or only that there is one."""
    for absent_fits in (True, False):
        assert list(hooks(pattern, absent_fits=absent_fits)) == found


@pytest.mark.parametrize(("absent_fits", "found"), [(True, ()), (False, (PRESENT,))])
def test_what_is_not_meant_says_little(absent_fits: bool, found: tuple[Hook, ...]) -> None:
    """At best that there is something else."""
    assert hooks(Not((Glob("web"),)), absent_fits=absent_fits) == found


def hangs(hook: Hook, value: str | int) -> bool:
    match hook.kind:
        case Kind.EXACT:
            return value == hook.key
        case Kind.PREFIX:
            return str(value).startswith(str(hook.key))
        case Kind.PART:
            return str(hook.key) in str(value)
        case Kind.PRESENT:
            return True


def _is_regex(text: str) -> bool:
    try:
        patterns_from_text.regex(text)
    except ValueError:
        return False
    return True


_pieces = ("a", "b", "|", "(", ")", "(?:", "[", "]", "^", "\\", "*", "?", ".", "(?#", "(?x:", "#")


@given(
    st.lists(st.sampled_from(_pieces), max_size=9).map("".join).filter(_is_regex),
    st.text("ab|()[]^", max_size=3),
)
def test_what_a_regular_expression_takes_begins_as_it_does(text: str, value: str) -> None:
    """However its choices, groups, brackets and comments are written."""
    pattern = regex(text)
    if pattern.compiled.fullmatch(value) is not None:
        assert all(hangs(hook, value) for hook in hooks(pattern, absent_fits=False))


@given(
    st.tuples(patterns(patterns_of_text), texts)
    | st.tuples(patterns(st.builds(Range, bounds, bounds)), st.integers(0, 3)),
    st.sampled_from((LABEL, NAME)),
)
def test_what_fits_a_pattern_has_its_hooks(
    tried: tuple[tuple[Pattern, ...], str | int], field: Field
) -> None:
    """Each of them, whatever the value; a pattern that fits nothing at all has none."""
    wanted, value = tried
    for pattern in wanted:
        found = hooks(pattern, absent_fits=field is LABEL)
        if pattern_holds(pattern, [value], field) and found:
            assert all(hangs(hook, value) for hook in found)
        if pattern_holds(pattern, [], field):
            assert not found
