"""Bytes in, records out: the framing of an event stream, whatever the chunks."""

RECORD_MAX_BYTES = 4 * 1024 * 1024
"""The longest record that is kept, in bytes; an event of an engine has some hundred."""


class RecordSplitter:
    """Cuts one connection's bytes into records; one connection, one framer.

    A record ends with a line feed (``application/json`` and ``application/jsonl`` of the engines)
    or where an RFC 7464 record separator (0x1E) begins the next. Neither can stand inside a JSON
    text unescaped (RFC 8259, section 7). Blank records are passed over. What is left when the
    connection ends is no record: the engine repeats it.
    """

    def __init__(self, limit: int = RECORD_MAX_BYTES) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False
        self.oversized = 0
        """Records thrown away because they outgrew the limit."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The records that ``chunk`` completes, in order, without their ends."""
        *ended, rest = chunk.replace(b"\x1e", b"\n").split(b"\n")
        if len(chunk) > self._limit:
            ended = [self._complete(part) for part in ended]
        elif ended and (self._parts or self._skipping):
            ended[0] = self._complete(ended[0])
        self._append(rest)
        return [record for part in ended if (record := part.strip())]

    def _complete(self, part: bytes) -> bytes:
        """The record that ends with this part; empty where it is too long."""
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
