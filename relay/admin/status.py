"""The status of the whole daemon at one moment, and whether relay is ready."""

from collections.abc import Mapping

import msgspec

from relay.core.counters import DestinationCounters
from relay.core.status import DestinationStatus, EngineSnapshot
from relay.store.faults import StoreStatus


class ReloadStatus(msgspec.Struct, frozen=True):
    """The configuration in force and the reloads so far."""

    loaded_ns: int
    """When the configuration in force was read, by the wall clock."""
    last_error: str | None = None
    """Why the last reload failed; None if it succeeded or there was none."""
    successes: int = 0
    failures: int = 0


class StatusSnapshot(msgspec.Struct, frozen=True):
    """What metrics, readiness and systemd's status line are computed from."""

    streams: Mapping[str, EngineSnapshot]
    """By engine, for each that is configured."""
    destination_counters: Mapping[str, DestinationCounters]
    """By destination, for each that is configured."""
    destination_status: Mapping[str, DestinationStatus]
    """By destination, for each that is configured."""
    store: StoreStatus
    route_matches: Mapping[str, int]
    """How many events each route matched, by route, for each that is configured."""
    removed_deliveries: int
    """How many deliveries were given up because their destination is no longer configured."""
    reload: ReloadStatus
    now_ns: int
    """The time by which deliveries are due."""


def not_ready_reasons(snapshot: StatusSnapshot, now_ns: int) -> list[str]:
    """Return why relay is not ready, one text for each reason; ``now_ns`` is the wall clock.

    A failing destination is not a reason: its deliveries wait in the store.
    """
    closed = [name for name, stream in snapshot.streams.items() if not stream.is_open]
    return [
        *_store_problems(snapshot.store, now_ns),
        *(f"engine {name}: its stream is not open" for name in closed),
    ]


def _store_problems(store: StoreStatus, now_ns: int) -> list[str]:
    if store.failing_since_ns is None or store.reason is None:
        return []
    # not negative, even if the clock has been set back since then
    failing_s = max(0, now_ns - store.failing_since_ns) // 10**9
    return [f"store: {store.reason.value.replace('_', ' ')}, for {failing_s} s"]
