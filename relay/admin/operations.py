"""The operations that commands can ask of relay, whether its daemon runs or not.

Each operation is one row of the table at the end of this module, or of those of
`relay.admin.incidents` and `relay.admin.silences`: its name, its HTTP method and path, the types of
its request and its answer, and how `LocalOperations` performs it. The routes of
`relay.admin.api` and the client in `relay.admin.client` are both made from these rows. Commands
call the methods of `AdminOperations` and need not know which side answers.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import msgspec

from relay import __version__
from relay.admin.dead_letters import replay_dead_letters
from relay.admin.incidents import INCIDENT_OPERATIONS, IncidentAccess, IncidentOperations
from relay.admin.operation import AnswerT, Operation, OperationError, Refused, RequestT
from relay.admin.requests import (
    DaemonInfo,
    DeadLettersRequest,
    EnableRequest,
    ReplayResult,
    SelectionRequest,
    WaitingRequest,
)
from relay.admin.silences import SILENCE_OPERATIONS, SilenceAccess, SilenceOperations
from relay.config.known_names import KnownNames
from relay.core.errors import RelayError
from relay.core.event import RELAY_ENGINE
from relay.core.status import DaemonStatus, DestinationStatus, EngineStatus
from relay.core.zone import UTC_NAME
from relay.incidents.incidents import Incidents
from relay.store.outbox import Outbox
from relay.store.records import Backlog, DeadLetter, DestinationNames, Selection, WaitingDelivery

DEAD_LETTERS_TIMEOUT_S = 600.0
"""How long an operation on all dead letters may take; there can be a million of them."""

RELOAD_TIMEOUT_S = 120.0
"""How long a reload may take, including one that is already under way when it is requested."""


class NotReloaded(OperationError):
    """The configuration was not reloaded: nothing has changed."""


class NotRunning(OperationError):
    """The operation needs a running daemon, and there is none."""


class AdminOperations(IncidentOperations, SilenceOperations):
    """What commands can ask of relay. Every method can raise `OperationError`."""

    async def now_ns(self) -> int:
        """Return the time of the clock by which deliveries are due and dead letters are dated."""
        return (await self.call(DAEMON_INFO, None)).now_ns

    async def destination_status(self) -> Mapping[str, DestinationStatus]:
        """Return the status of each destination; empty if no daemon runs."""
        return await self.call(DESTINATION_STATUS, None)

    async def daemon_status(self) -> DaemonStatus:
        """Return the status of the engines and the store. A daemon answers without the disk."""
        return await self.call(DAEMON_STATUS, None)

    async def pending(self) -> Mapping[str, int]:
        """Return the number of waiting deliveries by destination."""
        return await self.call(PENDING, None)

    async def backlog(self) -> Mapping[str, Backlog]:
        """Return the number of waiting deliveries and the age of the oldest, by destination."""
        return await self.call(BACKLOG, None)

    async def list_waiting(self, destination: str | None, limit: int) -> list[WaitingDelivery]:
        """Return the oldest waiting deliveries, of one destination or of all."""
        return await self.call(LIST_WAITING, WaitingRequest(destination, limit))

    async def list_dead_letters(
        self, selection: Selection, limit: int, below: int | None = None
    ) -> list[DeadLetter]:
        """Return dead letters, the newest first; with ``below`` only those with lower numbers."""
        requested = SelectionRequest(*msgspec.structs.astuple(selection))
        return await self.call(LIST_DEAD_LETTERS, DeadLettersRequest(requested, limit, below))

    async def count_dead_letters(self, selection: Selection) -> Mapping[str, int]:
        """Return the number of selected dead letters by destination."""
        return await self.call(COUNT_DEAD_LETTERS, selection)

    async def replay_dead_letters(self, selection: Selection) -> ReplayResult:
        """Turn dead letters into deliveries again, with the same ids.

        Those whose destination is not configured stay dead letters. So do those whose incidents
        have moved on: they were reported again since, or are no longer as the message says.
        """
        return await self.call(REPLAY_DEAD_LETTERS, selection)

    async def drop_dead_letters(self, selection: Selection) -> int:
        """Delete dead letters. Returns how many."""
        return await self.call(DROP_DEAD_LETTERS, selection)

    async def enable(self, destination: str) -> bool:
        """Send to a destination again, even if it asked relay to wait or to stop.

        Returns whether the destination was stopped, paused or failing. Raises `Refused` if there is
        none of this name, `NotRunning`.
        """
        return await self.call(ENABLE, EnableRequest(destination))

    async def reload(self) -> Sequence[str]:
        """Read the configuration again. Returns one text for each change.

        Raises `NotReloaded` with every problem, `NotRunning`.
        """
        return await self.call(RELOAD, None)


class DaemonHooks(msgspec.Struct, frozen=True):
    """What only a running daemon can answer or do."""

    destination_status: Callable[[], Mapping[str, DestinationStatus]]
    enable: Callable[[str], bool]
    """See `AdminOperations.enable`; called for configured destinations only."""
    daemon_status: Callable[[], DaemonStatus]
    reload: Callable[[], Awaitable[Sequence[str]]]
    """See `AdminOperations.reload`; raises `RelayError`."""
    incidents: Incidents


@dataclass(frozen=True, slots=True)
class LocalOperations(AdminOperations):
    """Performs the operations in the process that has the store open."""

    outbox: Outbox
    destinations: DestinationNames
    """Returns the names of the destinations that are configured at the moment."""
    now: Callable[[], int]
    """The clock by which deliveries are due, in nanoseconds."""
    daemon: DaemonHooks | None = None
    """None in a command that opened the store because no daemon runs."""
    engines: Collection[str] = ()
    """The names of the configured engines; needed only if no daemon runs."""
    is_hub: bool = False
    """See `Config.is_hub`; needed only if no daemon runs."""
    routes: Collection[str] = ()
    """The same of the routes."""
    zone_name: Callable[[], str] = lambda: UTC_NAME
    """``time_zone`` of the configuration in force."""

    async def call(self, operation: Operation[RequestT, AnswerT], request: RequestT) -> AnswerT:
        """Perform the operation at once, without HTTP."""
        return await operation.perform(self, request)

    async def on_daemon_info(self, _: None) -> DaemonInfo:
        """Perform `DAEMON_INFO`."""
        return DaemonInfo(__version__, self.now(), self.zone_name())

    async def on_destination_status(self, _: None) -> dict[str, DestinationStatus]:
        """Perform `DESTINATION_STATUS`."""
        return {} if self.daemon is None else dict(self.daemon.destination_status())

    async def on_daemon_status(self, _: None) -> DaemonStatus:
        """Perform `DAEMON_STATUS`. Without a daemon, only the engines' checkpoints are known."""
        if self.daemon is not None:
            return self.daemon.daemon_status()
        engines = {}
        for name in self.engines:
            checkpoint = await self.outbox.checkpoint(name)
            engines[name] = EngineStatus(checkpoint.position_ns if checkpoint else None)
        return DaemonStatus(engines)

    @property
    def incidents(self) -> IncidentAccess:
        """The incidents of the daemon, or else those in the store."""
        live = None if self.daemon is None else self.daemon.incidents
        return IncidentAccess(self.outbox, self.now, live)

    @property
    def silences(self) -> SilenceAccess:
        """The silences of the daemon, or else those in the store."""
        engines = None if self.is_hub else {*self.engines, RELAY_ENGINE}
        return SilenceAccess(self.incidents, KnownNames(engines=engines, routes=self.routes))

    async def on_replay_dead_letters(self, selection: Selection) -> ReplayResult:
        """Perform `REPLAY_DEAD_LETTERS`."""
        return await replay_dead_letters(
            self.outbox, self.incidents, selection, self.destinations, self.now
        )

    async def on_enable(self, request: EnableRequest) -> bool:
        """Perform `ENABLE`."""
        if request.destination not in self.destinations():
            known = ", ".join(self.destinations())
            raise Refused(f"no destination {request.destination!r}; there are: {known}")
        if self.daemon is None:
            raise NotRunning("no relay is running: when one starts, it sends to all destinations")
        return self.daemon.enable(request.destination)

    async def on_reload(self, _: None) -> list[str]:
        """Perform `RELOAD`."""
        if self.daemon is None:
            raise NotRunning("no relay is running: when one starts, it reads the configuration")
        try:
            return list(await self.daemon.reload())
        except RelayError as error:
            raise NotReloaded(
                f"not reloaded; the configuration from before stays in force\n{error}"
            ) from error


