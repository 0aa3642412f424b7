"""Piles of records: what comes out is what went in, and takes less room meanwhile."""

import random

from hypothesis import given
from hypothesis import strategies as st

from relay.ingest.docker.chunk import PILE_SIZE, RECORD_COST, Pile, weight

ALIKE = [b'{"Type":"container","Action":"die","timeNano":%d}' % number for number in range(99)]
PLENTY = 10**9


def pile_of(records: list[bytes]) -> Pile:
    pile = Pile()
    assert pile.fill(records, 0, PLENTY) == len(records)
    return pile


def noise(size: int) -> bytes:
    """Nothing in it repeats, and it has no line feed."""
    return random.Random(size).randbytes(size).replace(b"\n", b" ")


def test_what_is_alike_takes_a_fraction_once_packed() -> None:
    """And is as it was once unpacked."""
    pile = pile_of(ALIKE)
    assert pile.size == weight(ALIKE)
    pile.pack()
    assert pile.packed
    assert pile.size < weight(ALIKE) / 10
    pile.unpack()
    assert not pile.packed
    assert pile.size == weight(ALIKE)
    assert pile.take(len(ALIKE), PLENTY) == ALIKE
    assert pile.empty


def test_what_does_not_repeat_never_takes_more() -> None:
    """Nobody can make it outgrow its bound with what cannot be packed."""
    content = noise(60_000)
    pile = pile_of([content])
    pile.pack()
    assert pile.size <= weight([content])
    pile.unpack()
    assert pile.take(1, PLENTY) == [content]


def test_a_long_record_is_alone_and_stays_as_it_is() -> None:
    """To pack it would hold up whoever reads."""
    long = b"x" * PILE_SIZE
    pile = Pile()
    assert pile.fill([long, b"1"], 0, PLENTY) == 1
    pile.pack()
    assert not pile.packed
    behind = Pile()
    assert behind.fill([b"1", long], 0, PLENTY) == 1


def test_what_is_packed_is_packed_once() -> None:
    """Again changes nothing."""
    pile = pile_of(ALIKE)
    pile.pack()
    size = pile.size
    pile.pack()
    assert (pile.packed, pile.size) == (True, size)


def test_it_is_filled_no_further_than_there_is_room() -> None:
    """What does not fit is left to whoever has it."""
    pile, cost = Pile(), RECORD_COST + 4
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
    pile, put, taken = Pile(), 0, list[bytes]()
    for packs, most, size in steps:
        if not pile.packed:
            put = pile.fill(records[: put + most], put, PLENTY)
        if packs:
            loose = pile.size
            pile.pack()
            assert pile.size <= loose
        else:
            pile.unpack()
            got = pile.take(most, size)
            assert len(got) <= most
            assert weight(got) <= size
            taken += got
            assert pile.size == weight(records[len(taken) : put])
            assert pile.empty == (len(taken) == put)
    pile.unpack()
    assert taken + pile.take(len(records), PLENTY) == records[:put]
