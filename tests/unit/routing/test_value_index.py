"""Finding the keys that one value has among many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.routing import value_index
from relay.routing.value_index import PRESENT, IndexKey, KeyKind, ValueIndex
from tests.unit.routing.test_index_keys import has_key


def prefix(text: str) -> IndexKey:
    return IndexKey(KeyKind.PREFIX, text)


def part(text: str) -> IndexKey:
    return IndexKey(KeyKind.PART, text)


def find_numbers(value: str | int, *keys: IndexKey) -> list[int]:
    """Return the positions of the keys that are found, in order."""
    numbers: list[int] = []
    ValueIndex([(key, number) for number, key in enumerate(keys)]).collect(value, numbers)
    return sorted(set(numbers))


def test_exact_values() -> None:
    """A text or a number is found as it is, and nothing that looks like it."""
    keys = (IndexKey(KeyKind.EXACT, "1"), IndexKey(KeyKind.EXACT, 1), IndexKey(KeyKind.EXACT, "1"))
    assert find_numbers("1", *keys) == [0, 2]
    assert find_numbers(1, *keys) == [1]
    assert find_numbers("11", *keys) == []


def test_prefixes() -> None:
    """All prefixes of the value are found, of any length."""
    keys = (prefix("a"), prefix("ab"), prefix("abc"), prefix("b"))
    assert find_numbers("ab", *keys) == [0, 1]
    assert find_numbers("abcd", *keys) == [0, 1, 2]
    assert find_numbers(7, *keys) == []


def test_prefixes_of_many_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are cut to the most frequent lengths and to the shortest."""
    monkeypatch.setattr(value_index, "PREFIX_LENGTHS_MAX", 2)
    keys = (prefix("a"), prefix("abc"), prefix("abd"), prefix("abcdefgh"), prefix("ax"))
    assert find_numbers("abcd", *keys) == [0, 1, 3, 4]  # the last two as "abc" and "a"
    assert find_numbers("abd", *keys) == [0, 2, 4]
    assert find_numbers("b", *keys) == []


def test_parts() -> None:
    """A part is found at any position of the value."""
    keys = (part("web"), part("-web-"), part("database"))
    assert find_numbers("shop-web-1", *keys) == [0, 1]
    assert find_numbers("web", *keys) == [0]
    assert find_numbers("we", *keys) == []


def test_a_part_is_found_by_its_rarest_piece() -> None:
    """A piece that many parts share finds none of them."""
    keys = [part(f"-service-{number:03}-") for number in range(100, 200)]
    assert find_numbers("shop-service-142-1", *keys) == [42]


def test_a_long_value_returns_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long value returns all parts, if that costs less than searching for them."""
    monkeypatch.setattr(value_index, "POSITIONS_PER_MATCH", 3)
    keys = (part("abc"), part("def"), prefix("abc"))
    assert find_numbers("123456", *keys) == []
    assert find_numbers("1234567", *keys) == [0, 1]


def test_keys_for_any_value() -> None:
    """Keys that only require a value are found for every value."""
    assert find_numbers(7, PRESENT, prefix("a"), PRESENT) == [0, 2]


_texts = st.text("ab-", min_size=1, max_size=6)
_keys = st.one_of(
    st.builds(IndexKey, st.just(KeyKind.EXACT), _texts | st.integers(0, 2)),
    st.builds(IndexKey, st.just(KeyKind.PREFIX), _texts),
    st.builds(IndexKey, st.just(KeyKind.PART), st.text("ab-", min_size=3, max_size=10)),
    st.just(PRESENT),
)


@given(st.lists(_keys, max_size=12), st.text("ab-", max_size=12) | st.integers(0, 2))
def test_no_key_is_missed(keys: list[IndexKey], value: str | int) -> None:
    """For any keys and any value, no key is missed; only keys of the value's type are found."""
    expected = {number for number, key in enumerate(keys) if has_key(key, value)}
    if not isinstance(value, str):
        kinds = (KeyKind.EXACT, KeyKind.PRESENT)
        expected = {number for number in expected if keys[number].kind in kinds}
    assert expected <= set(find_numbers(value, *keys))
