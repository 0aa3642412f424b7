"""Recorded events: lines of JSON as ``docker events --format '{{json .}}'`` prints them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from relay.core.event import Event
from relay.core.framing import RECORD_LIMIT
from relay.dryrun.simulator import Rehearsal, Spoken
from relay.ingest.docker.engine.parser import Flaw, Malformed, parse
from relay.ingest.docker.pipeline import Heard


@dataclass(frozen=True, slots=True)
class Flawed:
    """A line that is no event."""

    number: int
    """From 1."""
    flaw: Flaw

    def __str__(self) -> str:
        return f"line {self.number} is no event ({self.flaw})"


class Recording:
    """Reads the lines of one recording, and counts."""

    def __init__(self, rehearsal: Rehearsal, lines: Iterable[bytes]) -> None:
        self._rehearsal = rehearsal
        self._lines = lines
        self.events = 0
        self.first_flaw: Flawed | None = None
        self.flawed = 0
        """Lines that are no events; the daemon passes over such records, too."""

    def __iter__(self) -> Iterator[Heard | Event]:
        for number, line in enumerate(self._lines, start=1):
            record = line.strip(b" \t\r\n\x1e")
            if not record:
                continue
            item = self._rehearsal.read(Spoken(record))
            if isinstance(item, Malformed):
                self.flawed += 1
                self.first_flaw = self.first_flaw or Flawed(number, item.flaw)
            else:
                self.events += 1
                yield item


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Its lines, cut where one is longer than a record may be."""
    return iter(partial(file.readline, RECORD_LIMIT), b"")


def flaw_of(record: bytes) -> Flaw | None:
    """Why a record is no event; None if it is one."""
    event = parse(record, engine="", host="", live_from_ns=0)
    return event.flaw if isinstance(event, Malformed) else None
