"""How relay is at one moment, and whether that is well."""

from collections.abc import Mapping
from dataclasses import dataclass

from relay.core.counters import DestinationCounters
from relay.core.status import DestinationStatus, EngineSnapshot
from relay.store.faults import StoreStatus


@dataclass(frozen=True, slots=True)
class ReloadStatus:
    """What came of reading the configuration."""

    loaded_ns: int
    """When the one was read that is in force; by the wall clock."""
    last_error: str | None = None
    """Why the last reload failed; None if it did not."""
    successes: int = 0
    """Those that succeeded."""
    failures: int = 0
    """Those that did not."""


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    """What the metrics and the readiness are made of."""

    streams: Mapping[str, EngineSnapshot]
    """By engine, each that is configured."""
    destination_counters: Mapping[str, DestinationCounters]
    destination_status: Mapping[str, DestinationStatus]
    """By destination, as the above."""
    store: StoreStatus
    route_matches: Mapping[str, int]
    """How many events each route matched, by its name; each that is configured."""
    removed_deliveries: int
    """How many deliveries were given up because their destinations are configured no more."""
    reload: ReloadStatus
    now_ns: int
    """The time by which deliveries are due."""


def not_ready_reasons(snapshot: StatusSnapshot, now_ns: int) -> list[str]:
    """What is not ready and why, one text for each; ``now_ns`` is the local time.

    A destination that fails is none of it: what is for it waits in the store.
    """
    return [
        *_store_problems(snapshot.store, now_ns),
        *(
            f"engine {name}: its stream is not open"
            for name, stream in snapshot.streams.items()
            if not stream.is_open
        ),
    ]


def _store_problems(state: StoreStatus, now_ns: int) -> list[str]:
    if state.failing_since_ns is None or state.reason is None:
        return []
    # A clock that was set back meanwhile does not make it negative.
    since_s = max(0, now_ns - state.failing_since_ns) // 10**9
    return [f"store: {state.reason.value.replace('_', ' ')}, for {since_s} s"]
