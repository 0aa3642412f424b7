"""The present, by relay's clock and by those of the engines, and which engines are connected."""

from collections.abc import Mapping

import msgspec

from relay.incidents.life import SECOND_NS

SETTLE_NS = 30 * SECOND_NS
"""For how long after a reconnect relay waits for an engine's history and reconciliation."""

CLOCK_TOLERANCE_NS = 10 * SECOND_NS
"""If the lead of an engine's clock changes by more, somebody has set the clock."""


class Now(msgspec.Struct, frozen=True):
    """The present moment."""

    steady_ns: int
    """The time of relay's steady clock, by which messages are due."""
    leads_ns: Mapping[str, int] = {}
    """How far the clock of each engine is ahead of the steady clock, negative if it is behind.
    That of `RELAY_ENGINE` is the lead of relay's own wall clock."""

    def at(self, engine: str) -> int:
        """Return the time of an engine's clock."""
        return self.steady_ns + self.leads_ns.get(engine, 0)


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
        self._leads_ns: dict[str, int] = {}

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

    def settle(self, engine: str, now: Now) -> None:
        """Note that all that happened is known: the history had no gap, or was reconciled."""
        status = self._get(engine)
        status.is_settled = status.is_connected
        status.heard_until_ns = now.at(engine)

    def known_until_ns(self, engine: str, now: Now) -> int:
        """Return until when everything that happened at an engine is known, by its clock."""
        status = self._get(engine)
        if status.is_connected and status.is_settled:
            return now.at(engine)
        return status.heard_until_ns

    def silent_until_ns(self, engine: str) -> int:
        """Return until when nothing of an engine is reported, by the steady clock; 0 if it may be.

        After a reconnect, and after a start, relay waits for its history and reconciliation.
        """
        status = self._get(engine)
        if status.is_settled:
            return 0
        return status.waiting_since_ns + SETTLE_NS

    def find_set_clocks(self, now: Now) -> dict[str, int]:
        """Return the engines whose clocks were set since the last call, and by how much."""
        found: dict[str, int] = {}
        for engine, lead_ns in now.leads_ns.items():
            before_ns = self._leads_ns.setdefault(engine, lead_ns)
            if lead_ns != before_ns:
                self._leads_ns[engine] = lead_ns
                if abs(lead_ns - before_ns) > CLOCK_TOLERANCE_NS:
                    found[engine] = lead_ns - before_ns
                    self._get(engine).heard_until_ns += lead_ns - before_ns
        return found

    def _get(self, engine: str) -> EngineStatus:
        return self._by_name.setdefault(engine, EngineStatus(self._started_ns))
