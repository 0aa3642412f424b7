"""What commands may ask of a relay, whether it runs or not."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from relay.core.errors import RelayError
from relay.core.status import DaemonStatus, DestinationStatus, EngineStatus
from relay.store.outbox import Outbox
from relay.store.records import Backlog, DeadLetter, DestinationNames, Selection, WaitingDelivery

_READ_SIZE = 100
"""So many dead letters are read at once where only their number is asked for."""


class OperationError(RelayError):
    """What was asked for cannot be had or done."""


class UnknownDestination(OperationError):
    """No destination has this name."""


class NotReloaded(OperationError):
    """The configuration was not read again: nothing has changed."""


class NotRunning(OperationError):
    """Only a relay that runs could do it."""


class ReplayResult(msgspec.Struct, frozen=True):
    """What became of dead letters that were to be delivered after all."""

    count: int
    """So many are deliveries again."""
    left: Mapping[str, int] = {}
    """How many stay what they were, by their destinations, which are not configured."""


class AdminOperations(Protocol):
    """Every call may raise `OperationError`."""

    async def now_ns(self) -> int:
        """The time by which deliveries are due, and by which they died."""
        ...

    async def destination_status(self) -> Mapping[str, DestinationStatus]:
        """How each destination is; empty where no relay runs."""
        ...

    async def daemon_status(self) -> DaemonStatus:
        """How it is with the engines and the store; where a relay runs, no disk is asked."""
        ...

    async def pending(self) -> Mapping[str, int]:
        """How many deliveries wait, by destination."""
        ...

    async def backlog(self) -> Mapping[str, Backlog]:
        """The same, with since when."""
        ...

    async def list_waiting(self, destination: str | None, most: int) -> list[WaitingDelivery]:
        """Some of those, at most so many: the oldest of one destination or of all."""
        ...

    async def list_dead_letters(
        self, selection: Selection, most: int, below: int | None = None
    ) -> list[DeadLetter]:
        """Up to ``most`` of those, the newest first; with numbers less than ``below``."""
        ...

    async def count_dead_letters(self, selection: Selection) -> Mapping[str, int]:
        """How many dead letters there are of these, by destination."""
        ...

    async def replay_dead_letters(self, selection: Selection) -> ReplayResult:
        """Make deliveries of dead letters again, under the same ids, where they can be made."""
        ...

    async def drop_dead_letters(self, selection: Selection) -> int:
        """Forget dead letters. Returns how many."""
        ...

    async def enable(self, destination: str) -> bool:
        """Send to a destination again, whatever it asked for.

        Returns whether that was to wait. Raises `UnknownDestination`, `NotRunning`.
        """
        ...

    async def reload(self) -> Sequence[str]:
        """Read the configuration again. Returns what that changed, in words.

        Raises `NotReloaded` with every problem, `NotRunning`.
        """
        ...


@dataclass(frozen=True, slots=True)
class DaemonHooks:
    """What only a relay that runs can say or do."""

    destination_status: Callable[[], Mapping[str, DestinationStatus]]
    enable: Callable[[str], bool]
    """See `AdminOperations.enable`; of a destination that there is."""
    daemon_status: Callable[[], DaemonStatus]
    reload: Callable[[], Awaitable[Sequence[str]]]
    """See `AdminOperations.reload`; raises `RelayError`."""


@dataclass(frozen=True, slots=True)
class LocalOperations:
    """The `AdminOperations` of whoever has the store open."""

    outbox: Outbox
    destinations: DestinationNames
    """The names of those that are configured at the moment."""
    now: Callable[[], int]
    """The clock by which deliveries are due, in nanoseconds."""
    daemon: DaemonHooks | None = None
    """None where nothing is sent."""
    engines: Collection[str] = ()
    """The names of those that are configured; they are asked for where no relay runs."""

    async def now_ns(self) -> int:
        """See `AdminOperations.now_ns`."""
        return self.now()

    async def destination_status(self) -> Mapping[str, DestinationStatus]:
        """See `AdminOperations.destination_status`."""
        return {} if self.daemon is None else self.daemon.destination_status()

    async def daemon_status(self) -> DaemonStatus:
        """See `AdminOperations.daemon_status`."""
        if self.daemon is not None:
            return self.daemon.daemon_status()
        marks = {name: await self.outbox.checkpoint(name) for name in self.engines}
        return DaemonStatus(
            {name: EngineStatus(mark.position_ns if mark else None) for name, mark in marks.items()}
        )

    async def pending(self) -> Mapping[str, int]:
        """See `AdminOperations.pending`."""
        return await self.outbox.pending()

    async def backlog(self) -> Mapping[str, Backlog]:
        """See `AdminOperations.backlog`."""
        return await self.outbox.backlog()

    async def list_waiting(self, destination: str | None, most: int) -> list[WaitingDelivery]:
        """See `AdminOperations.list_waiting`."""
        return await self.outbox.waiting(destination, most)

    async def list_dead_letters(
        self, selection: Selection, most: int, below: int | None = None
    ) -> list[DeadLetter]:
        """See `AdminOperations.list_dead_letters`."""
        return await self.outbox.dead_letters(selection, most, below)

    async def count_dead_letters(self, selection: Selection) -> Mapping[str, int]:
        """See `AdminOperations.count_dead_letters`."""
        count: Counter[str] = Counter()
        below: int | None = None
        while found := await self.outbox.dead_letters(selection, _READ_SIZE, below):
            count.update(letter.destination for letter in found)
            below = found[-1].number
        return count

    async def replay_dead_letters(self, selection: Selection) -> ReplayResult:
        """See `AdminOperations.replay_dead_letters`."""
        count = await self.outbox.replay_dead_letters(selection, self.destinations, self.now())
        known, left = self.destinations(), await self.count_dead_letters(selection)
        return ReplayResult(count, {name: left[name] for name in left if name not in known})

    async def drop_dead_letters(self, selection: Selection) -> int:
        """See `AdminOperations.drop_dead_letters`."""
        return await self.outbox.drop_dead_letters(selection)

    async def enable(self, destination: str) -> bool:
        """See `AdminOperations.enable`."""
        if destination not in self.destinations():
            known = ", ".join(self.destinations())
            raise UnknownDestination(f"no destination {destination!r}; there are: {known}")
        if self.daemon is None:
            raise NotRunning("no relay is running: when one starts, it sends to all destinations")
        return self.daemon.enable(destination)

    async def reload(self) -> Sequence[str]:
        """See `AdminOperations.reload`."""
        if self.daemon is None:
            raise NotRunning("no relay is running: when one starts, it reads the configuration")
        try:
            return await self.daemon.reload()
        except RelayError as error:
            raise NotReloaded(
                f"not reloaded; the configuration from before stays in force\n{error}"
            ) from error
