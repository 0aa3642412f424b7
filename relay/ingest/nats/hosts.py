"""Which hosts send heartbeats, and which of them have fallen silent.

A host is watched from its first heartbeat on. Whatever comes from it later shows that it is alive.
If nothing comes for long enough, it is lost: an ``engine_lost`` event says so, and an
``engine_back`` event once something comes again. What is known is committed with these events, so a
restart of relay repeats none of them.

The heartbeats of hosts that die at once, such as those of a rack, end at different times. So that
they are reported together, a host that is lost takes those with it that will be lost soon.

Silence counts only while relay would hear the host: `HostWatch.resume` begins the wait for all of
them, and `HostWatch.pause` ends it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import structlog
from msgspec.structs import replace

from relay.core.event import HEARTBEAT, RELAY_ENGINE, TYPE_RELAY, Event, make_self_event
from relay.store.records import HostRow

log = structlog.get_logger()

FORGET_NS = 30 * 86_400 * 10**9
"""A host that has been lost for so long is no longer known."""

MAX_HOSTS = 50_000
"""At most so many hosts are watched."""

OVERDUE = 1.5
"""A host is silent if its next heartbeat is overdue by half of the time between two."""
PHASES = 1.1
"""The last heartbeats of hosts that die at once are apart by the time between two, and a little:
they do not come to the second."""


class HostChanges(NamedTuple):
    """What has changed of the hosts since the last call."""

    rows: Sequence[HostRow]
    forgotten: Sequence[str]


class _Host(msgspec.Struct):
    """A host that sends heartbeats."""

    heard_ns: int
    lost_ns: int | None = None
    beat_ns: int | None = None
    """When its last heartbeat came; None if there was none since relay started."""
    every_ns: int | None = None
    """How long after the one before."""

    def beat(self, now_ns: int) -> None:
        """Note a heartbeat."""
        if self.beat_ns is not None:
            self.every_ns = now_ns - self.beat_ns
        self.beat_ns = now_ns

    def will_be_lost(self, now_ns: int, silent_after_ns: int) -> bool:
        """Whether it may have died at the same time as one that has been silent for too long."""
        if self.every_ns is None:
            return False
        least_ns = max(OVERDUE * self.every_ns, silent_after_ns - PHASES * self.every_ns)
        return now_ns - self.heard_ns >= least_ns


class HostWatch:
    """The hosts that send heartbeats to one engine. Times are those of the steady clock."""

    def __init__(
        self, engine: str, silent_after_ns: int, rows: Iterable[HostRow] = (), *, now_ns: int = 0
    ) -> None:
        """Continue with the stored ``rows``. ``silent_after_ns`` 0 watches no host."""
        self._engine = engine
        self._silent_after_ns = silent_after_ns
        self._hosts = {row.host: _Host(min(row.heard_ns, now_ns), row.lost_ns) for row in rows}
        self._resumed_ns: int | None = None
        self._look_ns = 0
        """Before this time no host can have been silent for too long."""
        self._is_full = False
        """Whether it was logged that no more hosts are watched."""
        self._changed: set[str] = set()
        self._forgotten: list[str] = []
        if not silent_after_ns:
            self._forgotten, self._hosts = list(self._hosts), {}

    @property
    def lost_count(self) -> int:
        """How many hosts are lost."""
        return sum(host.lost_ns is not None for host in self._hosts.values())

    def resume(self, now_ns: int) -> None:
        """Note that from now on all that hosts send is heard at once."""
        if self._resumed_ns is None:
            self._resumed_ns = now_ns

    def pause(self) -> None:
        """Note that hosts cannot be heard, or only late."""
        self._resumed_ns = None

    def hear(self, event: Event, now_ns: int, wall_ns: int) -> Event | None:
        """Note an event of a host; return ``engine_back`` if the host was lost."""
        is_heartbeat = event.type == TYPE_RELAY and event.action == HEARTBEAT
        host = self._hosts.get(event.host)
        if host is None:
            if is_heartbeat:
                self._begin(event.host, now_ns)
            return None
        before_ns, host.heard_ns = host.heard_ns, now_ns
        if is_heartbeat:
            host.beat(now_ns)
        if host.lost_ns is None:
            return None
        host.lost_ns = None
        self._changed.add(event.host)
        down_s = round(max(0, now_ns - before_ns) / 1e9, 3)
        log.warning("host.back", engine=self._engine, host=event.host, down_s=down_s)
        return self._make_event("engine_back", event.host, {"down_s": str(down_s)}, wall_ns)

    def find_lost(self, now_ns: int, wall_ns: int) -> list[Event]:
        """Return an ``engine_lost`` for each host that has been silent for too long by now."""
        if self._resumed_ns is None or not self._silent_after_ns:
            return []
        silent_since_ns = now_ns - self._silent_after_ns
        if self._resumed_ns > silent_since_ns or now_ns < self._look_ns:
            return []
        self._forget_old(now_ns)
        present = [(name, host) for name, host in self._hosts.items() if host.lost_ns is None]
        if not present:
            return []
        oldest_ns = min(host.heard_ns for _, host in present)
        if oldest_ns > silent_since_ns:  # with 10,000 hosts it takes 3 ms to find that out
            self._look_ns = oldest_ns + self._silent_after_ns
            return []
        return [
            self._lose(name, host, now_ns, wall_ns)
            for name, host in present
            if host.heard_ns <= silent_since_ns or host.will_be_lost(now_ns, self._silent_after_ns)
        ]

    def take_changes(self) -> HostChanges:
        """Return what is to be committed with the events since the last call."""
        if not self._changed and not self._forgotten:
            return HostChanges((), ())
        rows = [self._row(name) for name in sorted(self._changed)]
        forgotten, self._forgotten = self._forgotten, []
        self._changed.clear()
        return HostChanges(rows, forgotten)

    def mark_all_changed(self) -> None:
        """Commit everything with the next changes: the store is a new one."""
        self._changed.update(self._hosts)

    def _begin(self, host: str, now_ns: int) -> None:
        if not self._silent_after_ns:
            return
        if len(self._hosts) >= MAX_HOSTS:
            if not self._is_full:
                self._is_full = True
                log.warning("host.not_watched", engine=self._engine, host=host, limit=MAX_HOSTS)
            return
        self._hosts[host] = _Host(now_ns, beat_ns=now_ns)
        self._changed.add(host)

    def _forget_old(self, now_ns: int) -> None:
        for name, host in list(self._hosts.items()):
            if host.lost_ns is not None and now_ns - host.lost_ns >= FORGET_NS:
                del self._hosts[name]
                self._changed.discard(name)
                self._forgotten.append(name)

    def _lose(self, name: str, host: _Host, now_ns: int, wall_ns: int) -> Event:
        host.lost_ns = now_ns
        self._changed.add(name)
        silent_s = (now_ns - host.heard_ns) // 10**9
        log.warning("host.lost", engine=self._engine, host=name, silent_for_s=silent_s)
        silent = f"{silent_s // 60}m" if silent_s >= 60 else f"{silent_s}s"
        return self._make_event(
            "engine_lost", name, {"reason": f"no heartbeat for {silent}"}, wall_ns
        )

    def _make_event(
        self, action: str, host: str, attributes: dict[str, str], wall_ns: int
    ) -> Event:
        """Make an event about the relay of a host."""
        event = make_self_event(
            action,
            engine=RELAY_ENGINE,
            host=host,
            time_ns=wall_ns,
            name=host,
            attributes={"host": host, **attributes},
        )
        return replace(event, via=self._engine)

    def _row(self, name: str) -> HostRow:
        host = self._hosts[name]
        return HostRow(name, host.heard_ns, host.lost_ns)
