"""Chunks of buffered records. A chunk that waits is compressed: an engine's events are alike."""

import asyncio
import zlib

RECORD_OVERHEAD_BYTES = 128
"""Approximate memory of a record in addition to its content."""

CHUNK_OVERHEAD_BYTES = 256
"""Approximate memory of a compressed chunk in addition to its content."""

CHUNK_BYTES = 64 * 1024
"""The size of a full chunk, as `uncompressed_bytes` measures it. Even content that compresses badly
takes only a millisecond. Larger chunks would hardly compress better: the method (RFC 1951) finds
repetitions within 32 KiB."""

SAMPLE_BYTES = 64 * 1024
"""How much of a long record is compressed first, to see whether it is worth it: the whole takes
some 10 ms for each MiB, and double that if it compresses badly."""

SAMPLE_MAX_RATIO = 7 / 8
"""A long record is compressed only if its beginning shrinks to less than this."""

_ZLIB_LEVEL = 1
"""The fastest level: an event takes about a microsecond, and usually shrinks to a fifth or less."""

_RAW_DEFLATE = -15
"""zlib's ``wbits``: a window of 32 KiB without header and checksum, as nothing leaves memory."""


class Chunk:
    """Consecutive records, taken first in, first out.

    It holds as many records as fit into `CHUNK_BYTES`; a longer record has a chunk of its own. No
    record contains a line feed, because that is where the stream is split into records.
    """

    __slots__ = ("_compressed", "_records", "size_bytes", "uncompressed_size_bytes")

    def __init__(self) -> None:
        self._records: list[bytes] = []
        self._compressed: bytes | None = None
        self.size_bytes = 0
        """How much memory the chunk takes now."""
        self.uncompressed_size_bytes = 0
        """How much it takes when it is not compressed."""

    @property
    def is_long(self) -> bool:
        """Whether it holds a single record that is longer than other chunks."""
        return self.uncompressed_size_bytes > CHUNK_BYTES

    @property
    def is_compressed(self) -> bool:
        """Whether the chunk is compressed. If so, nothing can be added or taken."""
        return self._compressed is not None

    @property
    def is_empty(self) -> bool:
        """Whether every record was taken."""
        return not self.size_bytes

    def fill(self, records: list[bytes], first: int, free_bytes: int) -> int:
        """Add records from index ``first`` while they fit into the chunk and into ``free_bytes``.

        Returns the index of the first record that was not added.
        """
        index, size = first, self.size_bytes
        free_bytes += size
        for index in range(first, len(records) + 1):
            if index == len(records):
                break
            grown = size + RECORD_OVERHEAD_BYTES + len(records[index])
            if grown > free_bytes or (grown > CHUNK_BYTES and size):
                break
            size = grown
        self._records += records[first:index]
        self.size_bytes = self.uncompressed_size_bytes = size
        return index

    def compress(self) -> None:
        """Compress the chunk, unless it is long or that would not make it smaller."""
        if not (self.is_compressed or self.is_long):
            self._set_compressed(_compress(b"\n".join(self._records)))

    async def compress_long(self) -> None:
        """Compress a long chunk in a thread, unless it would remain nearly as large.

        If the record is taken meanwhile, nothing happens.
        """
        if self.is_compressed or not self._records:
            return
        compressed = await asyncio.to_thread(_compress_long, self._records[0])
        if compressed is not None and self._records:
            self._set_compressed(compressed)

    def _set_compressed(self, compressed: bytes) -> None:
        if CHUNK_OVERHEAD_BYTES + len(compressed) < self.size_bytes:
            self._records, self._compressed = [], compressed
            self.size_bytes = CHUNK_OVERHEAD_BYTES + len(compressed)

    def take(self, max_records: int, max_bytes: int) -> list[bytes]:
        """Take up to ``max_records`` of the first records, of up to ``max_bytes`` uncompressed.

        The chunk must not be compressed.
        """
        if len(self._records) <= max_records and self.size_bytes <= max_bytes:
            taken, self._records = self._records, []
            self.size_bytes = self.uncompressed_size_bytes = 0
            return taken
        count = 0
        for content in self._records[:max_records]:
            max_bytes -= RECORD_OVERHEAD_BYTES + len(content)
            if max_bytes < 0:
                break
            count += 1
        taken, self._records = self._records[:count], self._records[count:]
        self.size_bytes -= uncompressed_bytes(taken)
        self.uncompressed_size_bytes = self.size_bytes
        return taken

    def decompress(self) -> None:
        """Restore the records of a compressed chunk."""
        if self._compressed is not None:
            self._set_decompressed(_decompress(self._compressed, self.uncompressed_size_bytes))

    async def decompress_long(self) -> None:
        """Restore the record of a long chunk, in a thread."""
        if (compressed := self._compressed) is not None:
            content = await asyncio.to_thread(_decompress, compressed, self.uncompressed_size_bytes)
            if self.is_compressed:
                self._set_decompressed(content)

    def _set_decompressed(self, content: bytes) -> None:
        self._records = [content] if self.is_long else content.split(b"\n")
        self._compressed, self.size_bytes = None, self.uncompressed_size_bytes


def _compress(content: bytes) -> bytes:
    return zlib.compress(content, _ZLIB_LEVEL, _RAW_DEFLATE)


def _compress_long(content: bytes) -> bytes | None:
    """Return the compressed content; None if its beginning hardly shrinks."""
    sample = _compress(content[:SAMPLE_BYTES])
    return None if len(sample) > SAMPLE_MAX_RATIO * SAMPLE_BYTES else _compress(content)


def _decompress(compressed: bytes, expected_bytes: int) -> bytes:
    return zlib.decompress(compressed, _RAW_DEFLATE, expected_bytes)


def uncompressed_bytes(records: list[bytes]) -> int:
    """Return how much memory these records take while they are not compressed."""
    return RECORD_OVERHEAD_BYTES * len(records) + sum(map(len, records))
