"""The list of containers: what is needed of it, in any chunks, and whatever people write in it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.ingest.docker.engine import container_list
from relay.ingest.docker.engine.container_list import (
    TEXT_MAX_BYTES,
    ContainerListParser,
    InvalidContainerList,
)

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(['{"[', '\\"}', "]}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_ENTRIES = st.lists(
    st.tuples(
        st.dictionaries(st.text(), _JSON, max_size=4),
        st.text(min_size=1, max_size=20),
        st.none() | st.text(max_size=20),
    ),
    max_size=5,
)


def parse(*chunks: bytes, most: int = 10) -> dict[str, str]:
    """The states in a list that comes in these chunks."""
    reading = ContainerListParser(most)
    for chunk in chunks:
        reading.feed(chunk)
    return reading.states()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """The body in pieces, cut at these places."""
    ends = sorted({place % (len(body) + 1) for place in places} | {len(body)})
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(
    _ENTRIES, st.booleans(), st.sampled_from([None, 1]), st.lists(st.integers(0, 10**6), max_size=9)
)
def test_any_list_in_any_chunks(
    entries: list[tuple[dict[str, Any], str, str | None]],
    ascii_only: bool,
    indent: int | None,
    places: list[int],
) -> None:
    """Whatever else it has, with braces, quotes and escapes in texts, nested or not."""
    shown = [
        {**more, "Id": id_, "State": state} if state is not None else {**more, "Id": id_}
        for more, id_, state in entries
        if not more.keys() & {"Id", "State"}
    ]
    body = json.dumps(shown, ensure_ascii=ascii_only, indent=indent).encode()
    wanted = {entry["Id"]: entry.get("State", "") for entry in shown}
    assert parse(*cut(body, places)) == wanted
    assert parse(*(body[at : at + 1] for at in range(len(body)))) == wanted


@given(st.binary(max_size=60) | st.text(st.sampled_from('[]{}",:\\Id 7')).map(str.encode))
def test_anything_else_is_no_list(body: bytes) -> None:
    """Nothing makes anything but the one error; what is read as a list is one in form."""
    try:
        states = parse(body)
    except InvalidContainerList:
        return
    assert body.strip().startswith(b"[")
    assert body.strip(b" \t\r\n,").endswith(b"]")
    assert all(states)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[7]",
        b"[[]]",
        b"<html>",
        b"\xff",
        b"[" * 100_000,
        b"[]]",
        b"[][",
        b"[] x",
        b"[}",
        b'["a"]',
        b'[{"Id": null}]',
        b'[{"Id": ""}]',
        b'[{"Id": 7}]',
        b'[{"State": "running"}]',
        b'[{"Id": {"x": "a"}}]',
        b'[{"Id": "a", "State": ["running"]}]',
        b'[{"Id": "a"}',
        b'[{"Id": "a"',
        b'[{"Id": "\xff"}]',
        b'[{"Id": "a"]]',
    ],
)
def test_what_is_no_list_of_containers(body: bytes) -> None:
    """Or one that is cut off: nothing is made of a part, for what is missing would seem gone."""
    with pytest.raises(InvalidContainerList, match="cannot be read"):
        parse(body)


def test_long_texts_are_passed_over() -> None:
    """A label or a command of any length hides no container, and takes no memory."""
    reading = ContainerListParser()
    reading.feed(b'[{"Id": "a", "Labels": {"long": "')
    for _ in range(100):
        reading.feed(b"}]\\\"'" * 1000)
    reading.feed(b'"}, "Command": "xxx')
    for _ in range(100):
        reading.feed(b"\\\\{[" * 1000)
        assert len(reading._entry) < 2 * TEXT_MAX_BYTES
    reading.feed(b'", "State": "running"}, {"Id": "b"}]')
    assert reading.states() == {"a": "running", "b": ""}


def test_an_entry_without_end_is_no_list() -> None:
    """However it is drawn out."""
    endless = b'"x": 1, ' * (container_list.ENTRY_MAX_BYTES // 8)
    with pytest.raises(InvalidContainerList):
        parse(b'[{"Id": "a", ', endless)


def test_a_list_of_too_many() -> None:
    """Is refused, and says so; not one container is taken for gone."""
    body = json.dumps([{"Id": str(number)} for number in range(11)]).encode()
    assert len(parse(body, most=11)) == 11
    with pytest.raises(InvalidContainerList, match="a list of more than 10 containers"):
        parse(body)
