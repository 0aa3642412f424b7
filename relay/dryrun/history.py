"""What an engine remembers, and what the routes would have said to it: no daemon has to run."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from time import time_ns

from relay.config import Config
from relay.core.event import Event
from relay.core.framing import Framer
from relay.dryrun.recording import Recording
from relay.dryrun.simulator import Rehearsal, Told
from relay.ingest.docker.cursor import LOOKBACK_NS
from relay.ingest.docker.engine.client import EngineClient, EngineUnavailable, Greeting
from relay.ingest.docker.engine.inspector import Contact
from relay.ingest.docker.engine.self_container import own_container
from relay.ingest.docker.gaps import HISTORY
from relay.ingest.docker.pipeline import Heard
from relay.ingest.docker.stream import Connect

ANSWER_S = 10.0
"""How long an engine may take to say what it remembers."""

Time = timedelta | int
"""So long ago, or in nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of an engine's past, by its own time, with both its ends."""

    since: Time
    until: Time = timedelta(0)

    def at(self, now_ns: int) -> range:
        """The nanoseconds that are meant."""
        return range(_ns(self.since, now_ns), _ns(self.until, now_ns) + 1)


@dataclass(frozen=True, slots=True)
class Recalled:
    """What came of an engine's memory."""

    told: list[Told]
    """The events of the window, in the order in which the engine tells them."""
    reaches_ns: int | None = None
    """The time of the oldest event that it remembers, where it may have forgotten some that the
    window holds."""


async def recall(
    config: Config,
    engine: str,
    reach: Connect,
    window: Window,
) -> Recalled:
    """Ask an engine for its history, and let the daemon's code judge it.

    What happened before the window explains what is in it. Containers are inspected where the
    daemon would have done so, and tell what they are now. Raises one of
    `relay.ingest.docker.engine.client.FAILURES`.
    """
    async with reach() as client:
        async with asyncio.timeout(ANSWER_S):
            greeting = await client.greet()
            now_ns = time_ns() + greeting.ahead_ns
            meant = window.at(now_ns)
            records = await _remembered(client, greeting, meant, now_ns)
        rehearsal = Rehearsal(
            config,
            engine,
            podman=greeting.podman,
            host=greeting.name,
            own_container=own_container(),
        )
        items = list(Recording(rehearsal, records))
        if records and not items:
            raise EngineUnavailable("answers, but not with events")
        contact = Contact()
        with contact.over(client):
            sightings = await contact.sightings(rehearsal.questions(items))
    outcomes = rehearsal.outcomes(items, sightings)
    told = [it for each in outcomes for it in each.told if it.event.time_ns in meant]
    return Recalled(told, None if greeting.podman else _reaches_ns(items, meant))


async def _remembered(
    client: EngineClient, greeting: Greeting, meant: range, now_ns: int
) -> list[bytes]:
    """All that Docker remembers, which is little; of Podman, which forgets nothing, enough."""
    since_ns = max(1, meant.start - LOOKBACK_NS) if greeting.podman else 1
    return Framer().feed(await client.history(since_ns, now_ns) + b"\n")


def _reaches_ns(items: list[Heard | Event], meant: range) -> int | None:
    """How far back Docker's memory reaches, if that is not far enough; a swarm's events stand in
    it with other times.
    """
    events = [it.event if isinstance(it, Heard) else it for it in items]
    times = [it.time_ns for it in events if isinstance(it, Event) and it.scope == "local"]
    if len(items) < HISTORY or not times or min(times) <= meant.start:
        return None
    return min(times)


def _ns(time: Time, now_ns: int) -> int:
    if isinstance(time, timedelta):
        return max(1, now_ns - time // timedelta(microseconds=1) * 1000)
    return time
