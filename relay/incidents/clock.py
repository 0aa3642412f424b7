"""The present, by relay's clock and by those of the engines, and which engines are connected.

An engine is named by its key: see `relay.core.event.source_of`. Of the engines of other hosts relay
knows what it knows of the stream that brings their events, unless their host is silent or their own
relay has lost them.
"""

from collections.abc import Mapping

import msgspec

from relay.core.event import HOST_ACTIONS, RELAY_ENGINE, Event, affected_source, host_source
from relay.incidents.life import SECOND_NS

SETTLE_NS = 30 * SECOND_NS
"""For how long after a reconnect relay waits for an engine's history and reconciliation."""

CLOCK_TOLERANCE_NS = 10 * SECOND_NS
"""If the lead of an engine's clock changes by more, somebody has set the clock."""


_SEPARATOR = " "


def stream_of(engine: str) -> str:
    """Return the engine of this relay that brings the events of an engine: maybe itself."""
    return engine.partition(_SEPARATOR)[0]


def is_remote(engine: str) -> bool:
    """Whether an engine is one of another host, or of a Swarm that other hosts report."""
    return _SEPARATOR in engine


def host_of(engine: str) -> str:
    """Return how the keys of all engines of the host of an engine begin."""
    return engine[: engine.rfind(_SEPARATOR) + 1]


def host_name(engine: str) -> str | None:
    """Return the host of an engine of another host; None for all others."""
    parts = engine.split(_SEPARATOR, 2)
    return parts[1] if len(parts) == 3 else None


def is_affected(engine: str, affected: str) -> bool:
    """Whether something that happened to an engine, or to all of a host, happened to an engine.

    ``affected`` is the engine's key, or that of `host_of`.
    """
    return engine == affected or (is_remote(affected) and host_of(engine) == affected)


def find_affected(event: Event) -> str:
    """Return what one of relay's own events, or another relay's, is about: see `is_affected`.

    What happens to the relay of another host is about all engines of that host.
    """
    if event.via is not None and event.engine == RELAY_ENGINE:
        return host_source(event.via, event.host)
    return affected_source(event)


MAX_LOST = 20_000
"""How many engines and hosts are remembered as lost: beyond that, the oldest is forgotten."""


class Now(msgspec.Struct, frozen=True, gc=False):
    """The present moment."""

    steady_ns: int
    """The time of relay's steady clock, by which messages are due."""
    leads_ns: Mapping[str, int | None] = {}
    """How far the clock of each engine is ahead of the steady clock, negative if it is behind; None
    for an engine that uses this machine's wall clock, as `RELAY_ENGINE` does."""
    wall_lead_ns: int = 0
    """The same for this machine's wall clock."""
    host_leads_ns: Mapping[str, int] = {}
    """The same for the clocks of other hosts, by `host_of`. One that is not here counts as equal to
    the wall clock."""

    def at(self, engine: str) -> int:
        """Return the time of an engine's clock."""
        if is_remote(engine):
            lead_ns = self.host_leads_ns.get(host_of(engine), self.wall_lead_ns)
            return self.steady_ns + lead_ns
        known_ns = self.leads_ns.get(engine, 0)
        return self.steady_ns + (self.wall_lead_ns if known_ns is None else known_ns)

    @property
    def wall_ns(self) -> int:
        """The time of the wall clock, by which relay's own events are dated."""
        return self.at(RELAY_ENGINE)

    def wall_to_steady_ns(self, time_ns: int) -> int:
        """Return a time of the wall clock by the steady clock."""
        return time_ns - self.wall_ns + self.steady_ns


class EngineStatus(msgspec.Struct):
    """Whether an engine is connected, and what is known of it."""

    waiting_since_ns: int
    """Since when relay waits for its history and reconciliation, by the steady clock."""
    is_connected: bool = False
    is_settled: bool = False
    """Whether its history was read, and reconciled where there was a gap."""
    heard_until_ns: int = 0
    """Until when everything that happened is known, by its clock, if it is not connected now."""


