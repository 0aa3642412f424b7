"""Recorded events: lines of JSON as ``docker events --format '{{json .}}'`` prints them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from relay.core.event import Event, ParseErrorKind
from relay.core.framing import RECORD_MAX_BYTES
from relay.dryrun.simulator import InputEvent, Simulator
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event
from relay.ingest.docker.pipeline import ParsedRecord


@dataclass(frozen=True, slots=True)
class InvalidLine:
    """A line that is not an event."""

    number: int
    """From 1."""
    error: ParseErrorKind

    def __str__(self) -> str:
        return f"line {self.number} is not an event ({self.error})"


class Recording:
    """Iterates over the events of a recording, and counts them and the invalid lines."""

    def __init__(self, simulator: Simulator, lines: Iterable[bytes]) -> None:
        self._simulator = simulator
        self._lines = lines
        self.events = 0
        self.first_invalid: InvalidLine | None = None
        self.invalid = 0
        """Lines that are not events. They are skipped, as the daemon skips such records."""

    def __iter__(self) -> Iterator[ParsedRecord | Event]:
        for number, line in enumerate(self._lines, start=1):
            record = line.strip(b" \t\r\n\x1e")
            if not record:
                continue
            item = self._simulator.parse(InputEvent(record))
            if isinstance(item, InvalidRecord):
                self.invalid += 1
                self.first_invalid = self.first_invalid or InvalidLine(number, item.error)
            else:
                self.events += 1
                yield item


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the file's lines; a line longer than a record may be comes in several pieces."""
    return iter(partial(file.readline, RECORD_MAX_BYTES), b"")


def find_error(record: bytes) -> ParseErrorKind | None:
    """Return why a record is not an event; None if it is one."""
    event = parse_event(record, engine="", host="", live_from_ns=0)
    return event.error if isinstance(event, InvalidRecord) else None
