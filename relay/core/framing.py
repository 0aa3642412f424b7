"""Splits the bytes of an event stream into records.

An engine sends one JSON text per event, but the network delivers them in chunks of any size. A
splitter keeps the incomplete end of a chunk until the rest arrives. It limits the length of a
record, so that an endless one cannot fill the memory. It lives as long as its connection.
"""

RECORD_MAX_BYTES = 4 * 1024 * 1024
"""The longest record that is kept; an engine's event has some hundred bytes."""


class RecordSplitter:
    """Splits the bytes of one connection into records.

    A record ends with a line feed (``application/json`` and ``application/jsonl`` of the engines)
    or where an RFC 7464 record separator (0x1E) begins the next one. Neither can occur unescaped
    inside a JSON text (RFC 8259, section 7). Blank records are skipped. An incomplete record at the
    end of the connection is discarded: the engine repeats it.
    """

    def __init__(self, limit: int = RECORD_MAX_BYTES) -> None:
        """``limit`` is the maximum length of a record in bytes."""
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False
        self.oversized = 0
        """Records that were discarded because they were longer than the limit."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the records that ``chunk`` completes, in order, without their separators."""
        *ended, rest = chunk.replace(b"\x1e", b"\n").split(b"\n")
        if len(chunk) > self._limit:
            ended = [self._complete(part) for part in ended]
        elif ended and (self._parts or self._skipping):
            ended[0] = self._complete(ended[0])
        self._append(rest)
        return [record for part in ended if (record := part.strip())]

    def _complete(self, part: bytes) -> bytes:
        """Return the record that ends with this part; empty if it is too long."""
        self._append(part)
        record = b"".join(self._parts)
        self._clear()
        self._skipping = False
        return record

    def _append(self, part: bytes) -> None:
        if self._skipping or not part:
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._limit:
            self.oversized += 1
            self._skipping = True
            self._clear()

    def _clear(self) -> None:
        self._parts.clear()
        self._size = 0
