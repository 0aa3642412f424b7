"""What an engine remembers, and what the routes would have said to it: no daemon has to run."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from time import time_ns

from relay.config import Config
from relay.core.event import Event
from relay.core.framing import RecordSplitter
from relay.dryrun.recording import Recording
from relay.dryrun.simulator import RoutedEvent, Simulator
from relay.ingest.docker.cursor import LOOKBACK_NS
from relay.ingest.docker.engine.client import EngineClient, EngineInfo, EngineUnavailable
from relay.ingest.docker.engine.inspector import Inspector
from relay.ingest.docker.engine.self_container import find_self_container
from relay.ingest.docker.gaps import HISTORY_SIZE
from relay.ingest.docker.pipeline import ParsedRecord
from relay.ingest.docker.stream import Connect

TIMEOUT_S = 10.0
"""How long an engine may take to say what it remembers."""

PointInTime = timedelta | int
"""So long ago, or in nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of an engine's past, by its own time, with both its ends."""

    since: PointInTime
    until: PointInTime = timedelta(0)

    def to_range(self, now_ns: int) -> range:
        """The nanoseconds that are meant."""
        return range(_to_ns(self.since, now_ns), _to_ns(self.until, now_ns) + 1)


@dataclass(frozen=True, slots=True)
class History:
    """What came of an engine's memory."""

    events: list[RoutedEvent]
    """The events of the window, in the order in which the engine tells them."""
    oldest_ns: int | None = None
    """The time of the oldest event that it remembers, where it may have forgotten some that the
    window holds."""


async def fetch_history(
    config: Config,
    engine: str,
    reach: Connect,
    window: Window,
) -> History:
    """Ask an engine for its history, and let the daemon's code judge it.

    What happened before the window explains what is in it. Containers are inspected where the
    daemon would have done so, and tell what they are now. Raises one of
    `relay.ingest.docker.engine.client.ENGINE_ERRORS`.
    """
    async with reach() as client:
        async with asyncio.timeout(TIMEOUT_S):
            greeting = await client.handshake()
            now_ns = time_ns() + greeting.ahead_ns
            meant = window.to_range(now_ns)
            records = await _fetch_records(client, greeting, meant, now_ns)
        rehearsal = Simulator(
            config,
            engine,
            podman=greeting.podman,
            host=greeting.name,
            own_container=find_self_container(),
        )
        items = list(Recording(rehearsal, records))
        if records and not items:
            raise EngineUnavailable("answers, but not with events")
        contact = Inspector()
        with contact.use(client):
            sightings = await contact.inspect_many(rehearsal.containers_to_inspect(items))
    outcomes = rehearsal.run(items, sightings)
    told = [it for each in outcomes for it in each.routed if it.event.time_ns in meant]
    return History(told, None if greeting.podman else _oldest_if_truncated(items, meant))


async def _fetch_records(
    client: EngineClient, greeting: EngineInfo, meant: range, now_ns: int
) -> list[bytes]:
    """All that Docker remembers, which is little; of Podman, which forgets nothing, enough."""
    since_ns = max(1, meant.start - LOOKBACK_NS) if greeting.podman else 1
    return RecordSplitter().feed(await client.history(since_ns, now_ns) + b"\n")


def _oldest_if_truncated(items: list[ParsedRecord | Event], meant: range) -> int | None:
    """How far back Docker's memory reaches, if that is not far enough; a swarm's events stand in
    it with other times.
    """
    events = [it.event if isinstance(it, ParsedRecord) else it for it in items]
    times = [it.time_ns for it in events if isinstance(it, Event) and it.scope == "local"]
    if len(items) < HISTORY_SIZE or not times or min(times) <= meant.start:
        return None
    return min(times)


def _to_ns(time: PointInTime, now_ns: int) -> int:
    if isinstance(time, timedelta):
        return max(1, now_ns - time // timedelta(microseconds=1) * 1000)
    return time
