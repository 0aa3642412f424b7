"""Records that wait, packed where many do: the events of one engine are much alike."""

import zlib

RECORD_OVERHEAD_BYTES = 128
"""What a record takes in memory beside its content, in bytes, about."""

CHUNK_OVERHEAD_BYTES = 256
"""The same for a pile that is packed."""

CHUNK_BYTES = 64 * 1024
"""So much is packed at once, in bytes by `weight`: what is hardest to pack takes a millisecond.
The method (RFC 1951) finds what repeats within 32 KiB, so more at once would hardly become less."""

_ZLIB_LEVEL = 1
"""Of zlib's levels; an event takes a microsecond, and mostly a fifth of its size or less."""

_RAW_DEFLATE = -15
"""The window of 32 KiB, and no checksum: it never leaves memory."""


class Chunk:
    """Records in a row, of which the first are taken first.

    There is one at least, and as many as make up `CHUNK_BYTES`; a record that is longer is alone.
    None holds a line feed: that ends a record where it is read.
    """

    __slots__ = ("_loose", "_packed", "size")

    def __init__(self) -> None:
        self._loose: list[bytes] = []
        self._packed: bytes | None = None
        self.size = 0
        """What it takes in memory now, in bytes."""

    @property
    def is_compressed(self) -> bool:
        """Whether it is; then nothing can be added."""
        return self._packed is not None

    @property
    def is_empty(self) -> bool:
        """Whether all is taken."""
        return not self.size

    def fill(self, records: list[bytes], first: int, free_bytes: int) -> int:
        """Add records from the ``first`` on while they fit into it and into the room.

        Returns which is the next.
        """
        place, size = first, self.size
        free_bytes += size
        for place in range(first, len(records) + 1):
            if place == len(records):
                break
            grown = size + RECORD_OVERHEAD_BYTES + len(records[place])
            if grown > free_bytes or (grown > CHUNK_BYTES and size):
                break
            size = grown
        self._loose += records[first:place]
        self.size = size
        return place

    def compress(self) -> None:
        """Make it as small as it gets; one that would be no smaller stays as it is.

        So does a single long record, which would take too long.
        """
        if self.is_compressed or self.size > CHUNK_BYTES:
            return
        packed = zlib.compress(b"\n".join(self._loose), _ZLIB_LEVEL, _RAW_DEFLATE)
        if CHUNK_OVERHEAD_BYTES + len(packed) < self.size:
            self._loose, self._packed = [], packed
            self.size = CHUNK_OVERHEAD_BYTES + len(packed)

    def take(self, max_records: int, max_bytes: int) -> list[bytes]:
        """Up to ``most`` of the first records, of up to ``size`` bytes by `weight`.

        It has to be unpacked.
        """
        if len(self._loose) <= max_records and self.size <= max_bytes:
            taken, self._loose, self.size = self._loose, [], 0
            return taken
        count = 0
        for content in self._loose[:max_records]:
            max_bytes -= RECORD_OVERHEAD_BYTES + len(content)
            if max_bytes < 0:
                break
            count += 1
        taken, self._loose = self._loose[:count], self._loose[count:]
        self.size -= uncompressed_bytes(taken)
        return taken

    def decompress(self) -> None:
        """Make it as it was before it was packed."""
        if self._packed is not None:
            self._loose = zlib.decompress(self._packed, _RAW_DEFLATE, CHUNK_BYTES).split(b"\n")
            self._packed, self.size = None, uncompressed_bytes(self._loose)


def uncompressed_bytes(records: list[bytes]) -> int:
    """What records take in memory that are not packed, in bytes."""
    return RECORD_OVERHEAD_BYTES * len(records) + sum(map(len, records))