# the table

DAEMON_INFO = Operation(
    "daemon info", "GET", "/api/", NoneType, DaemonInfo, LocalOperations.on_daemon_info
)
DESTINATION_STATUS = Operation(
    "destination status",
    "GET",
    "/api/conditions",
    NoneType,
    dict[str, DestinationStatus],
    LocalOperations.on_destination_status,
)
DAEMON_STATUS = Operation(
    "daemon status", "GET", "/api/report", NoneType, DaemonStatus, LocalOperations.on_daemon_status
)
ENABLE = Operation("enable", "POST", "/api/enable", EnableRequest, bool, LocalOperations.on_enable)
RELOAD = Operation(
    "reload",
    "POST",
    "/api/reload",
    NoneType,
    list[str],
    LocalOperations.on_reload,
    timeout_s=RELOAD_TIMEOUT_S,
)
PENDING = Operation(
    "pending",
    "GET",
    "/api/pending",
    NoneType,
    dict[str, int],
    lambda local, _: local.outbox.pending(),
    uses_store=True,
)
BACKLOG = Operation(
    "backlog",
    "GET",
    "/api/backlog",
    NoneType,
    dict[str, Backlog],
    lambda local, _: local.outbox.backlog(),
    uses_store=True,
)
LIST_WAITING = Operation(
    "list waiting",
    "POST",
    "/api/waiting",
    WaitingRequest,
    list[WaitingDelivery],
    lambda local, request: local.outbox.waiting(request.destination, request.limit),
    uses_store=True,
)
LIST_DEAD_LETTERS = Operation(
    "list dead letters",
    "POST",
    "/api/dead",
    DeadLettersRequest,
    list[DeadLetter],
    lambda local, request: local.outbox.dead_letters(
        request.selection, request.limit, request.below
    ),
    uses_store=True,
)
COUNT_DEAD_LETTERS: Operation[Selection, dict[str, int]] = Operation(
    "count dead letters",
    "POST",
    "/api/dead/tally",
    SelectionRequest,
    dict[str, int],
    lambda local, selection: local.outbox.count_dead_letters(selection),
    uses_store=True,
    timeout_s=DEAD_LETTERS_TIMEOUT_S,
)
REPLAY_DEAD_LETTERS: Operation[Selection, ReplayResult] = Operation(
    "replay dead letters",
    "POST",
    "/api/dead/replay",
    SelectionRequest,
    ReplayResult,
    LocalOperations.on_replay_dead_letters,
    uses_store=True,
    timeout_s=DEAD_LETTERS_TIMEOUT_S,
)
DROP_DEAD_LETTERS: Operation[Selection, int] = Operation(
    "drop dead letters",
    "POST",
    "/api/dead/drop",
    SelectionRequest,
    int,
    lambda local, selection: local.outbox.drop_dead_letters(selection),
    uses_store=True,
    timeout_s=DEAD_LETTERS_TIMEOUT_S,
)

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    DAEMON_INFO,
    DESTINATION_STATUS,
    DAEMON_STATUS,
    ENABLE,
    *INCIDENT_OPERATIONS,
    *SILENCE_OPERATIONS,
    RELOAD,
    PENDING,
    BACKLOG,
    LIST_WAITING,
    LIST_DEAD_LETTERS,
    COUNT_DEAD_LETTERS,
    REPLAY_DEAD_LETTERS,
    DROP_DEAD_LETTERS,
)
