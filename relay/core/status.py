"""The status of the daemon, its engines and its destinations, as ``relay status`` asks for it.

Commands and daemons of different versions exchange these structs as JSON, so the names stay.
"""

from collections.abc import Mapping

import msgspec


class DestinationStatus(msgspec.Struct, frozen=True):
    """Whether relay sends to a destination, and if not, why. Times are by the deliveries' clock."""

    stopped: bool = False
    """The destination answered that it no longer exists (410): nothing is sent until it is
    enabled."""
    failing: bool = False
    """It has failed several times in a row: single attempts probe whether it works again."""
    resumes_ns: int | None = None
    """Nothing is sent before this time; None if nothing is paused."""
    first_failure: str | None = None
    """Why the last attempt failed, if the destination has accepted nothing since relay started or
    since its configuration changed. None while it is failing."""
    last_failure: str | None = None
    """Why the last attempt failed, while it is failing; None before the first attempt of this
    process."""
    not_connected: str | None = None
    """Why there is no connection, if relay keeps one to this destination; None while there is
    one."""

    @property
    def is_only_not_connected(self) -> bool:
        """Whether nothing else is wrong than that there is no connection: nothing was sent yet."""
        return self.not_connected is not None and not (self.stopped or self.failing)

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong. A pause that the destination asked for is no fault."""
        is_failing = self.failing or self.first_failure is not None
        return not (self.stopped or is_failing or self.not_connected is not None)


class SourceBacklog(msgspec.Struct, frozen=True):
    """What waits at the source of an engine's events. Only a NATS stream says that."""

    pending: int
    """Messages that were not delivered to any relay yet."""
    unacknowledged: int
    """Messages that were delivered, and are not committed yet."""
    redelivered: int
    """Those of them that were delivered more than once."""

    @property
    def lag(self) -> int:
        """How many messages are not committed yet."""
        return self.pending + self.unacknowledged


class StreamStatus(msgspec.Struct, frozen=True):
    """An engine's event stream in a running relay. Counts begin with the start of the process."""

    is_open: bool
    """Whether the stream is open."""
    behind: int
    """How many items were received and are not processed yet."""
    gaps: int
    reconnects: int
    problem: str | None = None
    """Why the stream is not open, or what else is wrong with it, if relay can say."""
    is_standby: bool = False
    """Whether another relay gets the events, and this one takes over if that is gone."""
    backlog: SourceBacklog | None = None
    """What waits at the source; None if that cannot be asked."""


class EngineStatus(msgspec.Struct, frozen=True):
    """The status of one engine."""

    position_ns: int | None
    """The engine's time up to which its events were processed; None if there were none yet."""
    stream: StreamStatus | None = msgspec.field(default=None, name="listening")
    """None if relay does not run."""


class DaemonStatus(msgspec.Struct, frozen=True):
    """The status of relay, except for its destinations."""

    engines: Mapping[str, EngineStatus]
    version: str | None = None
    """The version of the running relay; None if none runs."""
    store_failing: str | None = None
    """Why writing to the store fails; None if it works."""
    store_failing_since_ns: int | None = None
    """By the wall clock."""
    reload_failed: str | None = None
    """Why the last reload of the configuration failed; None if it did not."""
