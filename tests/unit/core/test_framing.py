"""Splitting a stream into records: any chunks in, whole records out."""

import json

from hypothesis import given
from hypothesis import strategies as st

from relay.core.framing import RecordSplitter

RECORDS = [b'{"a":1}', b'{"b":"x y"}', b'{"c":"\xc3\xa9"}']


def split(chunks: list[bytes], limit: int = 1000) -> list[bytes]:
    """Return the records of a stream that arrives in these chunks."""
    splitter = RecordSplitter(limit)
    return [record for chunk in chunks for record in splitter.feed(chunk)]


def test_a_record_ends_with_a_line_feed() -> None:
    """A part without a line feed is kept for later."""
    splitter = RecordSplitter()
    assert splitter.feed(b'{"a":1}\n{"b"') == [b'{"a":1}']
    assert splitter.feed(b":2}\n") == [b'{"b":2}']


def test_one_byte_a_chunk() -> None:
    """The smallest chunks give the same records."""
    stream = b"\n".join(RECORDS) + b"\n"
    assert split([bytes([byte]) for byte in stream]) == RECORDS


def test_blank_lines_and_carriage_returns_are_no_records() -> None:
    """Keep-alive lines and CRLF line ends leave no trace."""
    assert split([b'\r\n\n  \n{"a":1}\r\n\r\n']) == [b'{"a":1}']


def test_record_separators_of_rfc_7464() -> None:
    """A separator begins a record, and ends one that was cut short."""
    assert split([b'\x1e{"a":1}\n\x1e{"b":\x1e{"c":3}\n']) == [b'{"a":1}', b'{"b":', b'{"c":3}']


def test_an_endless_record_is_discarded_and_counted() -> None:
    """Memory stays bounded, and the next record is read."""
    splitter = RecordSplitter(limit=10)
    assert splitter.feed(b"x" * 8) == []
    assert splitter.feed(b"x" * 8) == []
    assert splitter.feed(b"x" * 8 + b"\nnext\n") == [b"next"]
    assert splitter.oversized == 1


def test_a_record_too_long_in_one_chunk_is_counted_once() -> None:
    """The limit also applies to whole lines."""
    splitter = RecordSplitter(limit=10)
    assert splitter.feed(b"y" * 11 + b"\nok\n" + b"z" * 11 + b"\n") == [b"ok"]
    assert splitter.oversized == 2


@given(
    st.lists(st.dictionaries(st.text(), st.text(), min_size=1), max_size=8),
    st.lists(st.integers(1, 40), max_size=60),
)
def test_records_do_not_depend_on_the_chunks(
    records: list[dict[str, str]], sizes: list[int]
) -> None:
    """However a stream is cut into chunks, the same records come out."""
    lines = [json.dumps(record).encode() for record in records]
    stream = b"".join(line + b"\n" for line in lines)
    chunks = []
    for size in sizes:
        chunks.append(stream[:size])
        stream = stream[size:]
    assert split([*chunks, stream], limit=10**6) == lines


@given(
    st.lists(st.text(alphabet="ab \r\n\x1e", max_size=30).map(str.encode), max_size=20),
    st.integers(1, 12),
)
def test_the_limit_does_not_depend_on_the_chunks(chunks: list[bytes], limit: int) -> None:
    """However a stream is cut, exactly the records within the limit come out."""
    splitter = RecordSplitter(limit)
    found = [record for chunk in chunks for record in splitter.feed(chunk)]
    *ended, rest = b"".join(chunks).replace(b"\x1e", b"\n").split(b"\n")
    assert found == [it.strip() for it in ended if it.strip() and len(it) <= limit]
    assert splitter.oversized == sum(len(it) > limit for it in (*ended, rest))
