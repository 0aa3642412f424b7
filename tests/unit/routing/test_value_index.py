"""Many hooks and one value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.routing import value_index
from relay.routing.index_keys import PRESENT, IndexKey, KeyKind
from relay.routing.value_index import ValueIndex
from tests.unit.routing.test_index_keys import has_key


def prefix(text: str) -> IndexKey:
    return IndexKey(KeyKind.PREFIX, text)


def part(text: str) -> IndexKey:
    return IndexKey(KeyKind.PART, text)


def find_numbers(value: str | int, *hooks: IndexKey) -> list[int]:
    """The places of the hooks that are found, in order."""
    numbers: list[int] = []
    ValueIndex([(hook, number) for number, hook in enumerate(hooks)]).collect(value, numbers)
    return sorted(set(numbers))


def test_values_themselves() -> None:
    """A text or a number is found as it is, and nothing that looks like it."""
    hooks = (IndexKey(KeyKind.EXACT, "1"), IndexKey(KeyKind.EXACT, 1), IndexKey(KeyKind.EXACT, "1"))
    assert find_numbers("1", *hooks) == [0, 2]
    assert find_numbers(1, *hooks) == [1]
    assert find_numbers("11", *hooks) == []


def test_beginnings() -> None:
    """All that the value begins with, of whatever length."""
    hooks = (prefix("a"), prefix("ab"), prefix("abc"), prefix("b"))
    assert find_numbers("ab", *hooks) == [0, 1]
    assert find_numbers("abcd", *hooks) == [0, 1, 2]
    assert find_numbers(7, *hooks) == []


def test_beginnings_of_many_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are cut to those that most have, and to the shortest."""
    monkeypatch.setattr(value_index, "PREFIX_LENGTHS_MAX", 2)
    hooks = (prefix("a"), prefix("abc"), prefix("abd"), prefix("abcdefgh"), prefix("ax"))
    assert find_numbers("abcd", *hooks) == [0, 1, 3, 4]  # the last two as "abc" and "a"
    assert find_numbers("abd", *hooks) == [0, 2, 4]
    assert find_numbers("b", *hooks) == []


def test_parts() -> None:
    """Wherever they stand."""
    hooks = (part("web"), part("-web-"), part("database"))
    assert find_numbers("shop-web-1", *hooks) == [0, 1]
    assert find_numbers("web", *hooks) == [0]
    assert find_numbers("we", *hooks) == []


def test_a_part_is_found_by_what_is_rare_in_it() -> None:
    """What many have in common tells none of them."""
    hooks = [part(f"-service-{number:03}-") for number in range(100, 200)]
    assert find_numbers("shop-service-142-1", *hooks) == [42]


def test_in_a_long_value_no_part_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that want one are given, where that costs less."""
    monkeypatch.setattr(value_index, "POSITIONS_PER_MATCH", 3)
    hooks = (part("abc"), part("def"), prefix("abc"))
    assert find_numbers("123456", *hooks) == []
    assert find_numbers("1234567", *hooks) == [0, 1]


def test_what_takes_any_value() -> None:
    """It is found by each."""
    assert find_numbers(7, PRESENT, prefix("a"), PRESENT) == [0, 2]


_texts = st.text("ab-", min_size=1, max_size=6)
_hooks = st.one_of(
    st.builds(IndexKey, st.just(KeyKind.EXACT), _texts | st.integers(0, 2)),
    st.builds(IndexKey, st.just(KeyKind.PREFIX), _texts),
    st.builds(IndexKey, st.just(KeyKind.PART), st.text("ab-", min_size=3, max_size=10)),
    st.just(PRESENT),
)


@given(st.lists(_hooks, max_size=12), st.text("ab-", max_size=12) | st.integers(0, 2))
def test_none_is_missed(hooks: list[IndexKey], value: str | int) -> None:
    """Whatever the hooks and the value; and nothing comes of a hook of another kind of value."""
    meant = {number for number, hook in enumerate(hooks) if has_key(hook, value)}
    if not isinstance(value, str):
        kinds = (KeyKind.EXACT, KeyKind.PRESENT)
        meant = {number for number in meant if hooks[number].kind in kinds}
    assert meant <= set(find_numbers(value, *hooks))
