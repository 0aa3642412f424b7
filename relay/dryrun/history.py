"""Past events: those that an engine remembers, and those in a recording.

`fetch_history` routes what an engine remembers, without a daemon: `relay tail --since` is built on
it. A Docker engine remembers its last 256 events, Podman all.

A recording is lines of JSON as ``docker events --format '{{json .}}'`` prints them.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import time_ns
from typing import BinaryIO

from relay.config import Config
from relay.core.event import Event, ParseErrorKind
from relay.core.framing import RECORD_MAX_BYTES, RecordSplitter
from relay.dryrun.simulator import InputEvent, RoutedEvent, Simulator
from relay.ingest.docker.batch import ParsedRecord
from relay.ingest.docker.cursor import LOOKBACK_NS
from relay.ingest.docker.engine import inspector
from relay.ingest.docker.engine.client import EngineClient
from relay.ingest.docker.engine.errors import ENGINE_ERRORS, EngineUnavailable
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event
from relay.ingest.docker.engine.self_container import find_self_container
from relay.ingest.docker.gaps import HISTORY_SIZE
from relay.ingest.docker.stream import Connect

TIMEOUT_S = 10.0
"""How long an engine may take to send its history."""

PointInTime = timedelta | int
"""A duration before now, or nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Window:
    """A period of the past by the engine's clock; it includes both its ends."""

    since: PointInTime
    until: PointInTime = timedelta(0)

    def to_range(self, now_ns: int) -> range:
        """Return the period as nanoseconds since 1970; empty if it ends before it begins."""
        return range(_to_ns(self.since, now_ns), _to_ns(self.until, now_ns) + 1)


def _to_ns(time: PointInTime, now_ns: int) -> int:
    if isinstance(time, timedelta):
        return max(1, now_ns - time // timedelta(microseconds=1) * 1000)
    return time


@dataclass(frozen=True, slots=True)
class History:
    """The events of a window that an engine remembers."""

    events: list[RoutedEvent]
    """In the order in which the engine sent them."""
    oldest_ns: int | None = None
    """The time of the oldest event that the engine remembers, if it may have forgotten some of the
    window; else None."""


async def fetch_history(
    config: Config,
    engine: str,
    connect: Connect,
    window: Window,
) -> History:
    """Ask an engine for its history, and process and route it with the daemon's code.

    Events before the window are read too, because they explain the ones within it: incidents begin
    with the oldest event that is read. Containers are inspected if the daemon would do so, which
    shows their current state. Raises one of `relay.ingest.docker.engine.errors.ENGINE_ERRORS`.
    """
    async with connect() as client:
        async with asyncio.timeout(TIMEOUT_S):
            info = await client.handshake()
            now_ns = time_ns() + info.ahead_ns
            period = window.to_range(now_ns)
            # All that Docker remembers, which is little; of Podman's history only what is needed.
            since_ns = max(1, period.start - LOOKBACK_NS) if info.podman else 1
            records = RecordSplitter().feed(await client.history(since_ns, now_ns) + b"\n")
        simulator = Simulator(
            config,
            engine,
            podman=info.podman,
            host=info.name,
            own_container=find_self_container(),
        )
        simulator.incidents.is_watching = True
        items = list(Recording(simulator, records, is_from_engine=True))
        if records and not items:
            raise EngineUnavailable("answers, but not with events")
        snapshots = await _inspect(client, simulator.containers_to_inspect(items), engine)
    batches = simulator.run(items, snapshots)
    events = [it for batch in batches for it in batch.routed if it.event.time_ns in period]
    return History(events, None if info.podman else _oldest_if_truncated(items, period))


async def _inspect(
    client: EngineClient, containers: Iterable[str], engine: str
) -> dict[str, ContainerSnapshot]:
    """Return the snapshots, by id, of those containers that the engine shows in time."""
    found: dict[str, ContainerSnapshot] = {}
    with suppress(*ENGINE_ERRORS):
        async with asyncio.timeout(inspector.TIMEOUT_S):
            await inspector.inspect_containers(client, containers, found.__setitem__, engine)
    return found


def _oldest_if_truncated(items: list[ParsedRecord | Event], period: range) -> int | None:
    """Return the oldest time in Docker's history if that is full and begins after the period.

    Swarm events are left out: their times are by the clock of a swarm manager.
    """
    events = [it.event if isinstance(it, ParsedRecord) else it for it in items]
    times = [it.time_ns for it in events if isinstance(it, Event) and it.scope == "local"]
    if len(items) < HISTORY_SIZE or not times or min(times) <= period.start:
        return None
    return min(times)


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

    def __init__(
        self, simulator: Simulator, lines: Iterable[bytes], *, is_from_engine: bool = False
    ) -> None:
        """``is_from_engine`` is whether an engine sent the lines: then no event is relay's own."""
        self._simulator = simulator
        self._may_be_relay = not is_from_engine
        self._lines = lines
        self.events = 0
        self.first_invalid: InvalidLine | None = None
        self.invalid = 0
        """Lines that are not events. They are skipped, as the daemon skips such records."""

    def __iter__(self) -> Iterator[ParsedRecord | Event]:
        for number, record in number_records(self._lines):
            item = self._simulator.parse(InputEvent(record), may_be_relay=self._may_be_relay)
            if isinstance(item, InvalidRecord):
                self.invalid += 1
                self.first_invalid = self.first_invalid or InvalidLine(number, item.error)
            else:
                self.events += 1
                yield item


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the file's lines; a line longer than `RECORD_MAX_BYTES` comes in several pieces."""
    return iter(partial(file.readline, RECORD_MAX_BYTES), b"")


def number_records(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield each record of a recording with the number of its line, from 1; skip blank lines.

    A record may begin with the control character RS, as in JSON text sequences (RFC 7464).
    """
    for number, line in enumerate(lines, start=1):
        if record := line.strip(b" \t\r\n\x1e"):
            yield number, record


def find_time(record: bytes) -> int:
    """Return the time of a record, in nanoseconds since 1970; 0 if it is not an event."""
    event = parse_event(record, engine="", host="", live_from_ns=0)
    return 0 if isinstance(event, InvalidRecord) else event.time_ns


def find_error(record: bytes) -> ParseErrorKind | None:
    """Return why a record is not an event; None if it is one."""
    event = parse_event(record, engine="", host="", live_from_ns=0)
    return event.error if isinstance(event, InvalidRecord) else None