class Engines:
    """Which engines are connected. Nothing of it is stored: a start is like a reconnect of all."""

    def __init__(self, started_ns: int) -> None:
        """``started_ns`` is the steady clock's time."""
        self._started_ns = started_ns
        self._by_name: dict[str, EngineStatus] = {}
        self._before = Now(started_ns)
        """The moment of the last call of `find_set_clocks`."""
        self._lost_ns: dict[str, int] = {}
        """Until when everything is known of engines of other hosts that nothing is heard of, by
        their clocks; by their keys, or by `host_of`."""

    def connect(self, engine: str, now: Now) -> None:
        """Note that the engine's stream was opened: its history is to come."""
        status = self._get(engine)
        status.is_connected, status.is_settled = True, False
        status.waiting_since_ns = now.steady_ns

    def disconnect(self, engine: str, now: Now) -> None:
        """Note that the engine's stream has ended."""
        status = self._get(engine)
        if status.is_connected and status.is_settled:
            status.heard_until_ns = now.at(engine)
        status.is_connected = status.is_settled = False

    def follow(self, event: Event) -> bool:
        """Note that an engine of another host was lost, or is back; return whether it was."""
        if event.via is None or event.action not in HOST_ACTIONS:
            return False
        lost = find_affected(event)
        known_ns = self._lost_ns.pop(lost, event.time_ns)
        if event.action == "engine_lost":
            if len(self._lost_ns) >= MAX_LOST:
                del self._lost_ns[next(iter(self._lost_ns))]
            self._lost_ns[lost] = known_ns
        return True

    def is_connected(self, engine: str) -> bool:
        """Whether the stream of one of this relay's own engines is open."""
        return self._get(engine).is_connected

    def settle(self, engine: str, now: Now) -> None:
        """Note that all that happened is known: the history had no gap, or was reconciled."""
        status = self._get(engine)
        status.is_settled = status.is_connected
        status.heard_until_ns = now.at(engine)

    def known_until_ns(self, engine: str, now: Now) -> int:
        """Return until when everything that happened at an engine is known, by its clock."""
        stream = stream_of(engine)
        status, engine_ns = self._get(stream), now.at(engine)
        until_ns = engine_ns
        if not (status.is_connected and status.is_settled):
            until_ns = status.heard_until_ns + engine_ns - now.at(stream)
        for lost in (host_of(engine), engine) if self._lost_ns else ():
            until_ns = min(until_ns, self._lost_ns.get(lost, until_ns))
        return until_ns

    def silent_until_ns(self, engine: str) -> int:
        """Return until when nothing of an engine is reported, by the steady clock; 0 if it may be.

        After a reconnect, and after a start, relay waits for its history and reconciliation.
        """
        status = self._get(stream_of(engine))
        if status.is_settled:
            return 0
        return status.waiting_since_ns + SETTLE_NS

    def find_set_clocks(self, now: Now) -> Mapping[str, int]:
        """Return the engines whose clocks were set since the last call, and by how much each."""
        before, self._before = self._before, now
        by_ns = now.wall_lead_ns - before.wall_lead_ns
        if now.leads_ns is before.leads_ns and -CLOCK_TOLERANCE_NS <= by_ns <= CLOCK_TOLERANCE_NS:
            return {}  # nearly always, and each batch of events calls this
        found: dict[str, int] = {}
        for engine in before.leads_ns.keys() & now.leads_ns.keys():
            elapsed_ns = now.steady_ns - before.steady_ns
            by_ns = now.at(engine) - before.at(engine) - elapsed_ns
            if abs(by_ns) > CLOCK_TOLERANCE_NS:
                found[engine] = by_ns
                self._get(engine).heard_until_ns += by_ns
        return found

    def _get(self, engine: str) -> EngineStatus:
        return self._by_name.setdefault(engine, EngineStatus(self._started_ns))
