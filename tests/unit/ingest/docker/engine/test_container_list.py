"""Parsing the list of containers, in any chunks and with any content."""

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


def parse(*chunks: bytes, max_containers: int = 10) -> dict[str, str]:
    """Return the states in a list that arrives in these chunks."""
    parser = ContainerListParser(max_containers)
    for chunk in chunks:
        parser.feed(chunk)
    return parser.states()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """Return the body in pieces, cut at these positions."""
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
    """Other fields may contain braces, quotes and escapes in strings, nested or not."""
    listed = [
        {**more, "Id": id_, "State": state} if state is not None else {**more, "Id": id_}
        for more, id_, state in entries
        if not more.keys() & {"Id", "State"}
    ]
    body = json.dumps(listed, ensure_ascii=ascii_only, indent=indent).encode()
    expected = {entry["Id"]: entry.get("State", "") for entry in listed}
    assert parse(*cut(body, places)) == expected
    assert parse(*(body[at : at + 1] for at in range(len(body)))) == expected


@given(st.binary(max_size=60) | st.text(st.sampled_from('[]{}",:\\Id 7')).map(str.encode))
def test_anything_else_is_no_list(body: bytes) -> None:
    """Any input raises the one error or is a list in form."""
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
def test_an_invalid_list(body: bytes) -> None:
    """An invalid list is rejected, also if cut off: missing containers would seem to be gone."""
    with pytest.raises(InvalidContainerList, match="cannot be read"):
        parse(body)


def test_long_texts_are_skipped() -> None:
    """A label or a command of any length hides no container and uses no memory."""
    parser = ContainerListParser()
    parser.feed(b'[{"Id": "a", "Labels": {"long": "')
    for _ in range(100):
        parser.feed(b"}]\\\"'" * 1000)
    parser.feed(b'"}, "Command": "xxx')
    for _ in range(100):
        parser.feed(b"\\\\{[" * 1000)
        assert len(parser._entry) < 2 * TEXT_MAX_BYTES
    parser.feed(b'", "State": "running"}, {"Id": "b"}]')
    assert parser.states() == {"a": "running", "b": ""}


def test_an_endless_entry_is_rejected() -> None:
    """An entry that never ends is rejected, so that it cannot fill the memory."""
    endless = b'"x": 1, ' * (container_list.ENTRY_MAX_BYTES // 8)
    with pytest.raises(InvalidContainerList):
        parse(b'[{"Id": "a", ', endless)


def test_a_list_of_too_many_containers_is_rejected() -> None:
    """A list that is too long is rejected, so no container seems to be gone."""
    body = json.dumps([{"Id": str(number)} for number in range(11)]).encode()
    assert len(parse(body, max_containers=11)) == 11
    with pytest.raises(InvalidContainerList, match="a list of more than 10 containers"):
        parse(body)
