"""Chunks of records: they return what was put in, and take less memory while compressed."""

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from relay.ingest.docker.chunk import CHUNK_BYTES, RECORD_OVERHEAD_BYTES, Chunk, uncompressed_bytes

ALIKE = [b'{"Type":"container","Action":"die","timeNano":%d}' % number for number in range(99)]
PLENTY = 10**9


def make_chunk(records: list[bytes]) -> Chunk:
    chunk = Chunk()
    assert chunk.fill(records, 0, PLENTY) == len(records)
    return chunk


def noise(size: int) -> bytes:
    """Random bytes without a line feed: nothing in them repeats."""
    return random.Random(size).randbytes(size).replace(b"\n", b" ")


def test_similar_records_compress_to_a_fraction() -> None:
    """Similar records take a fraction of their size, and decompressing restores them."""
    chunk = make_chunk(ALIKE)
    assert chunk.size_bytes == uncompressed_bytes(ALIKE)
    chunk.compress()
    assert chunk.is_compressed
    assert chunk.size_bytes < uncompressed_bytes(ALIKE) / 10
    chunk.decompress()
    assert not chunk.is_compressed
    assert chunk.size_bytes == uncompressed_bytes(ALIKE)
    assert chunk.take(len(ALIKE), PLENTY) == ALIKE
    assert chunk.is_empty


def test_incompressible_content_never_takes_more() -> None:
    """Hostile content cannot make a chunk grow."""
    content = noise(60_000)
    chunk = make_chunk([content])
    chunk.compress()
    assert chunk.size_bytes <= uncompressed_bytes([content])
    chunk.decompress()
    assert chunk.take(1, PLENTY) == [content]


def test_a_long_record_is_alone_and_not_compressed_at_once() -> None:
    """Compressing it would hold up the event loop."""
    long = b"x" * CHUNK_BYTES
    chunk = Chunk()
    assert chunk.fill([long, b"1"], 0, PLENTY) == 1
    chunk.compress()
    assert not chunk.is_compressed
    behind = Chunk()
    assert behind.fill([b"1", long], 0, PLENTY) == 1


async def test_a_long_record_is_compressed_beside_the_event_loop() -> None:
    """It takes a fraction of its size, and decompressing restores it."""
    long = b" ".join(ALIKE * 100)
    chunk = make_chunk([long])
    await chunk.compress_long()
    assert chunk.is_compressed
    assert chunk.size_bytes < len(long) / 10
    assert chunk.uncompressed_size_bytes == uncompressed_bytes([long])
    await chunk.decompress_long()
    assert chunk.size_bytes == uncompressed_bytes([long])
    assert chunk.take(1, PLENTY) == [long]
    assert chunk.is_empty


async def test_a_long_record_that_hardly_shrinks_stays_as_it_is() -> None:
    """Its beginning shows that, so the rest of it costs nothing."""
    chunk = make_chunk([noise(10**6)])
    await chunk.compress_long()
    assert not chunk.is_compressed


async def test_a_long_record_that_is_taken_while_it_is_compressed() -> None:
    """The chunk stays empty."""
    long = b" ".join(ALIKE * 100)
    chunk = make_chunk([long])
    compressing = asyncio.ensure_future(chunk.compress_long())
    await asyncio.sleep(0)
    assert chunk.take(1, PLENTY) == [long]
    await compressing
    assert chunk.is_empty
    assert not chunk.is_compressed


def test_compressing_twice_changes_nothing() -> None:
    """The second call leaves the chunk as it is."""
    chunk = make_chunk(ALIKE)
    chunk.compress()
    size = chunk.size_bytes
    chunk.compress()
    assert (chunk.is_compressed, chunk.size_bytes) == (True, size)


def test_a_chunk_is_filled_only_while_there_is_space() -> None:
    """The records that do not fit are left to the caller."""
    chunk, cost = Chunk(), RECORD_OVERHEAD_BYTES + 4
    assert chunk.fill([b"1234"] * 9, 0, 3 * cost - 1) == 2
    assert chunk.fill([b"1234"] * 9, 2, cost - 1) == 2
    assert chunk.fill([b"1234"] * 9, 2, cost) == 3
    assert chunk.size_bytes == 3 * cost


_RECORDS = st.lists(
    st.binary(min_size=1, max_size=40).map(lambda content: content.replace(b"\n", b" "))
)


@given(_RECORDS, st.lists(st.tuples(st.booleans(), st.integers(1, 9), st.integers(0, 999))))
def test_records_are_returned_in_order(
    records: list[bytes], steps: list[tuple[bool, int, int]]
) -> None:
    """In any sequence of calls, records keep their order and the size is right."""
    chunk, put, taken = Chunk(), 0, list[bytes]()
    for compresses, most, size in steps:
        if not chunk.is_compressed:
            put = chunk.fill(records[: put + most], put, PLENTY)
        if compresses:
            before = chunk.size_bytes
            chunk.compress()
            assert chunk.size_bytes <= before
        else:
            chunk.decompress()
            records_taken = chunk.take(most, size)
            assert len(records_taken) <= most
            assert uncompressed_bytes(records_taken) <= size
            taken += records_taken
            assert chunk.size_bytes == uncompressed_bytes(records[len(taken) : put])
            assert chunk.is_empty == (len(taken) == put)
    chunk.decompress()
    assert taken + chunk.take(len(records), PLENTY) == records[:put]
