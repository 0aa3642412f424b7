"""The status of engines, destinations and the daemon at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from relay.core.counters import EngineCounters


class DestinationStatus(msgspec.Struct, frozen=True):
    """Whether it is sent to, and if not, since or until when. Times are those of deliveries."""

    stopped: bool = False
    """It said that it wants nothing any more (410): nothing is sent until it is enabled."""
    failing: bool = False
    """It has failed several times in a row: one attempt at a time finds out when it works again."""
    resumes_ns: int | None = None
    """Nothing is sent before then; None where nothing is waited for."""


class StreamStatus(msgspec.Struct, frozen=True):
    """How a relay that runs hears an engine; what is counted began with its start."""

    is_open: bool
    """Whether the stream is open."""
    behind: int
    """How much was read of it and is not digested yet."""
    gaps: int
    reconnects: int


class EngineStatus(msgspec.Struct, frozen=True):
    """How it is with one engine."""

    position_ns: int | None
    """Up to when its events were taken in, by its own time; None for one that was never heard."""
    listening: StreamStatus | None = None
    """None where no relay runs."""


class DaemonStatus(msgspec.Struct, frozen=True):
    """How it is with relay, but for what is for destinations."""

    engines: Mapping[str, EngineStatus]
    version: str | None = None
    """The relay's that runs; None where none does."""
    store_failing: str | None = None
    """Why the store's disk fails; None where all is well."""
    store_failing_since_ns: int | None = None
    """By the wall clock."""
    reload_failed: str | None = None
    """Why the configuration was not read again when that was wanted last; None if it was."""


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """One engine's."""

    counters: EngineCounters
    is_open: bool
