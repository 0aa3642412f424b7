"""Piles of records: what comes out is what went in, and takes less room meanwhile."""

import random

from hypothesis import given
from hypothesis import strategies as st

from relay.ingest.docker.chunk import CHUNK_BYTES, RECORD_OVERHEAD_BYTES, Chunk, uncompressed_bytes

ALIKE = [b'{"Type":"container","Action":"die","timeNano":%d}' % number for number in range(99)]
PLENTY = 10**9


def make_chunk(records: list[bytes]) -> Chunk:
    pile = Chunk()
    assert pile.fill(records, 0, PLENTY) == len(records)
    return pile


def noise(size: int) -> bytes:
    """Nothing in it repeats, and it has no line feed."""
    return random.Random(size).randbytes(size).replace(b"\n", b" ")


def test_what_is_alike_takes_a_fraction_once_packed() -> None:
    """And is as it was once unpacked."""
    pile = make_chunk(ALIKE)
    assert pile.size == uncompressed_bytes(ALIKE)
    pile.compress()
    assert pile.is_compressed
    assert pile.size < uncompressed_bytes(ALIKE) / 10
    pile.decompress()
    assert not pile.is_compressed
    assert pile.size == uncompressed_bytes(ALIKE)
    assert pile.take(len(ALIKE), PLENTY) == ALIKE
    assert pile.is_empty


def test_what_does_not_repeat_never_takes_more() -> None:
    """Nobody can make it outgrow its bound with what cannot be packed."""
    content = noise(60_000)
    pile = make_chunk([content])
    pile.compress()
    assert pile.size <= uncompressed_bytes([content])
    pile.decompress()
    assert pile.take(1, PLENTY) == [content]


def test_a_long_record_is_alone_and_stays_as_it_is() -> None:
    """To pack it would hold up whoever reads."""
    long = b"x" * CHUNK_BYTES
    pile = Chunk()
    assert pile.fill([long, b"1"], 0, PLENTY) == 1
    pile.compress()
    assert not pile.is_compressed
    behind = Chunk()
    assert behind.fill([b"1", long], 0, PLENTY) == 1


def test_what_is_packed_is_packed_once() -> None:
    """Again changes nothing."""
    pile = make_chunk(ALIKE)
    pile.compress()
    size = pile.size
    pile.compress()
    assert (pile.is_compressed, pile.size) == (True, size)


def test_it_is_filled_no_further_than_there_is_room() -> None:
    """What does not fit is left to whoever has it."""
    pile, cost = Chunk(), RECORD_OVERHEAD_BYTES + 4
    assert pile.fill([b"1234"] * 9, 0, 3 * cost - 1) == 2
    assert pile.fill([b"1234"] * 9, 2, cost - 1) == 2
    assert pile.fill([b"1234"] * 9, 2, cost) == 3
    assert pile.size == 3 * cost


_RECORDS = st.lists(st.binary(min_size=1, max_size=40).map(lambda it: it.replace(b"\n", b" ")))


@given(_RECORDS, st.lists(st.tuples(st.booleans(), st.integers(1, 9), st.integers(0, 999))))
def test_records_come_out_in_order(
    records: list[bytes], steps: list[tuple[bool, int, int]]
) -> None:
    """Whatever is packed, added and taken in between, and it always knows its size."""
    pile, put, taken = Chunk(), 0, list[bytes]()
    for packs, most, size in steps:
        if not pile.is_compressed:
            put = pile.fill(records[: put + most], put, PLENTY)
        if packs:
            loose = pile.size
            pile.compress()
            assert pile.size <= loose
        else:
            pile.decompress()
            got = pile.take(most, size)
            assert len(got) <= most
            assert uncompressed_bytes(got) <= size
            taken += got
            assert pile.size == uncompressed_bytes(records[len(taken) : put])
            assert pile.is_empty == (len(taken) == put)
    pile.decompress()
    assert taken + pile.take(len(records), PLENTY) == records[:put]
